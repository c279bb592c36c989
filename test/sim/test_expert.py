"""The scripted expert on the bench, by registers and without nodes."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the sim extra is not installed")

from armlet.cli.main import main
from armlet.robots.kinematics import HOME
from armlet.sim import Bench
from armlet.sim.arms_process import pack_motion, unpack_motion
from armlet.sim.choice import BenchError
from armlet.sim.demonstrator import Glide
from armlet.sim.domain import ORDINARY
from armlet.sim.expert import Expert, Phase, _side_angle, mishaps
from armlet.sim.mishap import Mishap
from armlet.sim.task import Progress, Standing, State, find

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "expert.py"
TASK = find("pick_place")
MOST_S = 40.0
OVERLOAD = 250
"""Of the gripper's servo, 0.1 %: held so long that it lets its torque go."""


@pytest.fixture(scope="module")
def benchmark_program():
    spec = importlib.util.spec_from_file_location("expert_benchmark", PROGRAM)
    module = sys.modules["expert_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["expert_benchmark"]


def shown(program, seed, disturb=lambda bench, expert: False, clumsiness=0.0, task=TASK):
    """A rehearsal whose expert has ended, the expert, and whether the task was done.

    disturb: called every cycle until it answers that it has done so.
    """
    rehearsal = program.Rehearsal(task.name, seed, clumsiness=clumsiness)
    bench, progress, begun_s = rehearsal.bench, Progress(task), rehearsal.now_s
    bench.demonstrate()
    expert, disturbed, phases, loads = bench._expert, False, [], []
    while bench.demonstrates and rehearsal.now_s - begun_s < MOST_S:
        rehearsal.cycle()
        disturbed = disturbed or disturb(bench, expert)
        if not phases or phases[-1] != expert.phase:
            phases.append(expert.phase)
        if expert.phase is Phase.CARRY:
            loads.append(abs(program._read(rehearsal._follower[-1], "Present_Load")))
        progress.see(bench.state, rehearsal.now_s)
    return rehearsal, progress.done, phases, loads


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_puts_the_cube_into_the_bin(benchmark_program, seed):
    _, done, phases, loads = shown(benchmark_program, seed)
    assert done and phases[-1] is Phase.DONE
    assert 0 < max(loads) < OVERLOAD, "it holds the cube as gently as the servo bears"


@pytest.mark.thorough
def test_the_same_seed_twice_is_the_same_to_the_bit(benchmark_program):
    ends = []
    for _ in range(2):
        rehearsal, _, _, _ = shown(benchmark_program, 4)
        state = rehearsal.bench.state
        at = state.things["cube"].position
        ends.append((state.joints.tobytes(), at.tobytes(), rehearsal.now_s))
    assert ends[0] == ends[1]


@pytest.mark.representatives(1)
@pytest.mark.parametrize("phase", [Phase.DOWN, Phase.LIFT, Phase.CARRY])
def test_it_tries_again_when_the_cube_is_taken_away(benchmark_program, phase):
    def take(bench, expert):
        if expert.phase is not phase:
            return False
        away = {"cube": TASK.initial(77)["cube"]}
        bench._arms.place(away)
        return True

    _, done, phases, _ = shown(benchmark_program, 5, take)
    assert Phase.RECOVER in phases and phases.count(Phase.OVER) == 2
    assert done and phases[-1] is Phase.DONE


@pytest.mark.thorough
def test_it_closes_on_nothing_once_and_looks_again(benchmark_program):
    """The cube goes while the jaws close, before there is anything to be seen of a grasp."""

    def take(bench, expert):
        if expert.phase is not Phase.CLOSE:
            return False
        bench._arms.place({"cube": TASK.initial(78)["cube"]})
        return True

    _, done, phases, _ = shown(benchmark_program, 6, take)
    assert phases.count(Phase.OVER) == 2 and done
    assert Phase.CARRY not in phases[: phases.index(Phase.RECOVER)], "no hand carries nothing"


def test_it_gives_up_what_it_cannot_reach_and_leaves_the_leader_still():
    layout = dict(TASK.initial(0))
    layout["cube"] = Standing(np.array([0.9, 0.0, 0.0125]), np.array([1.0, 0, 0, 0]), np.zeros(3))
    expert = Expert(TASK, 0, HOME, limit_s=5.0)
    for look in range(200):
        glide = expert.look(State(HOME, layout), 7.0 + look / 30, 1 / 30)
    assert expert.phase is Phase.GAVE_UP and expert.ended
    np.testing.assert_allclose(glide.start, glide.end, atol=1e-9)


def test_the_leader_goes_on_where_the_last_look_left_it():
    layout, joints = TASK.initial(0), HOME.copy()
    expert = Expert(TASK, 0, HOME)
    before, fastest = HOME, 0.0
    for look in range(90):
        glide = expert.look(State(joints, layout), 7.0 + look / 30, 1 / 30)
        assert glide.start.tobytes() == np.asarray(before, float).tobytes()
        assert glide.joints(0.0).tobytes() == glide.start.tobytes()
        assert glide.joints(1 / 30).tobytes() == glide.end.tobytes()
        fastest = max(fastest, float(np.abs(glide.end - glide.start).max()) * 30)
        before = joints = glide.end
    assert 0.5 < fastest < 4.0, "rad/s; human leaders reach 4.1"


@pytest.mark.parametrize("turned", [0.3, -0.6])
def test_a_cube_on_any_side_is_seen_as_turned(turned):
    upright = np.array([np.cos(turned / 2), 0, 0, np.sin(turned / 2)])
    half = np.sqrt(0.5)
    # Tipped over about its own x axis, and about its own y axis.
    w, z = upright[0], upright[3]
    for quaternion in (
        upright,
        np.array([w * half, w * half, z * half, z * half]),
        np.array([w * half, -z * half, w * half, z * half]),
    ):
        seen = _side_angle(Standing(np.zeros(3), quaternion, np.zeros(3)))
        assert seen == pytest.approx(turned, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_pushes_the_block_onto_the_mark(benchmark_program, seed):
    one = benchmark_program.show("push", ORDINARY, 0.0, seed)
    assert one.done and one.seconds < 20.0


def test_nobody_shows_a_task_of_another_kind():
    still = tuple(goal for goal in find("push").goals if goal.kind == "still")
    task = dataclasses.replace(find("push"), goals=still, name="rest")
    with pytest.raises(BenchError, match="nobody shows rest"):
        Bench(task=task, physics=True, paced=False).demonstrate()


def test_a_glide_goes_to_the_arms_process_to_the_bit():
    dice = np.random.default_rng(1)
    glide = Glide(dice.normal(size=6), dice.normal(size=6), 1 / 30)
    there, start_s = unpack_motion(pack_motion(glide, 12.5))
    assert isinstance(there, Glide) and start_s == 12.5
    for elapsed_s in (-1.0, 0.0, 0.01, 1 / 30, 2.0):
        assert there.joints(elapsed_s).tobytes() == glide.joints(elapsed_s).tobytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "pick_place"], "only with --record-only N"),
        (["--record-only", "1", "--task", "juggle"], "expected pick_place or push or reach"),
    ],
)
def test_the_demo_refuses_what_nobody_shows_and_leaves_nothing(arguments, said, tmp_path, capsys):
    output = tmp_path / "output"
    assert main(["demo", "--output", str(output), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not output.exists()


REACH = find("reach")


def seed_of(task, kind):
    """The first seed by which this goes wrong."""
    return next(seed for seed in range(100) if mishaps(task, seed, 1.0).kind is kind)


def test_a_clumsiness_is_the_share_of_seeds_with_a_mishap():
    kinds = [mishaps(TASK, seed, 0.3).kind for seed in range(600)]
    assert 140 < sum(kind is not Mishap.NONE for kind in kinds) < 220
    assert set(kinds) == set(Mishap)
    assert kinds == [mishaps(TASK, seed, 0.3).kind for seed in range(600)]
    assert {mishaps(TASK, seed, 0.0).kind for seed in range(600)} == {Mishap.NONE}
    assert {mishaps(REACH, seed, 1.0).kind for seed in range(60)} == {Mishap.MISS, Mishap.NUDGE}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("kind", [Mishap.MISS, Mishap.SLIP, Mishap.NUDGE])
def test_it_corrects_what_goes_wrong_when_it_picks(benchmark_program, kind):
    rehearsal, done, phases, _ = shown(benchmark_program, seed_of(TASK, kind), clumsiness=1.0)
    assert done and phases[-1] is Phase.DONE
    if kind is not Mishap.NUDGE:  # the hand may follow a thing that is nudged early
        assert phases.count(Phase.OVER) == 2 and Phase.RECOVER in phases
    assert rehearsal.bench.state.things["cube"].position[1] > 0.08


@pytest.mark.parametrize("kind", [Mishap.NONE, Mishap.MISS, Mishap.NUDGE])
def test_it_touches_with_an_arm_that_sags(benchmark_program, kind):
    clumsiness = 0.0 if kind is Mishap.NONE else 1.0
    seed = 0 if kind is Mishap.NONE else seed_of(REACH, kind)
    rehearsal, done, phases, _ = shown(benchmark_program, seed, clumsiness=clumsiness, task=REACH)
    assert done and phases[-1] is Phase.DONE
    assert phases.count(Phase.OVER) == (1 if kind is Mishap.NONE else 2)
    bench = rehearsal.bench
    assert REACH.error_m(bench.state) < 0.009
    leans = bench.leader_joints - bench.follower_joints
    assert leans[1] < -0.02, "the leader is held higher than the follower is"


def test_a_thing_is_nudged_once_and_stays_about_where_its_task_has_it():
    for seed in range(40):
        wrong, layout = mishaps(TASK, seed, 1.0), TASK.initial(seed)
        state = State(HOME, layout)
        nudges = []
        for passed_s in np.arange(0.0, 3.0, 0.1):
            wrong.see(state, passed_s)
            nudges.append(wrong.take_nudge())
        put = [nudge for nudge in nudges if nudge is not None]
        assert len(put) == (wrong.kind is Mishap.NUDGE) and nudges[0] is None
        for nudge in put:
            place, cube = nudge["cube"].position, TASK.things["cube"]
            assert 0.014 < np.linalg.norm(place - layout["cube"].position) < 0.031
            assert place[2] == layout["cube"].position[2]
            assert cube.x_m[0] - 0.011 < place[0] < cube.x_m[1] + 0.011
            assert cube.y_m[0] - 0.011 < place[1] < cube.y_m[1] + 0.011


def test_an_arm_without_weight_is_not_leaned_on():
    task_layout, joints = REACH.initial(3), HOME.copy()
    expert = Expert(REACH, 3, HOME, sags=False)
    for look in range(60):  # a follower that does not follow
        expert.look(State(joints, task_layout), 7.0 + look / 30, 1 / 30)
    np.testing.assert_array_equal(expert._sent, expert._wanted)
