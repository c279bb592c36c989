"""Every transition of an arm's control, and what may never happen in whatever order things do."""

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from armlet.control.settings import ControlSettings
from armlet.control.state import (
    NO_GOAL,
    AllAnswered,
    Armed,
    ArmingFailed,
    BusFound,
    BusLost,
    Change,
    Chosen,
    ControlState,
    Disarmed,
    FellSilent,
    Inputs,
    Link,
    Released,
    Source,
    State,
    StopRequested,
    Target,
    Torque,
    TorqueRequested,
    Unproven,
    advance,
    select,
)

EVENTS = {
    "request": TorqueRequested(),
    "armed": Armed(),
    "failed": ArmingFailed(),
    "stop": StopRequested(),
    "released": Released(),
    "unproven": Unproven("servo 2 does not answer"),
    "lost": BusLost("unplugged"),
    "found": BusFound(),
    "answers": AllAnswered(),
    "silent": FellSilent("servo 1 is silent"),
    "disarmed": Disarmed("servo 3 lost its power"),
    "chosen": Chosen(Source.COMMAND),
}

# Link and wanted torque (u: unchanged, + on, - off) after each event; "." is an event that cannot
# be; "=" changes nothing. Of a request on a lost bus, Control says that it has to be plugged in.
TRANSITIONS = """
            request   armed  failed    stop      released unproven  lost   found    answers  silent    disarmed chosen
unarmed u   unarmed+  .      .         unarmed-  .        unproven- lostu  .        =        silentu   .        .
unarmed +   =         armed+ unarmedu  unarmed-  .        unproven- lost-  .        =        silent-   .        .
unarmed -   unarmed+  .      .         =         unarmedu unproven- lost-  .        =        silent-   .        .
armed   +   =         .      .         armed-    .        unproven- lostu  .        =        silentu   unarmedu =
armed   -   unarmed+  .      .         =         unarmedu unproven- lost-  .        =        silent-   unarmed- .
silent  u   silent+   .      .         silent-   .        unproven- lostu  .        unarmedu =         .        .
silent  +   =         armed+ silentu   silent-   .        unproven- lost-  .        unarmed+ silent-   .        .
silent  -   silent+   .      .         =         unarmedu unproven- lost-  .        unarmed- =         .        .
unproven+   =         armed+ unproven- unproven- .        unproven- lost-  .        =        unproven- .        .
unproven-   unproven+ .      .         =         unarmedu =         lost-  .        =        =         .        .
lost    u   .         .      .         lost-     .        .         =      unarmedu .        .         .        .
lost    -   .         .      .         =         .        .         =      unarmed- .        .         .        .
"""  # noqa: E501
TORQUES = {"u": Torque.UNCHANGED, "+": Torque.ON, "-": Torque.OFF}


def read_state(cell):
    return Link(cell[:-1].strip()), TORQUES[cell[-1]]


def table():
    """(link, torque) to event to (link, torque), None where the event cannot be."""
    header, *rows = TRANSITIONS.strip("\n").splitlines()
    found = {}
    for row in rows:
        before = read_state(row[:9])
        cells = [
            None if c == "." else before if c == "=" else read_state(c) for c in row[9:].split()
        ]
        found[before] = dict(zip(header.split(), cells, strict=True))
    return found


TABLE = table()
CASES = [
    pytest.param(before, name, after, id=f"{before[0].value}{before[1].value}-{name}")
    for before, row in TABLE.items()
    for name, after in row.items()
]


@pytest.mark.parametrize(("before", "name", "after"), CASES)
def test_every_transition(before, name, after):
    state, event = ControlState(before[0], torque=before[1], reason="as before"), EVENTS[name]
    if after is None:
        with pytest.raises(ValueError, match="cannot happen"):
            advance(state, event)
        return
    now = advance(state, event)
    assert (now.link, now.torque) == after
    if hasattr(event, "reason") and now.link is not before[0]:
        assert now.reason == event.reason


def test_the_table_has_every_state_that_can_be():
    """All that events lead to from the start; each is in the table, and nothing else is."""
    reached, new = set(), [ControlState()]
    while new:
        state = new.pop()
        if (state.link, state.torque) in reached:
            continue
        reached.add((state.link, state.torque))
        possible = [
            EVENTS[name] for name, after in TABLE[state.link, state.torque].items() if after
        ]
        new += [advance(state, event) for event in possible]
    assert reached == set(TABLE)


