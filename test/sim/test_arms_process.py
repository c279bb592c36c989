"""The emulated arms in a process of their own: the same arms, the same motion, and a sure end."""

import os
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from armlet.motors.feetech import REGISTERS, Bus
from armlet.robots.kinematics import HOME
from armlet.sim import ArmsError, ArmsProcess, Bench, EmulatedArms, SharedTime
from armlet.sim.arms import Side
from armlet.sim.arms_process import pack_motion, unpack_motion
from armlet.sim.demonstrator import demonstrate_reach, move_home
from armlet.sim.domain import read_domain
from armlet.sim.task import find

IDS = (1, 2, 3, 4, 5, 6)
LONG_S = 120.0
START_NS = 5_000_000_000


@pytest.fixture
def clock():
    shared = SharedTime()
    shared.set_ns(START_NS)
    yield shared
    shared.close()


@pytest.fixture
def arms(clock, tmp_path):
    with ArmsProcess(links=tmp_path, paced=False, clock=clock) as arms:
        yield arms


def has_ended(pid):
    """Waits for a process's end, which it reports by its descriptor."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LONG_S)[0])
    finally:
        os.close(descriptor)


def run_one_demonstration(bench, clock):
    """What both arms do while the leader reaches and the follower is torqued to a goal."""
    rows = []
    duration_s = bench.demonstrate()
    for step in range(1, 30):
        clock.set_ns(START_NS + round(step * 0.1 * 1e9))
        rows.append(np.concatenate([bench.leader_joints, bench.follower_joints]))
    rows.append(np.full(12, duration_s))
    bench.home()
    clock.set_ns(START_NS + round(3.2 * 1e9))
    rows.append(np.concatenate([bench.leader_joints, bench.follower_joints]))
    return np.array(rows)


def test_the_process_and_the_threads_move_alike_to_the_bit(tmp_path):
    rows = []
    for kind in (ArmsProcess, EmulatedArms):
        clock = SharedTime()
        clock.set_ns(START_NS)
        arms = kind(links=tmp_path, paced=False, clock=clock)
        with Bench(seed=3, size=(64, 64), arms=arms) as bench:
            rows.append(run_one_demonstration(bench, clock))
        clock.close()
    assert np.ptp(rows[0][:, 0]) > 0.1
    assert np.array_equal(*rows)


def test_its_servos_answer_on_the_ports(arms, tmp_path):
    assert arms.port(Side.LEADER) == str(tmp_path / "leader")
    with Bus(arms.port(Side.FOLLOWER), timeout_s=LONG_S) as bus:
        reply = bus.sync_read([REGISTERS["ID"]], IDS, until=time.monotonic() + LONG_S)
        assert [reply.values[id][0] for id in IDS] == list(IDS)
        bus.write(1, REGISTERS["Torque_Enable"], 1)
        assert bus.read(1, REGISTERS["Torque_Enable"]) == 1


def test_time_stands_until_it_is_set(arms, clock):
    far = move_home(HOME + 0.4)
    arms.move_leader(far, clock())
    before = arms.joints(Side.LEADER)
    assert np.array_equal(arms.joints(Side.LEADER), before)
    clock.set_ns(START_NS + round(0.5 * far.duration_s * 1e9))
    halfway = arms.joints(Side.LEADER)
    assert np.abs(halfway - before).max() > 0.1
    clock.set_ns(START_NS + 60_000_000_000)
    assert arms.joints(Side.LEADER) == pytest.approx(HOME, abs=0.002)


def test_time_that_nobody_sets_is_the_real_one():
    clock = SharedTime()
    assert abs(clock() - time.monotonic()) < LONG_S
    clock.set_ns(1_500_000_000)
    assert clock() == 1.5
    other = SharedTime(os.dup(clock.fd))
    clock.set_ns(2_000_000_000)
    assert other() == 2.0
    clock.follow_monotonic()
    assert abs(other() - time.monotonic()) < LONG_S
    with pytest.raises(ValueError, match="0 ns or later, found -1"):
        clock.set_ns(-1)


def test_motions_survive_the_way():
    reach = demonstrate_reach(HOME, np.array([0.2, 0.05]), np.random.default_rng(1))
    for motion in (move_home(HOME + 0.3), reach):
        came, start_s = unpack_motion(pack_motion(motion, 12.25))
        assert start_s == 12.25
        for t in np.linspace(-1, 6, 30):
            assert np.array_equal(came.joints(t), motion.joints(t))


def test_a_motion_that_cannot_be_sent_is_refused(arms):
    with Bench(size=(64, 64), arms=arms) as bench:
        with pytest.raises(ValueError, match="a Move, a Demonstration or a Glide"):
            bench.play(lambda t: HOME)
        with pytest.raises(TypeError, match="process of their own"):
            _ = bench.follower


def test_leaving_ends_it_and_removes_the_ports(clock, tmp_path):
    with ArmsProcess(links=tmp_path, clock=clock) as arms:
        pid = arms.pid
        assert (tmp_path / "leader").exists()
    assert has_ended(pid)
    assert not (tmp_path / "leader").is_symlink()
    with pytest.raises(ArmsError, match="not started"):
        arms.joints(Side.LEADER)


def test_a_start_that_is_interrupted_leaves_no_process(clock, monkeypatch):
    """It was waited for: seconds, in which it loaded what nobody would use."""
    started = []

    def interrupted(arms, what, payload, wait_s):
        started.append(arms._process)
        raise KeyboardInterrupt

    monkeypatch.setattr(ArmsProcess, "_ask", interrupted)
    with pytest.raises(KeyboardInterrupt), ArmsProcess(clock=clock):
        pass
    assert started[0].returncode == -signal.SIGTERM


def test_a_dead_process_is_reported_with_its_status(arms):
    os.kill(arms.pid, signal.SIGKILL)
    with pytest.raises(ArmsError, match="ended with status -9"):
        arms.joints(Side.LEADER)


def test_an_end_of_the_thread_that_started_it_does_not_end_it(tmp_path):
    arms = ArmsProcess(links=tmp_path)
    starter = threading.Thread(target=arms.__enter__)
    starter.start()
    starter.join(LONG_S)
    try:
        for _ in range(3):
            assert arms.joints(Side.LEADER).shape == (6,)
    finally:
        arms.__exit__(None, None, None)


_PARENT = """
import os, sys, time
from pathlib import Path
from armlet.sim import ArmsProcess
with ArmsProcess(links=Path(sys.argv[1])) as arms:
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(600)  # keeps the parent's socket open
    print(arms.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("forked", [[], ["fork"]])
def test_it_ends_with_a_parent_that_is_killed(tmp_path, forked):
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), *forked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        pid = int(parent.stdout.readline())
        parent.kill()
        assert has_ended(pid)
        assert not (tmp_path / "leader").is_symlink()
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdin.close()
        parent.stdout.close()


