"""The control cycle on an emulated bus, with a clock the test holds."""

import threading
import time

import numpy as np
import pytest
from awaited import wait_until
from driven_arm import (
    CALIBRATION,
    FEETECH,
    FULL_GRIP,
    JOINTS,
    MAX_VELOCITY,
    MS,
    RAMP_VELOCITY,
    TICK,
    Driven,
    goals,
)

from armlet.control import ArmError, CommandRefused, ControlSettings, Source, State
from armlet.motors.feetech import ErrorBit


def test_nothing_is_sent_before_the_arm_is_armed(driven):
    assert np.isnan(driven.cycles(3)).all()
    for attempt in (lambda: driven.command(0.1, 0.1), lambda: driven.follow([0], [[0, 0]])):
        with pytest.raises(CommandRefused, match=r"^not armed; press t in `armlet session`"):
            attempt()
    assert driven.control.guard.counts.refused == 2


def test_it_holds_where_it_was_armed(driven):
    driven.emulated.servos[1].position = 2300
    driven.control.torque_on()
    goals = driven.cycles(3)
    np.testing.assert_allclose(goals[:, 0], 300 * TICK, atol=1e-3)
    assert driven.control.state is State.HOLD


def test_a_cycle_sends_the_command_before_it_reads(armed):
    armed.emulated.writes.clear()
    armed.command(0.1, 0.0)
    armed.cycles(3)
    address = armed.emulated.model.goal_position.address
    goal = [write for write in armed.emulated.writes if write.address == address]
    assert len(goal) == 6, "one goal a servo and cycle"


def test_a_command_is_joined_at_ramp_speed_then_followed_at_full_speed(armed):
    far = 0.8
    goals = armed.commanded(120, far, 0.0)
    approach = goals[goals[:, 0] < far - 0.06, 0]
    speed = np.diff(approach) / 0.01
    assert speed.max() <= RAMP_VELOCITY + TICK / 0.01
    assert goals[-1][0] == pytest.approx(far, abs=0.002)
    jump = -np.diff(armed.commanded(40, far - 0.8, 0.0)[:, 0]) / 0.01
    assert MAX_VELOCITY - 2 * TICK / 0.01 <= jump.max() <= MAX_VELOCITY + TICK / 0.01
    change = np.abs(np.diff(jump)).max() / 0.01
    assert change <= 100 + 3 * TICK / 0.01**2, "acceleration"


def test_commands_are_interpolated_by_their_stamps_whenever_they_come(armed):
    """Stamps 10 ms apart arriving in bursts give a steady goal."""
    start = armed.now_ns
    goals = []
    for burst in range(20):
        for i in range(3):
            index = 3 * burst + i
            armed.command(0.001 * index, 0.0, stamp_ns=start + index * 10 * MS)
        goals.append(armed.cycles(3))
    steps = np.diff(np.concatenate(goals)[10:, 0])
    assert np.abs(steps - 0.001).max() <= TICK


def test_a_human_stream_is_applied_exactly(armed):
    """Joined and caught up, what is sent is what was commanded, to a tick."""

    def motion(t):
        return np.array([0.4 * np.sin(3 * t), 0.2 * np.sin(5 * t)])

    start, errors = armed.clock.now_s, []
    for _ in range(300):
        armed.command(*motion(armed.clock.now_s - start))
        goal = armed.cycles(1)[0]
        errors.append(np.abs(goal - motion(armed.clock.now_s - start - 0.02)).max())
    assert max(errors[100:]) <= TICK


def test_a_silent_commander_means_hold(armed):
    armed.commanded(10, 0.05, 0.0)
    armed.cycles(60)
    assert armed.control.state is State.HOLD
    assert armed.control.summary() == "holding (joint_commands fell silent)"
    goals = armed.cycles(20)
    assert (goals == goals[0]).all()


def test_commands_come_before_a_trajectory_until_they_fall_silent(armed):
    assert armed.follow([0, 1], [[0, 0], [0.2, 0]])
    armed.cycles(5)
    assert armed.control.state is State.TRAJECTORY
    assert armed.control.summary() == "following joint_trajectory"
    armed.command(-0.1, 0.0)
    assert not armed.follow([0, 1], [[0, 0], [0.2, 0]])
    armed.cycles(5)
    assert armed.control.state is State.COMMAND
    assert armed.control.summary() == "following joint_commands (took over from joint_trajectory)"
    assert armed.control.counts.preempted == 2
    armed.cycles(60)
    held = armed.control.goal
    assert armed.follow([0, 1], [[0.4, 0], [0.4, 0]])
    joined = np.concatenate([held[None], armed.cycles(20)])[:, 0]
    assert armed.control.state is State.TRAJECTORY
    assert np.diff(joined).max() <= RAMP_VELOCITY * 0.01 + TICK, "joined with the ramp"