@pytest.mark.parametrize(
    ("event", "before", "reason"),
    [
        ("found", ControlState(Link.LOST, reason="unplugged"), "the bus was lost and is back"),
        ("answers", ControlState(Link.SILENT, reason="servo 1"), "servos had fallen silent"),
        ("released", ControlState(Link.UNPROVEN, torque=Torque.OFF, reason="servo 2"), ""),
        ("armed", ControlState(Link.UNARMED, torque=Torque.ON, reason="was lost"), ""),
        ("request", ControlState(Link.UNARMED, reason="was lost"), "was lost"),
        ("failed", ControlState(Link.UNARMED, torque=Torque.ON, reason="was lost"), "was lost"),
        ("silent", ControlState(Link.SILENT, reason="servo 4"), "servo 4"),
        ("silent", ControlState(Link.UNPROVEN, torque=Torque.OFF, reason="cut"), "cut"),
    ],
)
def test_what_is_said_of_why(event, before, reason):
    assert advance(before, EVENTS[event]).reason == reason


HOLDING = ControlState(Link.ARMED, torque=Torque.ON)


@pytest.mark.parametrize(
    ("before", "source", "change"),
    [
        (Source.HOLD, Source.COMMAND, Change.NONE),
        (Source.HOLD, Source.TRAJECTORY, Change.NONE),
        (Source.COMMAND, Source.HOLD, Change.COMMANDS_STOPPED),
        (Source.COMMAND, Source.TRAJECTORY, Change.NONE),
        (Source.TRAJECTORY, Source.HOLD, Change.TRAJECTORY_ENDED),
        (Source.TRAJECTORY, Source.COMMAND, Change.TOOK_OVER),
    ],
)
def test_every_change_of_the_source(before, source, change):
    state = replace(HOLDING, source=before)
    now = advance(state, Chosen(source))
    assert now == replace(HOLDING, source=source, change=change)
    assert advance(now, Chosen(source)) is now, "said until the source is another"


def test_who_keeps_the_arm_is_said_until_it_is_handed_back():
    commanded = replace(HOLDING, source=Source.COMMAND)
    silent = advance(commanded, Chosen(Source.HOLD, kept=True))
    assert silent.change is Change.NOT_HANDED_BACK
    assert advance(silent, Chosen(Source.HOLD, kept=True)) is silent
    assert advance(silent, Chosen(Source.HOLD)).change is Change.COMMANDS_STOPPED
    again = advance(silent, Chosen(Source.COMMAND, kept=True))
    assert (again.source, again.change) == (Source.COMMAND, Change.NONE)
    # However the hold came about: trajectories are refused.
    ended = replace(HOLDING, change=Change.TRAJECTORY_ENDED)
    assert advance(ended, Chosen(Source.HOLD, kept=True)).change is Change.NOT_HANDED_BACK
    assert advance(HOLDING, Chosen(Source.HOLD, kept=True)).change is Change.NOT_HANDED_BACK


def test_the_source_ends_with_the_arming():
    moving = replace(HOLDING, source=Source.COMMAND, change=Change.TOOK_OVER)
    for name in ("lost", "silent", "disarmed", "unproven"):
        left = advance(moving, EVENTS[name])
        assert (left.source, left.change) == (Source.HOLD, Change.NONE)


def test_each_state_in_words():
    assert ControlState().summary() == "not armed"
    lost = ControlState(Link.LOST, reason="unplugged")
    assert (lost.state, lost.summary()) == (State.LOST, "bus lost: unplugged")
    assert {ControlState(link).state for link in Link} == {
        State.LOST,
        State.SILENT,
        State.UNPROVEN,
        State.UNARMED,
        State.HOLD,
    }
    assert {replace(HOLDING, source=source).state for source in Source} == {
        State.HOLD,
        State.COMMAND,
        State.TRAJECTORY,
    }
    ended = replace(HOLDING, change=Change.TRAJECTORY_ENDED)
    assert ended.summary() == "holding (joint_trajectory ended)"


# --- what a cycle commands ----------------------------------------------------------------------

SETTINGS = ControlSettings(max_state_age_s=0.1, command_timeout_s=0.5)
S = 1_000_000_000
HOLD, COMMAND, TRAJECTORY = (Target(source) for source in Source)


