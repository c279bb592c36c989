"""What an arm's control is doing, and what it does next: decided here, without bus, clock or lock.

`ControlState` says how far the arm can be relied on (`Link`), who moves it (`Source`) and what is
wanted of its torque (`Torque`). `advance` gives the state after an event, `select` what a cycle
commands. Both are pure functions: `Control` reports what happened and does what they say.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from .settings import ControlSettings


class Link(enum.Enum):
    """How far the arm can be relied on.

    LOST: its port is gone. SILENT: a servo has not answered for too long. UNPROVEN: servos may have
    torque though a stop was requested. UNARMED: it answers and gets no goals. ARMED: every servo
    was proven to hold.
    """

    LOST = "lost"
    SILENT = "silent"
    UNPROVEN = "unproven"
    UNARMED = "unarmed"
    ARMED = "armed"


class Source(enum.Enum):
    """Who moves an armed arm: nobody, a person's joint commands, or a trajectory."""

    HOLD = "hold"
    COMMAND = "command"
    TRAJECTORY = "trajectory"


class Torque(enum.Enum):
    """What is wanted of the servos' torque.

    UNCHANGED: nothing; a servo keeps what it has. ON: the arm is being armed, or is. OFF: a stop
    was requested, and it has not been proven on every servo yet.
    """

    UNCHANGED = "unchanged"
    ON = "on"
    OFF = "off"


class State(enum.Enum):
    """Link and source in one; the value is what people read."""

    LOST = "bus lost"
    SILENT = "servos do not answer"
    UNPROVEN = "torque could not be proven off"
    UNARMED = "not armed"
    HOLD = "holding"
    COMMAND = "following joint_commands"
    TRAJECTORY = "following joint_trajectory"


class Change(enum.Enum):
    """Why the source is another one than before; the value is what people read."""

    NONE = ""
    TOOK_OVER = "took over from joint_trajectory"
    COMMANDS_STOPPED = "joint_commands fell silent"
    NOT_HANDED_BACK = "joint_commands fell silent, and the arm was not handed back"
    TRAJECTORY_ENDED = "joint_trajectory ended"


@dataclass(frozen=True)
class ControlState:
    """The state of one arm's control. A value: it may be read in any thread.

    reason: why the arm is lost, silent, unproven or not armed any more; empty if there is nothing
    to say. change: how `source` came about.
    """

    link: Link = Link.UNARMED
    source: Source = Source.HOLD
    torque: Torque = Torque.UNCHANGED
    reason: str = ""
    change: Change = Change.NONE

    @property
    def state(self) -> State:
        """Link and source in one."""
        return _MOVING[self.source] if self.link is Link.ARMED else _RESTING[self.link]

    @property
    def arming(self) -> bool:
        """Whether torque was asked for and is not proven on yet."""
        return self.torque is Torque.ON and self.link is not Link.ARMED

    @property
    def release_due(self) -> bool:
        """Whether torque has to be taken off, and proven, as soon as the servos can be reached."""
        return self.torque is Torque.OFF

    def summary(self) -> str:
        """One line for people: what it is doing, and why."""
        state = self.state.value
        if self.link is not Link.ARMED:
            return f"{state}: {self.reason}" if self.reason else state
        return state if self.change is Change.NONE else f"{state} ({self.change.value})"


_RESTING = {
    Link.LOST: State.LOST,
    Link.SILENT: State.SILENT,
    Link.UNPROVEN: State.UNPROVEN,
    Link.UNARMED: State.UNARMED,
}
_MOVING = {
    Source.HOLD: State.HOLD,
    Source.COMMAND: State.COMMAND,
    Source.TRAJECTORY: State.TRAJECTORY,
}


# --- what happens -------------------------------------------------------------------------------


@dataclass(frozen=True)
class TorqueRequested:
    """Somebody wants the arm to hold; its servos are about to be armed."""


@dataclass(frozen=True)
class Armed:
    """Every servo was proven to hold, where it stands."""


@dataclass(frozen=True)
class ArmingFailed:
    """The arm was not armed, and its torque was proven off again."""


@dataclass(frozen=True)
class StopRequested:
    """Somebody, or the end of the program, wants torque off."""


@dataclass(frozen=True)
class Released:
    """Torque was proven off on every servo."""


@dataclass(frozen=True)
class Unproven:
    """Torque could not be proven off: by a stop, or by an arming that was taken back."""

    reason: str


@dataclass(frozen=True)
class BusLost:
    """The port is gone, or was looked for in vain."""

    reason: str


@dataclass(frozen=True)
class BusFound:
    """The port is back, and all of this arm's servos answer on it."""


@dataclass(frozen=True)
class AllAnswered:
    """Every servo answered in a cycle."""


@dataclass(frozen=True)
class FellSilent:
    """A servo has not answered for too long."""

    reason: str


@dataclass(frozen=True)
class Disarmed:
    """A servo of an armed arm was found to have let go by itself."""

    reason: str


@dataclass(frozen=True)
class Chosen:
    """A cycle follows this source. kept: whoever commanded has not handed the arm back."""

    source: Source
    kept: bool = False


Event = (
    TorqueRequested
    | Armed
    | ArmingFailed
    | StopRequested
    | Released
    | Unproven
    | BusLost
    | BusFound
    | AllAnswered
    | FellSilent
    | Disarmed
    | Chosen
)