def test_an_arm_that_is_kept_waits_for_being_handed_back_however_long_nothing_comes(armed):
    """The leader's cable comes loose while a person corrects the policy."""

    def chunk():
        return armed.follow([0, 1], [[0.2, 0], [0.2, 0]])

    assert chunk()
    armed.cycles(5)
    armed.commanded(20, -0.1, 0.0, keeps=True)
    armed.cycles(60)
    kept = "holding (joint_commands fell silent, and the arm was not handed back)"
    assert armed.control.summary() == kept
    held = armed.cycles(1)[0]
    for _ in range(5):
        assert not chunk()
        assert (armed.cycles(40) == held).all()
    # The leader is back, and silent again; another program's command hands nothing back.
    armed.commanded(20, 0.0, 0.0, keeps=True)
    assert armed.control.state is State.COMMAND
    armed.cycles(60)
    armed.command(0.0, 0.0)
    armed.cycles(60)
    assert armed.control.summary() == kept and not chunk()
    held = armed.cycles(1)[0]
    armed.control.hand_back()
    assert (armed.cycles(5) == held).all()
    assert armed.control.summary() == "holding (joint_commands fell silent)"
    assert chunk()
    joined = np.concatenate([held[None], armed.cycles(10)])[:, 0]
    assert armed.control.state is State.TRAJECTORY
    assert np.diff(joined).max() <= RAMP_VELOCITY * 0.01 + TICK, "joined with the ramp"


def test_handing_back_ends_the_commands_at_once(armed):
    armed.commanded(20, 0.1, 0.0, keeps=True)
    assert armed.control.state is State.COMMAND
    armed.control.hand_back()
    armed.cycles(1)
    assert armed.control.state is State.HOLD
    assert armed.follow([0, 1], [[0.2, 0], [0.2, 0]])


@pytest.mark.parametrize("how", ["hold", "clock", "stop"])
def test_of_what_ends_the_commands_a_stop_alone_hands_back(armed, how):
    armed.commanded(20, 0.1, 0.0, keeps=True)
    match how:
        case "hold":
            armed.control.hold(drop_commands=True)
        case "clock":
            armed.control.clock_was_set_back()
        case "stop":
            armed.control.torque_off()
            armed.control.hand_back()
            armed.control.torque_on()
    armed.cycles(5)
    assert armed.control.state is State.HOLD
    assert armed.follow([0, 1], [[0.2, 0], [0.2, 0]]) is (how == "stop")


def kept_and_silent(armed):
    """A leader has taken the arm, and its cable came loose."""
    armed.commanded(20, 0.1, 0.0, keeps=True, mark="leader")
    armed.cycles(60)
    assert "was not handed back" in armed.control.summary()


def chunk_is_followed(armed):
    return armed.follow([0, 1], [[0.2, 0], [0.2, 0]])


@pytest.mark.parametrize(("off_s", "said"), [(-60.0, "is 60.00 s old"), (60.0, "is 60.00 s ahead")])
def test_handing_back_by_another_times_message_hands_nothing_back(armed, off_s, said):
    """A recording that is played, a message that was held up."""
    kept_and_silent(armed)
    with pytest.raises(CommandRefused, match=said):
        armed.control.hand_back(armed.now_ns + round(off_s * 1e9), armed.now_ns, "leader")
    assert not chunk_is_followed(armed)
    armed.control.hand_back(armed.now_ns, armed.now_ns, "leader")
    assert chunk_is_followed(armed)


@pytest.mark.parametrize("fault", ["unplugged", "silent"])
def test_a_fault_hands_nothing_back(armed, fault):
    """Torque that a person puts on again is no word that a policy may move the arm."""
    kept_and_silent(armed)
    if fault == "unplugged":
        armed.emulated.hang_up()
        armed.cycles_until(lambda: armed.control.state is State.LOST)
        armed.emulated.plug()
        assert armed.control.reconnect()
    else:
        armed.emulated.faults.dead.add(1)
        armed.cycles_until(lambda: armed.control.state is State.SILENT)
        armed.emulated.faults.dead.clear()
        armed.cycles_until(lambda: armed.control.state is State.UNARMED)
    armed.control.torque_on()
    armed.cycles(2)
    assert "was not handed back" in armed.control.summary()
    assert not chunk_is_followed(armed)
    armed.control.hand_back()
    assert chunk_is_followed(armed)


def test_an_arm_can_be_handed_back_while_it_is_not_armed(armed):
    kept_and_silent(armed)
    armed.emulated.hang_up()
    armed.cycles_until(lambda: armed.control.state is State.LOST)
    armed.control.hand_back()
    armed.emulated.plug()
    assert armed.control.reconnect()
    armed.control.torque_on()
    assert chunk_is_followed(armed)


def test_a_chunk_that_a_newer_one_has_overtaken_on_its_way_is_refused(armed):
    """Over a link that reorders, the arm turned back to an older plan."""
    first_ns = armed.now_ns
    armed.follow([0, 1], [[0, 0], [0.1, 0]], stamp_ns=first_ns + 2, origin="mine")
    with pytest.raises(CommandRefused, match="a newer trajectory of the same sender"):
        armed.follow([0, 1], [[0, 0], [-0.1, 0]], stamp_ns=first_ns + 1, origin="mine")
    assert armed.follow([0, 1], [[0, 0], [0.1, 0]], stamp_ns=first_ns + 2, origin="mine")
    assert armed.follow([0, 1], [[0, 0], [0.1, 0]], stamp_ns=first_ns + 1, origin="another")
    assert armed.follow([0, 1], [[0, 0], [0.1, 0]], stamp_ns=first_ns, origin="")
    assert armed.follow([0, 1], [[0, 0], [0.1, 0]], stamp_ns=first_ns - 1, origin="")


