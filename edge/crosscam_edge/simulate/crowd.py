"""How people move: errands through the site, avoidance of each other, walls and furniture.

A social-force model (Helbing and Molnar 1995): a pull towards the next point of the shortest way,
a push from people ahead with a bias to the right, then hard limits: bodies stay apart and out of
walls. Between two zones people are on their way, seen by nobody, for as long as the distance takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.gait import stride_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.config import SiteConfig
    from crosscam_edge.simulate.layout import Layout
    from crosscam_edge.simulate.wardrobe import Person

    Floats = NDArray[np.float64]

_STEP = 0.05  # seconds of one simulation step, at most
_APART = 0.5  # metres between two bodies' centres
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Walks:
    """Where everybody is in every frame.

    Attributes:
        zone: `(P, F)` zone of each person, -1 while on the way or away.
        position: `(P, F, 2)` world metres; NaN while away.
        heading: `(P, F)` radians from +x.
        phase: `(P, F)` walking cycles so far.
        speed: `(P, F)` m/s.
        look: `(P, F)` turn of the head in radians.
    """

    zone: NDArray[np.int64]
    position: Floats
    heading: Floats
    phase: Floats
    speed: Floats
    look: Floats


@dataclass(slots=True)
class _Agent:
    person: Person
    zone: int
    position: Floats
    heading: float
    rng: np.random.Generator
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    phase: float = 0.0
    goal: Floats | None = None
    leaving: int = -1  # link that the goal leads to
    wait: float = 0.0  # seconds to stand
    away: float = 0.0  # seconds until arrival while in no zone
    arrive: tuple[int, str] | None = None
    start: Floats | None = None
    travel: float = 1.0
    stuck: float = 0.0
    partner: int = -1  # the agent that this one follows
    errands: int = 0
    last_link: int = -1
    face: float | None = None  # heading wanted while standing
    look: float = 0.0


class Crowd:
    """The people on the site; `step` moves time on."""

    def __init__(self, layout: Layout, people: list[Person], config: SiteConfig, day: int) -> None:
        self.layout = layout
        self.agents: list[_Agent] = []
        here = max(1, round(config.crowding * len(people)))
        self._busy = 0.35 if config.seconds < 60 else 0.55
        for k, person in enumerate(people):
            rng = np.random.default_rng([config.seed, 23, day, person.person_id])
            agent = _Agent(
                person, _NOWHERE, np.full(2, np.nan), float(rng.uniform(-np.pi, np.pi)), rng
            )
            agent.phase = float(rng.random())
            if k % len(people) < here:
                agent.zone = int(rng.integers(len(layout.zones)))
                if config.overlap and k % 2 == 0:
                    agent.zone = 0  # or few people might leave the shared view empty
                agent.position = self._free_spot(agent)
                if rng.random() < 0.4:
                    agent.wait = float(rng.uniform(0.5, 5))
            else:
                self._come_later(agent, float(rng.uniform(0, 0.7 * config.seconds)))
            if k and rng.random() < config.groups and self.agents[-1].partner < 0:
                self._join(agent, k - 1)
            self.agents.append(agent)

    def _join(self, agent: _Agent, leader: int) -> None:
        first = self.agents[leader]
        agent.partner = leader
        agent.zone, agent.wait, agent.away = first.zone, first.wait, first.away
        agent.arrive, agent.start, agent.travel = first.arrive, first.start, first.travel
        if first.zone >= 0:
            agent.position = self.layout.grounds[first.zone].push_out(
                first.position + np.array([0.45, 0.35])
            )

    def _come_later(self, agent: _Agent, seconds: float) -> None:
        doors = [link for link in self.layout.links if link.to_zone < 0]
        link = doors[int(agent.rng.integers(len(doors)))]
        agent.zone, agent.away, agent.travel = _NOWHERE, seconds, max(seconds, 0.1)
        agent.arrive, agent.start = (link.zone, link.portal), None

    def _free_spot(self, agent: _Agent) -> Floats:
        ground = self.layout.grounds[agent.zone]
        ox, oy = self.layout.zones[agent.zone].offset
        floor = self.layout.zones[agent.zone].floors[0]
        for _ in range(200):
            p = np.array(
                [
                    agent.rng.uniform(floor[0], floor[2]) + ox,
                    agent.rng.uniform(max(floor[1], 1.5), floor[3]) + oy,
                ]
            )
            if ground.clearance[ground.cell(p)] < 0.35:
                continue
            if all(
                o.zone != agent.zone or np.linalg.norm(o.position - p) > 0.7 for o in self.agents
            ):
                return p
        return ground.push_out(p)

    def _choose(self, agent: _Agent) -> None:
        """The next errand: a place in this zone or a way out."""
        agent.face, agent.stuck = None, 0.0
        zone = self.layout.zones[agent.zone]
        offset = np.array(zone.offset)
        if agent.errands > 0 or agent.rng.random() < 0.15:
            agent.errands -= 1
            spot = zone.places[int(agent.rng.integers(len(zone.places)))]
            goal = offset + spot + agent.rng.normal(0, 0.35, 2)
            agent.goal, agent.leaving = self.layout.grounds[agent.zone].push_out(goal), -1
            return
        ways = [k for k, link in enumerate(self.layout.links) if link.zone == agent.zone]
        odds = np.array([0.25 if self.layout.links[k].to_zone < 0 else 1.0 for k in ways])
        odds *= [0.4 if k == agent.last_link else 1.0 for k in ways]
        way = int(agent.rng.choice(ways, p=odds / odds.sum()))
        agent.leaving = way
        agent.goal = self.layout.portal(agent.zone, self.layout.links[way].portal)

    def _leave(self, agent: _Agent) -> None:
        link = self.layout.links[agent.leaving]
        agent.goal, agent.leaving = None, -1
        if link.to_zone < 0:
            self._come_later(agent, float(agent.rng.uniform(6, 25)))
        else:
            seconds = link.metres / agent.person.speed + float(agent.rng.exponential(0.6))
            agent.arrive, agent.start = (link.to_zone, link.to_portal), agent.position.copy()
            agent.away = agent.travel = seconds
        agent.zone = _NOWHERE
        agent.velocity = np.zeros(2)

    def _arrive(self, agent: _Agent, index: int) -> None:
        assert agent.arrive is not None
        zone, portal = agent.arrive
        at = self.layout.portal(zone, portal)
        crowd = [o for o in self.agents if o is not agent and o.zone == zone]
        if any(np.linalg.norm(o.position - at) < _APART + 0.1 for o in crowd):
            agent.away = 0.3  # somebody stands in the door
            return
        agent.zone, agent.position, agent.arrive = zone, at, None
        agent.last_link = next(
            k
            for k, link in enumerate(self.layout.links)
            if link.zone == zone and link.portal == portal
        )
        agent.errands = int(agent.rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15]))
        agent.wait = 0.0

    def step(self, dt: float) -> None:
        """Move everybody on by `dt` seconds."""
        for index, agent in enumerate(self.agents):
            if agent.zone < 0:
                agent.away -= dt
                if agent.start is not None and agent.arrive is not None:
                    share = float(np.clip(1 - agent.away / agent.travel, 0, 1))
                    agent.position = (1 - share) * agent.start + share * self.layout.portal(
                        *agent.arrive
                    )
                elif agent.away > 0:
                    agent.position = np.full(2, np.nan)
                if agent.away <= 0:
                    self._arrive(agent, index)
                continue
            self._walk(agent, dt)
        self._separate()

    def _walk(self, agent: _Agent, dt: float) -> None:
        wanted = np.zeros(2)
        ground = self.layout.grounds[agent.zone]
        if agent.partner >= 0 and agent.wait <= 0:
            self._follow(agent)
        if agent.wait > 0:
            agent.wait -= dt
            agent.look = 0.5 * np.sin(0.9 * agent.wait + agent.person.person_id)
        else:
            agent.look *= 0.9
            if agent.goal is None:
                self._choose(agent)
            assert agent.goal is not None
            gap = agent.goal - agent.position
            distance = float(np.linalg.norm(gap))
            if distance < (0.45 if agent.leaving >= 0 else 0.3):
                if agent.leaving >= 0:
                    self._leave(agent)
                    return
                agent.goal = None
                agent.wait = float(agent.rng.gamma(2.0, 2.0 * self._busy)) + 0.5
                agent.face = float(agent.rng.uniform(-np.pi, np.pi))
            else:
                to = ground.ahead(agent.position, agent.goal) - agent.position
                pace = agent.person.speed * min(1.0, 0.45 + 0.55 * distance / 1.2)
                wanted = to / max(float(np.linalg.norm(to)), 1e-6) * pace
        push = self._pushes(agent)
        target = wanted + push
        limit = agent.person.speed * 1.2
        norm = float(np.linalg.norm(target))
        if norm > limit:
            target *= limit / norm
        if agent.wait > 0 and norm < 0.25:
            target = np.zeros(2)
        agent.velocity += (target - agent.velocity) * min(1.0, dt / 0.35)
        before = agent.position
        agent.position = ground.push_out(before + agent.velocity * dt)
        agent.velocity = (agent.position - before) / dt
        if agent.wait <= 0:
            agent.stuck = agent.stuck + dt if np.linalg.norm(agent.velocity) < 0.15 else 0.0
            if agent.stuck > 2.5:  # two people in each other's way: one changes plans
                agent.goal, agent.stuck, agent.errands = None, 0.0, agent.errands + 1
                agent.wait = float(agent.rng.uniform(0.2, 1.2))

    def _follow(self, agent: _Agent) -> None:
        leader = self.agents[agent.partner]
        if leader.zone != agent.zone:
            # Gone through a door: take the same one.
            if agent.leaving < 0 and leader.arrive is not None:
                ways = [
                    k
                    for k, link in enumerate(self.layout.links)
                    if link.zone == agent.zone and link.to_zone == leader.arrive[0]
                ]
                if ways:
                    agent.leaving = ways[0]
                    agent.goal = self.layout.portal(agent.zone, self.layout.links[ways[0]].portal)
            return
        if leader.leaving >= 0:
            agent.goal, agent.leaving = leader.goal, leader.leaving
        elif leader.goal is not None and agent.goal is None:
            side = np.array([np.cos(leader.heading + 1.6), np.sin(leader.heading + 1.6)])
            agent.goal = self.layout.grounds[agent.zone].push_out(leader.goal + 0.65 * side)
            agent.leaving = -1

    def _pushes(self, agent: _Agent) -> Floats:
        push = np.zeros(2)
        own = agent.velocity
        for other in self.agents:
            if other is agent or other.zone != agent.zone:
                continue
            gap = agent.position - other.position
            distance = float(np.hypot(gap[0], gap[1]))
            if distance > 2.2 or distance < 1e-6:
                continue
            away = gap / distance
            closing = -float((own - other.velocity) @ away)
            strength = 0.9 * np.exp(-(distance - 0.55) / 0.3)
            if closing > 0.2 and own @ -away > 0:
                right = np.array([own[1], -own[0]]) / max(float(np.hypot(own[0], own[1])), 0.2)
                push += right * 1.1 * np.exp(-(distance - 0.6) / 0.7)
            push += away * strength
        return push

    def _separate(self) -> None:
        here = [a for a in self.agents if a.zone >= 0]
        for _ in range(3):
            for i, a in enumerate(here):
                for b in here[i + 1 :]:
                    if a.zone != b.zone:
                        continue
                    gap = a.position - b.position
                    distance = float(np.hypot(gap[0], gap[1]))
                    if distance >= _APART:
                        continue
                    away = gap / distance if distance > 1e-6 else np.array([1.0, 0.0])
                    shift = 0.5 * (_APART - distance) * away
                    a.position = self.layout.grounds[a.zone].push_out(a.position + shift)
                    b.position = self.layout.grounds[b.zone].push_out(b.position - shift)


def _turn(heading: float, target: float, most: float) -> float:
    gap = (target - heading + np.pi) % (2 * np.pi) - np.pi
    return heading + float(np.clip(gap, -most, most))


def walk(layout: Layout, people: list[Person], config: SiteConfig, day: int) -> Walks:
    """Let the people walk for the length of the videos.

    Positions are sampled at the frame times. The walking phase advances with the distance between
    samples, so feet do not slide.
    """
    crowd = Crowd(layout, people, config, day)
    frames, count = config.frames, len(people)
    sub = max(1, int(np.ceil(1 / config.fps / _STEP)))
    dt = 1 / config.fps / sub
    zone = np.full((count, frames), _NOWHERE)
    position = np.full((count, frames, 2), np.nan)
    heading, phase, speed, look = (np.zeros((count, frames)) for _ in range(4))
    for _ in range(int(2 / dt)):  # let crowded starts settle
        crowd.step(dt)
    for f in range(frames):
        for k, agent in enumerate(crowd.agents):
            zone[k, f] = agent.zone
            position[k, f] = agent.position
            heading[k, f], phase[k, f] = agent.heading, agent.phase
            speed[k, f] = float(np.hypot(*agent.velocity)) if agent.zone >= 0 else 0.0
            look[k, f] = agent.look
        for _ in range(sub):
            before = [(a.zone, a.position.copy()) for a in crowd.agents]
            crowd.step(dt)
            for agent, (old_zone, old) in zip(crowd.agents, before, strict=True):
                if agent.zone < 0:
                    continue
                moved = agent.position - old if old_zone == agent.zone else np.zeros(2)
                metres = float(np.hypot(moved[0], moved[1]))
                pace = metres / dt
                agent.velocity = 0.8 * agent.velocity + 0.2 * moved / dt
                if pace > 0.2:
                    target = float(np.arctan2(moved[1], moved[0]))
                    agent.heading = _turn(agent.heading, target, 4.0 * dt)
                elif agent.face is not None:
                    agent.heading = _turn(agent.heading, agent.face, 1.8 * dt)
                smooth = float(np.hypot(*agent.velocity))
                length = float(
                    stride_length(max(smooth, 0.3), agent.person.shape.height, agent.person.style)
                )
                agent.phase += metres / length
    return Walks(zone, position, heading, phase, speed, look)
