"""`FirstUse`: a runtime that serves while a faster one is built in the background."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime.agreement import disagreement
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from crosscam_deploy.engines.builder import Progress
    from crosscam_deploy.runtime.base import Outputs, Runtime

State = Literal["idle", "building", "switched", "failed", "closed"]

_log = get_logger("engines")
_PROBE_PICTURES = 4


class StoppedError(RunError):
    """A build was stopped because nobody waits for it any more."""


class FirstUse:
    """A `Runtime` that answers by one engine until a faster one is ready and agrees with it.

    The faster one is made in a thread from the first pictures on; black ones do not count. It takes
    over when its answers to those pictures agree with those of the engine that serves; calls never
    wait for it. When it cannot be made, or does not agree, that is logged once and all stays as it
    is.

    Args:
        serving: Answers meanwhile.
        make: Makes the other one; is given a progress that stops it by raising, at `close`.
        wanted: Name of the other one.

    Attributes:
        bundle: The model.
        input_size: Height and width in pixels.
        state: What became of the other one.
        reason: Why it failed; empty otherwise.
    """

    def __init__(self, serving: Runtime, make: Callable[[Progress], Runtime], wanted: str) -> None:
        self.bundle, self.input_size = serving.bundle, serving.input_size
        self.state: State = "idle"
        self.reason = ""
        self._make, self._wanted = make, wanted
        self._changed = threading.Condition()
        self._users: Counter[int] = Counter()
        self._thread: threading.Thread | None = None
        self._probe: NDArray[np.float32] | None = None
        self._current = serving

    @property
    def name(self) -> str:
        """Of the engine that answers now."""
        return self._current.name

    @property
    def device(self) -> str:
        """Where that one runs."""
        return self._current.device

    @property
    def precision(self) -> str:
        """Numbers that it computes in."""
        return self._current.precision

    @property
    def max_batch(self) -> int | None:
        """Most images that one call of its graph takes; None when any."""
        return self._current.max_batch

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """See `Runtime`."""
        with self._borrowed() as runtime:
            answer = runtime.infer(batch)
        self._start(batch)
        return answer

    def submit(self, batch: NDArray[np.float32]) -> Future[Outputs]:
        """See `Runtime`."""
        with self._borrowed() as runtime:
            future = runtime.submit(batch)
        self._start(batch)
        return future

    def warm_up(self) -> None:
        """Run the engine that answers now once; nothing is built for it."""
        with self._borrowed() as runtime:
            runtime.warm_up()

    def close(self) -> None:
        """Stop the build and free both engines; waits until TensorRT notices."""
        with self._changed:
            before, self.state = self.state, "closed"
        if before == "closed":
            return
        if self._thread is not None:
            self._thread.join()
        self._current.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _borrowed(self) -> Iterator[Runtime]:
        """Give the engine that answers now, which is not closed before it is given back."""
        with self._changed:
            runtime = self._current
            self._users[id(runtime)] += 1
        try:
            yield runtime
        finally:
            with self._changed:
                self._users[id(runtime)] -= 1
                self._changed.notify_all()

    def _start(self, batch: NDArray[np.float32]) -> None:
        """Build, from the first pictures on; they were answered, so their shape is right."""
        probe = batch[:_PROBE_PICTURES]
        # pictures of one colour, as callers try an engine with, would prove nothing
        if self._thread is not None or (probe == probe[:, :, :1, :1]).all():
            return
        with self._changed:
            if self.state != "idle":
                return
            self.state = "building"
            self._probe = np.array(probe)
            self._thread = threading.Thread(target=self._build, name="engine-build", daemon=True)
            self._thread.start()

    def _told(self, _step: str, _share: float) -> None:
        if self.state == "closed":
            raise StoppedError("the engine is not needed any more")

    def _build(self) -> None:
        made: Runtime | None = None
        try:
            made = self._make(self._told)
            assert self._probe is not None
            with self._borrowed() as serving:
                usual = serving.infer(self._probe)
            differs = disagreement(self.bundle, self._probe, usual, made.infer(self._probe))
            if differs is not None:
                raise RunError(f"it does not agree with {self.name}: {differs}")
        except StoppedError:
            _log.info("build stopped", model=self.bundle.manifest.name)
        except Exception as error:  # whatever it is, what serves goes on serving
            self._fail(f"{error}" if isinstance(error, CrosscamError) else f"{error!r}")
        else:
            made = self._switch(made)
        self._probe = None
        if made is not None:
            made.close()

    def _switch(self, made: Runtime) -> Runtime:
        """Let an engine take over; returns the one that nobody uses any more."""
        with self._changed:
            if self.state == "closed":
                return made
            before = self._current
            self._current = made
            self.state = "switched"
            self._changed.wait_for(lambda: self._users[id(before)] == 0)
        _log.info("engine took over", model=self.bundle.manifest.name, runtime=self.name)
        return before

    def _fail(self, reason: str) -> None:
        with self._changed:
            if self.state == "closed":
                return
            self.state, self.reason = "failed", reason
        _log.warning(
            f"no engine for the GPU, {self.name} goes on",
            model=self.bundle.manifest.name,
            wanted=self._wanted,
            reason=reason,
        )