@pytest.mark.parametrize("keeps", [False, True])
def test_of_two_that_command_at_once_the_first_is_followed(armed, keeps):
    armed.commanded(200, 0.4, 0.0, keeps=keeps, mark="first")
    for _ in range(30):
        armed.command(0.4, 0.0, keeps=keeps, mark="first")
        with pytest.raises(CommandRefused, match="another program commands the arm"):
            armed.command(-0.4, 0.0, keeps=keeps, mark="second")
        assert armed.cycles(1)[0][0] == pytest.approx(0.4, abs=2 * TICK)
    if keeps:
        with pytest.raises(CommandRefused, match="another program commands the arm"):
            armed.control.hand_back(mark="second")
        assert not chunk_is_followed(armed)
    # Once the first is silent the second is heard, and joined.
    armed.cycles(60)
    joined = armed.commanded(20, -0.4, 0.0, keeps=keeps, mark="second")[:, 0]
    assert armed.control.state is State.COMMAND
    assert np.abs(np.diff(joined)).max() <= RAMP_VELOCITY * 0.01 + TICK


def test_a_person_takes_over_from_a_program_that_commands_and_is_joined_at_ramp_speed(armed):
    before = armed.commanded(200, 0.4, 0.0, mark="program")[-1:]
    joined = []
    for _ in range(20):
        joined.append(armed.commanded(1, -0.4, 0.0, keeps=True, mark="leader")[0])
        with pytest.raises(CommandRefused, match="another program commands the arm"):
            armed.command(0.4, 0.0, mark="program")
    joined = np.concatenate([before, joined])[:, 0]
    assert -0.1 > np.diff(joined).sum() > -0.25
    assert np.abs(np.diff(joined)).max() <= RAMP_VELOCITY * 0.01 + TICK
    # The program goes on where the person has handed back; that needs no leave of it.
    armed.control.hand_back(mark="leader")
    armed.commanded(5, 0.4, 0.0, mark="program")
    armed.control.hand_back(mark="leader")
    armed.cycles(1)
    assert armed.control.state is State.COMMAND


@pytest.mark.parametrize("how", ["handed back", "held", "another policy"])
def test_who_takes_over_within_one_cycle_is_joined_at_ramp_speed(armed, how):
    """Between two cycles the arm may be handed back, or let go, and commanded by another."""
    if how == "handed back":
        before = armed.commanded(200, 0.4, 0.0, keeps=True, mark="first")[-1:]
        armed.control.hand_back(mark="first")
        after = armed.commanded(20, -0.4, 0.0, keeps=True, mark="second")
    else:
        assert armed.follow([0, 1, 9], [[0.4, 0]] * 3, origin="a")
        before = armed.cycles(200)[-1:]
        if how == "held":
            armed.control.hold()
        assert armed.follow([0, 9], [[-0.4, 0]] * 2, origin="a" if how == "held" else "b")
        after = armed.cycles(20)
    assert before[0][0] == pytest.approx(0.4, abs=2 * TICK)
    joined = np.concatenate([before, after])[:, 0]
    assert np.diff(joined).sum() < -0.05
    assert np.abs(np.diff(joined)).max() <= RAMP_VELOCITY * 0.01 + TICK


def test_every_goal_names_whose_it_is(armed):
    def whose(count):
        cycles = [armed.cycle() for _ in range(count)]
        assert all(cycle.applied is not None for cycle in cycles)
        return {(cycle.source, cycle.origin) for cycle in cycles}

    assert whose(3) == {(Source.HOLD, "")}
    armed.follow([0, 1], [[0, 0], [0.2, 0]], origin="first")
    assert whose(5) == {(Source.TRAJECTORY, "first")}
    armed.follow([0, 1], [[0, 0], [0.3, 0]], origin="second")  # blended into
    assert whose(20) == {(Source.TRAJECTORY, "second")}
    armed.command(0.1, 0.0)
    assert whose(5) == {(Source.COMMAND, "")}
    assert not armed.follow([0, 1], [[0, 0], [0.2, 0]], origin="third")
    armed.cycles_until(lambda: armed.control.state is State.HOLD)
    assert whose(5) == {(Source.HOLD, "")}
    armed.follow([0], [[0.3, 0]], origin="a place")
    assert whose(5) == {(Source.TRAJECTORY, "a place")}
    armed.follow([0, 0.1], [[0.3, 0], [0.3, 0]])
    assert whose(5) == {(Source.TRAJECTORY, "")}
    armed.control.torque_off()
    assert armed.cycle().applied is None


@pytest.mark.parametrize("ended", ["stop", "hold", "person", "other", "late"])
def test_what_continues_is_played_only_while_its_sender_is_in_play(armed, ended):
    """A stop and arming again: the next piece of a replay moved the arm again by itself."""
    steps = [[0, 0], [0.2, 0]]
    with pytest.raises(CommandRefused, match="not in play any more"):
        armed.follow([0, 1], steps, origin="mine", continues=True)
    armed.follow([0, 1], steps, origin="mine")
    armed.cycles(10)
    assert armed.follow([0, 1.2], steps, origin="mine", continues=True)
    match ended:
        case "stop":
            armed.control.torque_off()
            armed.control.torque_on()
        case "hold":
            armed.control.hold()
        case "person":
            armed.command(0.0, 0.0)
        case "other":
            armed.follow([0, 1], steps, origin="another's")
        case "late":
            armed.cycles(190)
    armed.cycles(1)
    with pytest.raises(CommandRefused, match="not in play any more"):
        armed.follow([0, 1], steps, origin="mine", continues=True)


def test_a_sender_holds_only_what_it_has_in_play_itself(armed):
    armed.follow([0, 1], [[0, 0], [0.2, 0]], origin="mine")
    armed.cycles(2)
    armed.control.hold(origin="another's")
    armed.cycles(2)
    assert armed.control.state is State.TRAJECTORY
    armed.control.hold(origin="mine")
    armed.cycles(2)
    assert armed.control.state is State.HOLD


