"""Kalman filter over many tracks at once, in real time and in body heights.

The state of a box is centre x, centre y, width and height, each with its velocity. Noise never
couples the four, so the usual 8 × 8 filter (Wojke et al., SORT with a deep association metric,
2017) falls apart into four filters of 2 × 2, which numpy updates for all tracks in a few calls.

Velocity is an Ornstein-Uhlenbeck process instead of a random walk: it forgets over `memory`
seconds and has a finite spread, as the velocity of people has. Prediction is exact for any time
step, so dropped frames and variable rates need no special case, and a track that is not seen slows
down instead of shooting off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MotionModel:
    """How people move and how detectors err; lengths in heights of the person's box.

    A walking person covers about 0.8 body heights a second.

    Attributes:
        speed: Spread of the velocity of the centre, heights per second.
        memory: Seconds over which that velocity is forgotten.
        growth: Spread of the growth of width and height, heights per second.
        growth_memory: Seconds over which growth is forgotten.
        noise: Spread of a detection's centre, heights.
        size_noise: Spread of a detection's width and height, heights.
    """

    speed: float = 0.7
    memory: float = 2.0
    growth: float = 0.15
    growth_memory: float = 0.5
    noise: float = 0.06
    size_noise: float = 0.07


class KalmanBatch:
    """Filters of `T` tracks, kept in arrays.

    Attributes:
        mean: `(T, 4)` centre x, centre y, width, height in pixels.
        velocity: `(T, 4)` pixels per second.
        covariance: `(T, 4, 3)` variance of the value, covariance of value and velocity, variance of
            the velocity.
    """

    def __init__(self, model: MotionModel | None = None) -> None:
        self.model = model or MotionModel()
        self.mean: NDArray[np.float64] = np.zeros((0, 4))
        self.velocity: NDArray[np.float64] = np.zeros((0, 4))
        self.covariance: NDArray[np.float64] = np.zeros((0, 4, 3))
        m = self.model
        self._memory = np.array([m.memory, m.memory, m.growth_memory, m.growth_memory])
        self._spread = np.array([m.speed, m.speed, m.growth, m.growth])
        self._noise = np.array([m.noise, m.noise, m.size_noise, m.size_noise])

    def __len__(self) -> int:
        return len(self.mean)

    def add(self, box: NDArray[np.floating], noise: NDArray[np.floating]) -> None:
        """Start a filter for each of `box` `(N, 4)` cxcywh, at rest.

        Args:
            box: Pixels.
            noise: `(N,)` factor on the detector's noise.
        """
        scale = np.maximum(box[:, 3:4], 1.0)
        start = np.zeros((len(box), 4, 3))
        start[..., 0] = np.square(self._noise * scale * noise[:, None])
        start[..., 2] = np.square(self._spread * scale)
        self.mean = np.concatenate([self.mean, box])
        self.velocity = np.concatenate([self.velocity, np.zeros((len(box), 4))])
        self.covariance = np.concatenate([self.covariance, start])

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the filters whose entry of `mask` `(T,)` is false."""
        self.mean, self.velocity = self.mean[mask], self.velocity[mask]
        self.covariance = self.covariance[mask]

    def predict(self, seconds: float) -> None:
        """Move all filters `seconds` ahead."""
        if not len(self) or seconds <= 0:
            return
        tau = self._memory
        phi = np.exp(-seconds / tau)
        reach = tau * (1 - phi)
        scale = np.maximum(self.mean[:, 3:4], 1.0)
        rate = 2 * np.square(self._spread * scale) / tau  # white-noise density of the velocity
        p, c, v = (self.covariance[..., i] for i in range(3))
        # Exact discretisation of dx = v dt, dv = -v / tau dt + noise (Uhlenbeck & Ornstein, 1930).
        q_v = rate * tau / 2 * (1 - phi * phi)
        q_c = rate * tau * tau / 2 * np.square(1 - phi)
        q_p = rate * tau * tau * (seconds - 2 * tau * (1 - phi) + tau / 2 * (1 - phi * phi))
        self.covariance = np.stack(
            [
                p + 2 * reach * c + reach * reach * v + q_p,
                phi * (c + reach * v) + q_c,
                phi * phi * v + q_v,
            ],
            axis=2,
        )
        self.mean = self.mean + reach * self.velocity
        self.mean[:, 2:] = np.maximum(self.mean[:, 2:], 1.0)
        self.velocity = phi * self.velocity

    def innovation(self, noise: NDArray[np.floating] | float = 1.0) -> NDArray[np.float64]:
        """Return the `(T, 4)` variance of a detection about its prediction, in pixels².

        Args:
            noise: Factor on the detector's noise, one or `(T,)`.
        """
        factor = np.broadcast_to(np.asarray(noise, np.float64), (len(self),))
        scale = np.maximum(self.mean[:, 3:4], 1.0)
        out: NDArray[np.float64] = self.covariance[..., 0] + np.square(
            self._noise * scale * factor[:, None]
        )
        return out

    def update(
        self,
        index: NDArray[np.intp],
        box: NDArray[np.floating],
        noise: NDArray[np.floating],
    ) -> None:
        """Correct the filters `index` `(K,)` with detections.

        Args:
            index: Filters, each at most once.
            box: `(K, 4)` cxcywh in pixels.
            noise: `(K,)` factor on the detector's noise; unsure detections move a track less
                (Du et al., GIAOTracker, 2021).
        """
        if not len(index):
            return
        scale = np.maximum(self.mean[index, 3:4], 1.0)
        cov = self.covariance[index]
        r = np.square(self._noise * scale * noise[:, None])
        s = cov[..., 0] + r
        gain_p, gain_v = cov[..., 0] / s, cov[..., 1] / s
        residual = box - self.mean[index]
        self.mean[index] += gain_p * residual
        self.velocity[index] += gain_v * residual
        self.covariance[index] = np.stack(
            [
                cov[..., 0] * (1 - gain_p),
                cov[..., 1] * (1 - gain_p),
                cov[..., 2] - gain_v * cov[..., 1],
            ],
            axis=2,
        )
        self.mean[index, 2:] = np.maximum(self.mean[index, 2:], 1.0)