def test_a_terminals_interrupt_does_not_take_the_servos_away(arms):
    os.kill(arms.pid, signal.SIGINT)
    assert arms.joints(Side.LEADER).shape == (6,)


def test_the_process_starts_without_painter_and_ros():
    heavy = ["cv2", "rclpy", "av", "torch", "armlet.sim.painter"]
    code = (
        "import sys, armlet.sim.arms_process\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_world_is_in_the_process_of_the_arms(tmp_path):
    pytest.importorskip("mujoco", reason="the sim extra is not installed")
    from armlet.sim.physics import World

    clock = SharedTime()
    clock.set_ns(0)
    task, domain = find("pick_place"), tmp_path / "domain.yaml"
    domain.write_text("backlash_deg: 0\narm_mass: 2.0\n")
    layout = task.initial(4)
    here = EmulatedArms(paced=False, clock=clock, world=World(task.things, read_domain(domain)))
    with ArmsProcess(tmp_path, False, clock, "pick_place", domain) as there:
        for arms in (here, there):
            arms.place(layout)
        clock.set_ns(400_000_000)
        one, other = here.state(), there.state()
    assert one.joints.tobytes() == other.joints.tobytes()
    assert np.abs(one.joints - HOME).max() > 0.05, "nothing holds it"
    for name in task.things:
        for part in ("position", "quaternion", "velocity"):
            mine, its = getattr(one.things[name], part), getattr(other.things[name], part)
            assert mine.tobytes() == its.tobytes()