def test_hold_drops_the_trajectory_and_brakes_within_the_limits(armed):
    armed.follow([0, 1], [[0, 0], [1.0, 0]])
    goals = [armed.cycles(30)]
    armed.control.hold()
    goals.append(armed.cycles(30))
    path = np.concatenate(goals)[:, 0]
    assert armed.control.state is State.HOLD
    assert (path[-10:] == path[-1]).all()
    assert np.abs(np.diff(path, 2)).max() <= 100 * 0.01**2 + 2 * TICK
    assert (np.diff(path) >= 0).all()


def test_a_hold_that_drops_commands_brakes_and_stays_whoever_commanded(armed):
    armed.command(1.0, 0.0)
    armed.cycles(10)
    assert armed.control.state is State.COMMAND
    armed.control.hold(drop_commands=True)
    armed.cycles(1)
    assert armed.control.state is State.HOLD
    armed.cycles(50)
    at_rest = armed.control.goal
    assert at_rest[0] < 0.9
    armed.cycles(10)
    np.testing.assert_array_equal(armed.control.goal, at_rest)


def test_a_late_trajectory_starts_at_the_point_due_now_and_ends_in_a_hold(armed):
    armed.follow([0, 0.5, 1.0], [[0, 0], [0.02, 0], [0.04, 0]], stamp_ns=armed.now_ns - 500 * MS)
    goals = armed.cycles(10)
    assert goals[2][0] == pytest.approx(0.02, abs=0.003)
    armed.cycles(120)
    assert armed.control.state is State.HOLD
    assert armed.control.goal[0] == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize("late_ms", [0, 3, 9])
def test_the_arm_holds_within_one_period_of_the_last_point(armed, late_ms):
    """Whatever the phase of cycles and points: state, words and goal, in the first cycle after."""
    end = armed.now_ns + 500 * MS + late_ms * MS
    armed.follow([0, 0.5], [[0, 0], [0.2, 0.1]], stamp_ns=end - 500 * MS)
    while armed.now_ns <= end:
        assert armed.control.state is not State.HOLD or armed.clock.now_s < 0.03
        armed.cycle()
    assert armed.now_ns - end <= 10 * MS, "the first cycle after its end"
    assert armed.control.state is State.HOLD
    assert armed.control.summary() == "holding (joint_trajectory ended)"
    goals = armed.cycles(60)
    # What is left is the goal's own lag behind the plan, a cycle's step.
    assert np.abs(goals - [0.2, 0.1]).max() <= 0.4 * 0.01 + TICK
    np.testing.assert_allclose(goals[3:], [[0.2, 0.1]] * 57, atol=TICK)
    assert (goals[3:] == goals[-1]).all()


def chunk(slope, since_s, count=30):
    """Rows of a motion at a slope (rad/s) from a time on, and their times, 30 a second."""
    times = np.arange(count) / 30
    return times, np.stack([slope * (since_s + times), 0 * times], -1)