def advance(state: ControlState, event: Event) -> ControlState:
    """The state after an event.

    Only `Armed` arms the arm, and only after `TorqueRequested` with no stop since. Raises
    ValueError for an event that cannot follow on the state, e.g. answers on a lost bus.
    """
    if not _possible(state, event):
        raise ValueError(f"{event} cannot happen in {state}")
    match event:
        case TorqueRequested():
            if state.link is Link.ARMED and state.torque is Torque.ON:
                return state  # joints that were released are armed again; the others hold
            link = Link.UNARMED if state.link is Link.ARMED else state.link
            return ControlState(link, torque=Torque.ON, reason=state.reason)
        case Armed():
            return ControlState(Link.ARMED, torque=Torque.ON)
        case ArmingFailed():
            # What a stop could not prove is proven again, in the next cycle that all servos answer.
            unproven = state.link is Link.UNPROVEN
            return replace(state, torque=Torque.OFF if unproven else Torque.UNCHANGED)
        case StopRequested():
            return replace(state, torque=Torque.OFF, change=Change.NONE)
        case Released():
            return ControlState(Link.UNARMED)
        case Unproven(reason):
            return ControlState(Link.UNPROVEN, torque=Torque.OFF, reason=reason)
        case BusLost(reason):
            return _left(state, Link.LOST, reason)
        case BusFound():
            return replace(state, link=Link.UNARMED, reason="the bus was lost and is back")
        case AllAnswered():
            if state.link is not Link.SILENT:
                return state
            return replace(state, link=Link.UNARMED, reason="servos had fallen silent")
        case FellSilent(reason):
            if state.link in (Link.SILENT, Link.UNPROVEN):
                # It is known already; that a stop is not proven is worse.
                return _left(state, state.link, state.reason)
            return _left(state, Link.SILENT, reason)
        case Disarmed(reason):
            return _left(state, Link.UNARMED, reason)
        case Chosen(source, kept):
            return _chosen(state, source, kept)


def _possible(state: ControlState, event: Event) -> bool:
    match event:
        case StopRequested() | BusLost():
            return True
        case BusFound():
            return state.link is Link.LOST
        case Armed() | ArmingFailed():
            return state.arming and state.link is not Link.LOST
        case Released():
            return state.release_due and state.link is not Link.LOST
        case Disarmed():
            return state.link is Link.ARMED
        case Chosen():
            return state.link is Link.ARMED and state.torque is Torque.ON
        case TorqueRequested() | Unproven() | AllAnswered() | FellSilent():
            return state.link is not Link.LOST


def _left(state: ControlState, link: Link, reason: str) -> ControlState:
    """Not armed, or not being armed, any more.

    A stop is still to be done. Of an arm that was being armed some joints may have torque, and
    nobody wants a part of an arm to hold; one that was armed goes on holding.
    """
    off = state.torque is Torque.OFF or state.arming
    return ControlState(link, torque=Torque.OFF if off else Torque.UNCHANGED, reason=reason)


_CHANGES = {
    (Source.TRAJECTORY, Source.COMMAND): Change.TOOK_OVER,
    (Source.COMMAND, Source.HOLD): Change.COMMANDS_STOPPED,
    (Source.TRAJECTORY, Source.HOLD): Change.TRAJECTORY_ENDED,
}


_SILENCES = (Change.COMMANDS_STOPPED, Change.NOT_HANDED_BACK)


def _chosen(state: ControlState, source: Source, kept: bool) -> ControlState:
    same = source is state.source
    change = state.change if same else _CHANGES.get((state.source, source), Change.NONE)
    if change in _SILENCES or (kept and source is Source.HOLD):
        change = _SILENCES[kept]
    if same and change is state.change:
        return state
    return replace(state, source=source, change=change)


# --- what is commanded --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to follow at one instant. Times in seconds but for trajectory_left_ns.

    state_age_s: since the reading of the joint that was read longest ago.
    command_age_s: since the last joint command came; None if there is none.
    trajectory_left_ns: until the trajectory's last point is due, negative after it; None if there
    is no trajectory.
    held_up: the goal follows the trajectory, and limits have kept it from getting to its last
    point.
    """

    state_age_s: float
    command_age_s: float | None = None
    trajectory_left_ns: int | None = None
    held_up: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What a cycle commands.

    source: whose target the goal pursues; None: no goal is sent.
    commands_over, trajectory_over: what is past and to be forgotten.
    """

    source: Source | None
    commands_over: bool = False
    trajectory_over: bool = False


NO_GOAL = Target(None)


def select(state: ControlState, inputs: Inputs, settings: ControlSettings) -> Target:
    """What is commanded in a cycle.

    No goal unless the arm is armed, no stop was requested, and every joint's reading is fresh.
    Joint commands (a person) come before a trajectory (a policy), and when neither is due the arm
    holds. A trajectory counts for command_timeout_s after its end: a newer one may lead on from it,
    and a goal that was held up on it still gets there.
    """
    if state.link is not Link.ARMED or state.torque is not Torque.ON:
        return NO_GOAL
    if inputs.state_age_s > settings.max_state_age_s:
        return NO_GOAL
    age_s, left_ns = inputs.command_age_s, inputs.trajectory_left_ns
    commands_over = age_s is not None and age_s > settings.command_timeout_s
    if age_s is not None and not commands_over:
        return Target(Source.COMMAND)
    late_ns = 0 if left_ns is None else -left_ns
    trajectory_over = late_ns > round(settings.command_timeout_s * 1e9)
    trailing = state.source is Source.TRAJECTORY and inputs.held_up
    due = left_ns is not None and not trajectory_over and (late_ns <= 0 or trailing)
    return Target(Source.TRAJECTORY if due else Source.HOLD, commands_over, trajectory_over)