@pytest.mark.parametrize(
    ("last", "inputs", "target"),
    [
        (Source.HOLD, Inputs(0.0), HOLD),
        (Source.HOLD, Inputs(0.1), HOLD),
        (Source.HOLD, Inputs(0.11), NO_GOAL),
        (Source.COMMAND, Inputs(0.11, 0.0), NO_GOAL),
        (Source.TRAJECTORY, Inputs(0.11, None, S), NO_GOAL),
        (Source.HOLD, Inputs(0.0, 0.0), COMMAND),
        (Source.COMMAND, Inputs(0.0, 0.5), COMMAND),
        (Source.COMMAND, Inputs(0.0, 0.51), replace(HOLD, commands_over=True)),
        (Source.TRAJECTORY, Inputs(0.0, 0.1, S), COMMAND),
        (Source.COMMAND, Inputs(0.0, 0.51, S), replace(TRAJECTORY, commands_over=True)),
        (Source.HOLD, Inputs(0.0, None, S), TRAJECTORY),
        (Source.TRAJECTORY, Inputs(0.0, None, 0), TRAJECTORY),
        (Source.TRAJECTORY, Inputs(0.0, None, -1), HOLD),
        (Source.TRAJECTORY, Inputs(0.0, None, -1, True), TRAJECTORY),
        (Source.TRAJECTORY, Inputs(0.0, None, -S // 2, True), TRAJECTORY),
        (Source.TRAJECTORY, Inputs(0.0, None, -S // 2 - 1, True), Target(Source.HOLD, False, True)),
        (Source.HOLD, Inputs(0.0, None, -1, True), HOLD),
        (Source.HOLD, Inputs(0.0, None, -S), Target(Source.HOLD, False, True)),
    ],
)
def test_what_an_armed_arm_is_commanded(last, inputs, target):
    assert select(replace(HOLDING, source=last), inputs, SETTINGS) == target


FRESH = (Inputs(0.0), Inputs(0.0, 0.0), Inputs(0.0, None, S), Inputs(0.0, None, -1, True))


@pytest.mark.parametrize("before", TABLE, ids=lambda before: f"{before[0].value}{before[1].value}")
def test_only_an_armed_arm_that_nobody_stopped_is_commanded(before):
    state = ControlState(before[0], torque=before[1])
    for inputs in FRESH:
        commanded = select(state, inputs, SETTINGS).source is not None
        assert commanded == (before == (Link.ARMED, Torque.ON))


# --- events in any order ------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Beside the state, what a person knows: since when a stop counts, and what was proven since.

    An event that cannot be changes nothing here, as it does not in Control.
    """

    def __init__(self):
        super().__init__()
        self.state = ControlState()
        self.stopped = False
        self.requested = False
        self.held = False

    @rule(name=st.sampled_from(sorted(EVENTS)), source=st.sampled_from(Source))
    def happens(self, name, source):
        event = Chosen(source) if name == "chosen" else EVENTS[name]
        try:
            self.state = advance(self.state, event)
        except ValueError:
            return
        if name == "stop":
            self.stopped, self.requested, self.held = True, False, False
        elif name == "request":
            self.held = self.held and not self.stopped
            self.stopped, self.requested = False, True
        elif name == "armed":
            assert self.requested, "nobody wanted it armed"
            self.held = True
        elif name in ("failed", "unproven", "lost", "silent", "disarmed", "released"):
            self.requested = self.held = False
        if name == "released":
            self.stopped = False

    @invariant()
    def only_what_was_proven_to_hold_is_moved(self):
        for inputs in FRESH:
            moved = select(self.state, inputs, SETTINGS).source is not None
            assert moved == self.held

    @invariant()
    def nothing_is_sent_on_an_old_reading(self):
        for inputs in FRESH:
            old = replace(inputs, state_age_s=SETTINGS.max_state_age_s + 1e-6)
            assert select(self.state, old, SETTINGS) == NO_GOAL

    @invariant()
    def a_stop_stays_until_it_is_proven_or_torque_is_asked_for(self):
        if self.stopped:
            assert self.state.release_due
            assert select(self.state, Inputs(0.0, 0.0), SETTINGS) == NO_GOAL

    @invariant()
    def what_is_unproven_is_released_or_armed(self):
        if self.state.link is Link.UNPROVEN:
            assert self.state.release_due or self.state.arming

    @invariant()
    def it_reports_to_hold_only_what_holds(self):
        moving = (State.HOLD, State.COMMAND, State.TRAJECTORY)
        # Between a stop and its proof torque is still on: it is not called released before it is.
        stopping = self.state.link is Link.ARMED and self.state.release_due
        assert (self.state.state in moving) == (self.held or stopping)


TestAnyOrder = AnyOrder.TestCase