@pytest.mark.parametrize("pause_ms", [0, 10, 40, 300])
def test_a_chunk_that_comes_after_the_hold_is_gone_on_with_smoothly(armed, pause_ms):
    """As stamped, with points already past, at twice the ramp's velocity: caught within a blend."""
    slope, stamp = 2.0, armed.now_ns
    times, rows = chunk(slope, 0.0, 10)
    armed.follow(times, np.minimum(rows, 0.2), stamp_ns=stamp)
    goals = [armed.cycles(30 + pause_ms // 10)]
    assert (armed.control.state is State.HOLD) == (pause_ms > 0)
    # The next chunk was observed before the last one's end and leads on from there.
    times, rows = chunk(0.5, 0.0, 60)
    assert armed.follow(times, rows + 0.2, stamp_ns=stamp + 250 * MS)
    goals.append(armed.cycles(40))
    path = np.concatenate(goals)[:, 0]
    assert armed.control.state is State.TRAJECTORY
    speed = np.diff(path) / 0.01
    due = 0.5 * (armed.now_ns - stamp - 250 * MS) * 1e-9 + 0.2
    assert path[-1] == pytest.approx(due, abs=TICK), "caught"
    assert np.abs(np.diff(path, 2)).max() / 0.01**2 <= 100 + 2 * TICK / 0.01**2
    distance = 0.5 * (0.05 + pause_ms / 1000 + 0.05)
    limit = 0.5 + 1.5 * distance / 0.1 + TICK / 0.01
    assert speed[30 + pause_ms // 10 :].max() <= limit, "the blend's steepest slope"


def test_an_arm_that_is_still_joining_when_the_plan_ends_stops_where_it_is(armed):
    """The plan was 1.2 rad away, and the ramp covers 0.3: a dead policy moves nothing further."""
    armed.follow([0, 0.3], [[1.2, 0], [1.2, 0]])
    goals = armed.cycles(60)[:, 0]
    assert armed.control.state is State.HOLD
    assert np.diff(goals).max() <= RAMP_VELOCITY * 0.01 + TICK
    # Braking from the ramp's velocity takes a cycle.
    assert goals[-1] == pytest.approx(0.3, abs=0.03)
    assert (goals[33:] == goals[-1]).all()
    armed.follow([0, 1.0], [[0, 0], [0, 0]])
    back = armed.cycles(20)[:, 0]
    assert np.diff(back).min() >= -RAMP_VELOCITY * 0.01 - TICK, "joined with the ramp again"


def test_an_arm_that_was_held_up_gets_there_before_it_holds(armed):
    """The plan ends faster than the arm may move; it says that it follows until it is there."""
    armed.follow([0, 1], [[0, 0], [0, 0]])
    armed.cycles(20)
    armed.follow([0, 0.3, 0.35], [[0, 0], [0, 0], [0.8, 0]])
    while armed.control.state is State.TRAJECTORY:
        armed.cycle()
        assert armed.clock.now_s < 10
    assert armed.control.goal[0] == pytest.approx(0.8, abs=0.05)
    assert armed.cycles(20)[-1][0] == pytest.approx(0.8, abs=1e-3)


def test_what_cannot_be_reached_in_time_is_not_run_after(emulated, clock):
    slow = Driven(emulated, clock, {"command_timeout_s": 0.05})
    slow.control.torque_on()
    slow.cycles(2)
    slow.follow([0, 1], [[0, 0], [0, 0]])
    slow.cycles(20)
    slow.follow([0, 0.02, 0.03], [[0, 0], [0, 0], [0.8, 0]])
    goals = slow.cycles(60)[:, 0]
    slow.arm.close()
    assert slow.control.state is State.HOLD
    # The blend's 0.1 s and the time-out at full velocity, and braking.
    assert 0.05 < goals[-1] < 0.15 * MAX_VELOCITY + 0.08
    assert (goals[30:] == goals[-1]).all()


def test_a_single_point_is_a_place_to_go_to_at_the_ramps_velocity(armed):
    armed.follow([0], [[0.9, -0.3]])
    goals = armed.cycles(91)
    # Catching up after the start takes a little more than the ramp's velocity.
    assert np.abs(np.diff(goals[:, 0])).max() <= RAMP_VELOCITY * 0.01 + 2 * TICK
    np.testing.assert_allclose(goals[-1], [0.9, -0.3], atol=0.011)
    armed.cycles(2)
    assert armed.control.state is State.HOLD
    np.testing.assert_allclose(armed.control.goal, [0.9, -0.3], atol=1e-6)


def test_commands_after_its_end_preempt_nothing(armed):
    armed.follow([0, 0.1], [[0, 0], [0.01, 0]])
    armed.cycles(15)
    armed.command(0.0, 0.0)
    assert armed.control.counts.preempted == 0


def test_a_trajectory_without_a_point_at_zero_begins_at_the_present_goal(armed):
    armed.follow([1.0], [[0.5, 0]])
    goals = armed.cycles(100)[:, 0]
    np.testing.assert_allclose(goals, np.arange(1, 101) * 0.005, atol=0.003)


def test_newer_trajectories_take_over_without_a_jump(armed):
    """Chunks that disagree by 0.1 rad, each replacing the last after 0.1 s, in mid-blend too."""
    goals, start = [], armed.now_ns
    for chunk in range(12):
        offset = 0.05 if chunk % 2 else -0.05
        stamp = start + chunk * 80 * MS
        times = np.arange(0, 1.0, 1 / 30)
        due = (stamp - start) * 1e-9 + times
        armed.follow(times, np.stack([0.2 * due + offset, 0 * due], -1), stamp_ns=stamp)
        goals.append(armed.cycles(8))
    path = np.concatenate(goals)[30:, 0]
    speed = np.diff(path) / 0.01
    # 0.2 rad/s and the blend's steepest slope, 1.5 * 0.1 rad / 0.1 s.
    assert np.abs(speed).max() <= 0.2 + 1.5 + TICK / 0.01
    assert np.abs(np.diff(path, 2)).max() / 0.01**2 <= 100 + 2 * TICK / 0.01**2
    expected = 0.2 * (armed.now_ns - start) * 1e-9 + 0.05
    assert path[-1] == pytest.approx(expected, abs=0.03)
    assert armed.control.state is State.TRAJECTORY


@pytest.mark.parametrize(
    ("times_s", "rows", "names", "ago_s", "message"),
    [
        ([0], [[0]], ["gripper"], 0, "every joint"),
        ([0], [[0, 0]], ["gripper", "elbow"], 0, "joints must be among"),
        ([0, 1], [[0, 0], [0, 0]], JOINTS, 2, "points of the trajectory are past"),
    ],
)
def test_trajectories_that_are_refused(armed, times_s, rows, names, ago_s, message):
    with pytest.raises(CommandRefused, match=message):
        armed.follow(times_s, rows, names, armed.now_ns - round(ago_s * 1e9))


def test_what_leads_outside_is_refused_whole_where_that_is_wanted(armed):
    armed.control.guard.beyond_limits = "refuse"
    with pytest.raises(CommandRefused, match="outside the calibrated range: gripper"):
        armed.command(0.1, 2.0)
    with pytest.raises(CommandRefused, match="outside the calibrated range: gripper"):
        armed.follow([0, 1, 2], [[0, 0], [0, 2.0], [0, 0]])
    before = armed.control.goal
    armed.cycles(3)
    assert (armed.control.goal == before).all()
    assert armed.control.guard.counts.refused == 2


def test_trajectory_columns_are_matched_by_name(armed):
    armed.follow([0], [[-0.02, 0.02]], names=JOINTS[::-1])
    np.testing.assert_allclose(armed.cycles(10)[-1], [0.02, -0.02], atol=0.001)


def test_goals_never_leave_the_calibrated_range(armed):
    armed.commanded(300, 9.0, -9.0)
    goal = armed.control.goal
    assert goal[0] == pytest.approx(1000 * TICK)
    assert goal[1] == pytest.approx(-500 * TICK)


def test_a_clock_set_back_or_forth_moves_nothing_far(armed):
    armed.commanded(50, 0.3, 0.0)
    before = armed.control.goal
    armed.clock.now_s -= 3600
    goals = armed.commanded(5, -0.5, 0.0)
    armed.clock.now_s += 7200
    assert np.abs(np.diff(goals[:, 0], prepend=before[0])).max() <= MAX_VELOCITY * 0.02 + TICK


def test_the_servos_that_answered_are_fresh_and_the_others_keep_their_age(armed, emulated):
    first = armed.cycle().sample
    assert first.complete
    armed.control.torque_off()
    emulated.servos[1].position = 2020
    emulated.servos[2].position = 2010
    emulated.faults.dead.add(2)
    armed.control.settings = ControlSettings(answer_share=1.0)
    unread = armed.control.counts.unread
    sample = armed.cycle().sample
    assert sample.fresh.tolist() == [True, False]
    assert sample.position[0] == pytest.approx(20 * TICK)
    assert sample.position[1] == first.position[1], "kept, not made up"
    assert sample.stamps_ns[1] == first.stamps_ns[1] < sample.stamps_ns[0]
    assert armed.control.counts.unread == unread + 1
    emulated.faults.dead.clear()
    armed.control.settings = ControlSettings(answer_share=20.0)
    assert armed.cycle().sample.position[1] == pytest.approx(10 * TICK)


def test_a_joint_that_never_answered_is_not_a_number(emulated, clock):
    driven = Driven(emulated, clock)
    emulated.faults.dead.add(2)
    assert driven.cycle().sample is None, "the first reading has to be confirmed"
    sample = driven.cycle().sample
    assert sample.fresh.tolist() == [True, False]
    assert np.isnan(sample.position[1])
    assert sample.stamps_ns[1] == 0
    emulated.faults.dead.add(1)
    assert driven.cycle().sample is None
    driven.arm.close()


def test_one_lost_reply_is_asked_for_again_within_the_cycle(armed, emulated):
    armed.cycles(20)
    for _ in range(5):
        emulated.faults.drop_next = 1
        assert armed.cycle().sample.complete
    assert armed.control.counts.unread == 0


def test_a_servo_that_does_not_answer_stops_goals_once_the_state_is_old(emulated, clock):
    driven = Driven(emulated, clock, {"max_state_age_s": 0.05, "answer_share": 0.7})
    driven.control.torque_on()
    driven.cycles(3)
    unread = driven.control.counts.unread
    emulated.faults.dead.add(2)
    goals = driven.cycles(10)
    assert np.isnan(goals[-3:]).all()
    assert driven.control.counts.unread == unread + 10
    driven.arm.close()


def test_after_an_old_state_the_source_is_joined_with_the_ramp(emulated, clock):
    driven = Driven(emulated, clock, {"answer_share": 0.7})
    driven.control.torque_on()
    driven.commanded(20, 0.0, 0.0)
    emulated.faults.dead.add(2)
    held = np.nanmax(driven.commanded(20, 0.5, 0.0)[:, 0])
    emulated.faults.dead.clear()
    driven.control.settings = ControlSettings(ramp_velocity=RAMP_VELOCITY, answer_share=20.0)
    goals = driven.commanded(30, 0.5, 0.0)[:, 0]
    approach = goals[goals < 0.44]
    assert len(approach) > 5
    assert np.diff(approach).max() <= RAMP_VELOCITY * 0.01 + TICK
    assert approach[0] == held, "from where it held"
    driven.arm.close()


def test_another_arm_on_the_same_adapter_is_not_armed(emulated, clock):
    """Exchanged while it had no power: the port never went away."""
    driven = Driven(emulated, clock)
    emulated.faults.dead.update((1, 2))
    driven.cycles_until(lambda: driven.control.state is State.SILENT)
    servo, model = emulated.servos[1], emulated.model
    servo.poke(model.homing_offset, 300)
    emulated.faults.dead.clear()
    driven.cycles_until(lambda: driven.control.state is State.UNARMED)
    with pytest.raises(ArmError, match=r"shoulder_pan \(id 1\): the calibration file says"):
        driven.control.torque_on()
    assert [servo.torque_on for servo in emulated.servos.values()] == [False, False]


def test_servos_that_fall_silent_are_named_and_must_be_armed_again(emulated, clock):
    driven = Driven(emulated, clock, {"answer_share": 0.5})
    driven.control.torque_on()
    driven.cycles(3)
    emulated.faults.dead.add(2)
    driven.cycles_until(lambda: driven.control.state is State.SILENT, 70)
    assert "gripper (id 2)" in driven.control.last_error
    assert "shoulder_pan" not in driven.control.last_error
    assert driven.control.summary().startswith("servos do not answer: no answer from gripper")
    emulated.faults.dead.clear()
    driven.cycles_until(lambda: driven.control.state is State.UNARMED, 20)
    assert np.isnan(driven.cycles(3)).all()
    driven.control.torque_on()
    driven.arm.close()


@FEETECH
def test_a_process_that_stood_still_has_missed_nothing(armed):
    armed.clock.now_s += 30.0
    armed.cycles(3)
    assert armed.control.state is State.HOLD


def test_a_lost_bus_is_not_armed_by_coming_back(armed, emulated):
    emulated.hang_up()
    assert np.isnan(armed.cycles(2)).all()
    assert armed.control.state is State.LOST
    with pytest.raises(ArmError, match="lost"):
        armed.control.torque_on()
    assert not armed.control.reconnect()
    emulated.plug()
    assert armed.control.reconnect()
    assert armed.control.state is State.UNARMED
    assert np.isnan(armed.cycles(3)).all()
    assert armed.torque() == [1, 1], "servos that kept their power hold"
    armed.control.torque_on()
    assert not np.isnan(armed.cycles(2)).any()


def test_a_stop_while_the_bus_is_lost_happens_on_its_return(armed, emulated):
    emulated.hang_up()
    armed.cycles(1)
    with pytest.raises(ArmError, match="bus is lost"):
        armed.control.torque_off()
    emulated.plug()
    assert armed.control.reconnect()
    assert armed.torque() == [0, 0]


def test_full_feedback_brings_all_readings_in_every_cycle(emulated, clock):
    driven = Driven(emulated, clock, {"feedback": "full", "telemetry_hz": 1e-3})
    driven.control.torque_on()
    emulated.servos[1].load = 0.1
    sample = driven.commanded(30, 0.0, 0.0) is not None and driven.cycle().sample
    assert sample.load[0] == pytest.approx(0.1, abs=0.02)
    telemetry = driven.control.telemetry
    assert set(telemetry) == set(JOINTS)
    assert telemetry["shoulder_pan"].stamp_ns == sample.stamp_ns
    assert telemetry["shoulder_pan"].voltage_v == pytest.approx(emulated.supply.volts)
    assert telemetry["shoulder_pan"].current_a > 0.1
    driven.arm.close()


@FEETECH  # the other family's servos stop by themselves when nobody speaks to them
def test_when_control_was_made_and_armed_changes_nothing_of_its_first_cycles(driven):
    """In simulated time a node may start before it is told what time it is."""
    driven.control.torque_on()
    driven.clock.now_s = 100.0
    stamps, goals = set(), []
    for _ in range(30):
        goals.append(driven.cycle().applied)
        stamps |= {each.stamp_ns for each in driven.control.telemetry.values()}
    assert all(goal is not None for goal in goals), "it holds from the first cycle on"
    assert len(stamps) == 2, "2 servos, 0.3 s, 2 Hz"


def test_telemetry_comes_one_servo_at_a_time_at_its_rate(driven):
    before = driven.arm.bus.counters
    stamps = []
    for _ in range(200):
        driven.cycle()
        stamps.append({j: each.stamp_ns for j, each in driven.control.telemetry.items()})
    after = driven.arm.bus.counters
    sent = after.packets_sent - before.packets_sent - (after.retries - before.retries)
    assert sent == pytest.approx(200 + 8, abs=1)
    changes = [a != b for a, b in zip(stamps[1:], stamps, strict=False)]
    assert sum(changes) == pytest.approx(8, abs=1), "2 servos, 2 s, 2 Hz"
    telemetry = driven.control.telemetry["gripper"]
    assert telemetry.torque_enabled is False
    assert telemetry.torque_limit == FULL_GRIP[driven.emulated.model.name]
    assert 4 < telemetry.voltage_v < 15
    assert 0 < telemetry.temperature_c < 80
    assert telemetry.status is ErrorBit.NONE


def test_a_servo_that_lost_its_power_disarms_the_arm(armed, emulated):
    armed.cycles(60)
    emulated.servos[2].power_cycle()
    armed.cycles_until(lambda: armed.control.state is State.UNARMED, 60)
    assert "gripper (id 2) was found without torque" in armed.control.summary()
    assert armed.control.counts.unpowered == 1
    assert np.isnan(armed.cycles(3)).all()
    assert armed.torque() == [1, 0], "the others hold"
    armed.control.torque_on()
    assert armed.torque() == [1, 1]
    for name, value in emulated.model.body.ram.items():
        assert armed.register(name) == [value, value]
    assert armed.control.summary() == "holding"


def test_torque_off_is_proven_even_on_servos_that_report_overload(armed, emulated):
    emulated.faults.errors[1] = ErrorBit.OVERLOAD
    armed.control.torque_off()
    assert armed.torque() == [0, 0]


def test_torque_off_tries_the_others_when_one_does_not_answer(armed, emulated):
    emulated.faults.dead.add(1)
    with pytest.raises(ArmError, match="shoulder_pan"):
        armed.control.torque_off()
    assert armed.torque()[1] == 0
    assert armed.control.state is State.UNPROVEN


def test_a_stop_cuts_torque_within_one_cycle_of_a_bad_line(armed, emulated, monkeypatch):
    """One servo is dead, so the cycle retries as long as it may; a stop waits no longer."""
    period_s = 2.0
    armed.control.settings = ControlSettings(period_s=period_s, answer_share=0.2)
    emulated.faults.dead.add(2)
    emulated.writes.clear()
    cut, times = armed.arm.cut, []
    monkeypatch.setattr(armed.arm, "cut", lambda: (cut(), times.append(time.monotonic())))
    cycle = threading.Thread(target=armed.cycle)
    cycle.start()
    wait_until(lambda: emulated.writes)
    asked = time.monotonic()
    with pytest.raises(ArmError, match="gripper"):
        armed.control.torque_off()
    cycle.join()
    assert times[0] - asked < period_s
    writes = [(write.id, write.address) for write in emulated.writes]
    model = emulated.model
    assert writes[0] == (1, model.goal_position.address), "the cycle's goal"
    off = {(1, register.address) for register in (model.torque_enable, model.watchdog) if register}
    assert set(writes[1:]) == off, "and after it nothing but torque off"
    assert armed.torque()[0] == 0
    assert armed.control.state is State.UNPROVEN
    emulated.faults.dead.clear()
    armed.control.torque_off()
    assert armed.torque() == [0, 0]


def test_a_stop_breaks_off_an_arming_in_progress(driven, emulated, monkeypatch):
    """Released between two joints: what was on already goes off again."""
    writes = []
    write = driven.arm.servos.write

    def write_and_stop(joint, name, value):
        write(joint, name, value)
        if name == "Torque_Enable":
            writes.append(joint)
            driven.control._stopping.set()

    monkeypatch.setattr(driven.arm.servos, "write", write_and_stop)
    with pytest.raises(ArmError, match="a stop was requested"):
        driven.control.torque_on()
    assert writes == ["shoulder_pan"]
    assert driven.torque() == [0, 0]


def test_a_stop_that_came_after_torque_was_asked_for_counts(driven):
    """As when arming waits for the torque watchdog: the person has pressed stop meanwhile."""
    asked = driven.control.last_stop
    driven.control.torque_off()
    with pytest.raises(ArmError, match="a stop was requested"):
        driven.control.torque_on(asked)
    assert driven.torque() == [0, 0]
    driven.control.torque_on()
    assert driven.torque() == [1, 1]


class Announced:
    """A lock that says when it is asked for."""

    def __init__(self, lock):
        self.lock, self.asked = lock, threading.Event()

    def __enter__(self):
        self.asked.set()
        return self.lock.__enter__()

    def __exit__(self, *what):
        return self.lock.__exit__(*what)


def test_a_stop_wins_over_an_arming_that_waits_for_its_turn(driven):
    """Whichever of the two threads gets its turn first."""
    refused = []

    def arm():
        try:
            driven.control.torque_on()
        except ArmError as error:
            refused.append(str(error))

    driven.control._lock = lock = Announced(driven.control._lock)
    with lock.lock:
        arming = threading.Thread(target=arm)
        arming.start()
        assert lock.asked.wait(60)
        lock.asked.clear()
        stop = threading.Thread(target=driven.control.torque_off)
        stop.start()
        assert lock.asked.wait(60)
    arming.join()
    stop.join()
    assert driven.torque() == [0, 0]
    assert driven.control.goal is None
    assert refused == ["torque stays off: a stop was requested meanwhile"]


def test_torque_stays_off_when_a_servo_cannot_be_read(driven, emulated):
    emulated.faults.dead.add(2)
    with pytest.raises(ArmError, match=r"gripper \(id 2\)"):
        driven.control.torque_on()
    emulated.faults.dead.clear()
    assert driven.torque() == [0, 0]


def test_limits_hold_in_what_the_servos_received(armed, emulated):
    """Random commands, some of them wild: the emulator's own log of goals."""
    rng = np.random.default_rng(1)
    emulated.writes.clear()
    for _ in range(200):
        armed.command(*rng.uniform(-3, 3, 2))
        armed.cycles(2)
    for joint in CALIBRATION.values():
        sent = goals(emulated, joint.id)
        assert len(sent) == 400
        assert joint.range_min <= min(sent)
        assert max(sent) <= joint.range_max
        assert np.abs(np.diff(sent)).max() <= MAX_VELOCITY * 0.01 / TICK + 1
        assert np.abs(np.diff(sent, 2)).max() <= 100 * 0.01**2 / TICK + 2


def tuned(driven, velocity, acceleration=100.0):
    """Other limits for all joints, or by joint."""
    limits = [
        limit if isinstance(limit, dict) else dict.fromkeys(JOINTS, limit)
        for limit in (velocity, acceleration)
    ]
    control = driven.control
    control.tune(*limits, control.settings, control.protection.settings)


def test_a_lower_limit_of_velocity_slows_down_what_moves_within_its_acceleration(armed):
    armed.commanded(100, 0.0, 0.0)
    fast = armed.commanded(60, 1.5, 0.0)[:, 0]
    assert np.diff(fast).max() / 0.01 > RAMP_VELOCITY / 2
    tuned(armed, 0.2, 20.0)
    slow = np.concatenate([fast[-2:], armed.commanded(60, -1.5, 0.0)[:, 0]])
    speed = np.diff(slow) / 0.01
    assert np.abs(np.diff(speed)).max() / 0.01 <= 20.0 + 3 * TICK / 0.01**2
    assert np.abs(speed[-20:]).max() <= 0.2 + TICK / 0.01


def test_a_limit_that_is_none_changes_nothing(armed):
    before = armed.control.guard.velocity, armed.control.guard.acceleration
    for velocity, acceleration in ((1.0, 0.0), (float("nan"), 1.0), ({JOINTS[0]: 1.0}, 1.0)):
        with pytest.raises(ValueError, match="must be"):
            tuned(armed, velocity, acceleration)
    assert armed.control.guard.velocity is before[0]
    assert armed.control.guard.acceleration is before[1]


def test_a_slow_joint_does_not_have_the_others_join_faster_than_the_ramp(armed):
    tuned(armed, {JOINTS[0]: MAX_VELOCITY, JOINTS[1]: RAMP_VELOCITY / 2})
    goals = armed.commanded(20, 0.8, 0.8)
    speed = np.diff(goals, axis=0) / 0.01
    assert speed[:, 0].max() <= RAMP_VELOCITY + TICK / 0.01
    assert speed[:, 1].max() <= RAMP_VELOCITY / 2 + TICK / 0.01
