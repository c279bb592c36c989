"""Tasks and domains as files: what a seed places, what is success, what is refused."""

import dataclasses

import numpy as np
import pytest

from armlet.files import FileError
from armlet.robots.kinematics import GRIPPER_OPEN, HOME, solve_reach
from armlet.sim import Bench, choice
from armlet.sim.choice import BenchError, choose, digest
from armlet.sim.demonstrator import random_target
from armlet.sim.domain import ORDINARY, Domain, changed, read_domain
from armlet.sim.scene import Scene, View
from armlet.sim.task import _OWN as task_files
from armlet.sim.task import Progress, Standing, State, find, names

TURNED = np.array([1.0, 0.0, 0.0, 0.0])


def at(x, y, z, speed=0.0):
    return Standing(np.array([x, y, z]), TURNED, np.array([speed, 0.0, 0.0]))


@pytest.mark.parametrize("name", names())
def test_a_seed_places_everything_in_its_room(name):
    task = find(name)
    assert task.name == name and task.title and task.goals
    for seed in range(50):
        layout, again = task.initial(seed), task.initial(seed)
        for key, thing in task.things.items():
            one = layout[key]
            assert one.position.tobytes() == again[key].position.tobytes()
            assert one.quaternion.tobytes() == again[key].quaternion.tobytes()
            assert thing.x_m[0] <= one.position[0] <= thing.x_m[1]
            assert thing.y_m[0] <= one.position[1] <= thing.y_m[1]
            assert np.linalg.norm(one.quaternion) == pytest.approx(1.0)
        assert not task.judge(State(HOME, layout)), "it is not done before it began"
    one, other = (next(iter(task.initial(seed).values())) for seed in (1, 2))
    assert one.position.tolist() != other.position.tolist()


def test_reach_places_targets_as_the_bench_always_has():
    for seed in range(20):
        expected = random_target(np.random.default_rng(seed))
        assert find("reach").initial(seed)["target"].position[:2].tolist() == expected.tolist()
        assert Bench(seed=seed).target_xy.tolist() == expected.tolist()


def test_a_cube_is_placed_when_it_lies_still_in_the_bin_and_is_let_go():
    task = find("pick_place")
    bin_ = task.initial(0)["bin"]
    x, y = bin_.position[:2]
    away = solve_reach(np.array([0.2, 0.0, 0.15]), GRIPPER_OPEN)
    done = {"bin": bin_, "cube": at(x + 0.02, y - 0.02, 0.0155)}
    assert task.judge(State(away, done))
    above = solve_reach(np.array([x + 0.02, y - 0.02, 0.03]))
    for joints, cube in (
        (away, at(x + 0.06, y, 0.0125)),  # beside it
        (away, at(x, y, 0.06)),  # above its rim
        (away, at(x, y, 0.0155, speed=0.1)),  # rolling
        (above, at(x + 0.02, y - 0.02, 0.0155)),  # still held
    ):
        assert not task.judge(State(joints, {"bin": bin_, "cube": cube}))


def test_a_bin_that_is_turned_has_its_room_turned():
    task = find("pick_place")
    half = np.pi / 8
    turned = Standing(
        np.array([0.2, 0.13, 0.0]), np.array([np.cos(half), 0, 0, np.sin(half)]), np.zeros(3)
    )
    away = solve_reach(np.array([0.2, 0.0, 0.15]), GRIPPER_OPEN)
    corner = at(0.2 + 0.06, 0.13, 0.0155)
    assert task.judge(State(away, {"bin": turned, "cube": corner}))
    assert not task.judge(State(away, {"bin": at(0.2, 0.13, 0.0), "cube": corner}))


def test_a_reach_must_hold_for_its_time():
    task = find("reach")
    layout = {"target": at(0.25, 0.05, 0.0)}
    there = State(solve_reach(np.array([0.25, 0.05, 0.010])), layout)
    progress = Progress(task)
    for now_s, state in ((0.0, there), (0.1, there), (0.15, State(HOME, layout)), (0.2, there)):
        assert not progress.see(state, now_s)
    assert progress.see(there, 0.2 + task.hold_s)
    assert progress.see(State(HOME, layout), 9.0), "what has been done stays done"


def test_how_far_a_task_is_from_done_is_one_number():
    over = State(solve_reach(np.array([0.25, 0.05, 0.110])), {"target": at(0.25, 0.05, 0.0)})
    assert find("reach").error_m(over) == pytest.approx(0.1, abs=1e-3)
    block = State(HOME, {"block": at(0.2, 0.03, 0.015), "mark": at(0.3, 0.03, 0.0)})
    assert find("push").error_m(block) == pytest.approx(0.1)
    cube = State(HOME, {"cube": at(0.2, 0.1, 0.0125), "bin": at(0.2, 0.135, 0.0)})
    assert find("pick_place").error_m(cube) == pytest.approx(0.035)
    push = find("push")
    still = dataclasses.replace(push, goals=push.goals[1:])
    assert still.error_m(block) == 0.0, "no goal of it is about a distance"


def test_a_digest_is_of_what_a_file_means(tmp_path):
    own = (task_files / "push.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(f"# mine\n{own}".replace("limit_s: 15", "limit_s: 15.0"))
    assert digest(find(str(path))) == digest(find("push"))
    push = find("push")
    turned = dict(reversed(push.things.items()))
    assert digest(dataclasses.replace(push, things=turned)) != digest(push), "dice fall in order"
    for old, new in (("limit_s: 15", "limit_s: 16"), ("within_m: 0.02", "within_m: 0.03")):
        path.write_text(own.replace(old, new, 1))
        assert digest(find(str(path))) != digest(find("push"))
    assert digest(Domain(light=1.0)) == digest(ORDINARY) != digest(Domain(light=0.5))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("shape: box", "shape: ball"),
        ("mass_kg: 0.035", "mass_kg: 0"),
        ("kind: near", "kind: beside"),
        ("other: mark", "other: cup"),
        ("colour: [222, 38, 44]", "colour: [222, 38]"),
        ("yaw_deg: [-30, 30]", "yaw_deg: [30, -30]"),
        ("hold_s: 0.5", "hold_s: soon"),
        ("hold_s: 0.5", "holds_s: 0.5"),
        ("hold_s: 0.5", "hold_s: -1"),
        ("limit_s: 15", "limit_s: 0.5"),  # no longer than hold_s
        ("limit_s: 15", "limit_s: .inf"),
        ("limit_s: 15", "limit_s: 1.0e+300"),
        ("hold_s: 0.5", "hold_s: 1.0e+300"),
        ("within_m: 0.02", "within_m: -0.02"),
        ("size_m: [0.040, 0.040, 0.030]", "size_m: [1.0e+300, 0.04, 0.03]"),
        ("size_m: [0.060, 0.060, 0.001]", "size_m: [1.0e-300, 0.06, 0.001]"),
        ("x_m: [0.18, 0.24]", "x_m: [-1.0e+300, 1.0e+300]"),
        ("yaw_deg: [-30, 30]", "yaw_deg: [-30, 1.0e+300]"),
        ("mass_kg: 0.035", "mass_kg: 1.0e+300"),
        ("shape: mark", "shape: bin\n    x_m: [0.18, 0.18]"),
        ("  block:", '  "../block\\e[2J":'),
    ],
)
def test_a_wrong_task_is_refused_with_its_place(tmp_path, change, found):
    text = (task_files / "push.yaml").read_text()
    assert change in text
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert find(str(path)).name == "mine"
    path.write_text(text.replace(change, found, 1))
    with pytest.raises(FileError, match=r"mine\.yaml"):
        find(str(path))


def test_a_task_without_goals_is_refused(tmp_path):
    """All of no goals hold: every trial succeeded in its first instant."""
    path = tmp_path / "mine.yaml"
    path.write_text("title: x\nthings: {}\ngoals: []\n")
    with pytest.raises(FileError, match="one at least"):
        find(str(path))


def test_a_task_of_more_things_than_a_table_has_room_for_is_refused(tmp_path):
    thing = "{shape: mark, size_m: [0.1, 0.1, 0.1], colour: [1, 1, 1], x_m: [0, 0], y_m: [0, 0]}"
    things = "".join(f"  a{at}: {thing}\n" for at in range(31))
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: x\nthings:\n{things}goals: [{{kind: still, thing: a1}}]\n")
    with pytest.raises(FileError, match="30 at most, found 31"):
        find(str(path))


def test_a_task_file_whose_things_collide_is_refused_before_anything_starts(tmp_path):
    boxes = "{shape: bin, size_m: [0.1, 0.1, 0.1], colour: [1, 1, 1], x_m: [0, 0], y_m: [0, 0]}"
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"title: x\nthings: {{a: {boxes}, b: {boxes}}}\ngoals: [{{kind: still, thing: a}}]\n"
    )
    with pytest.raises(FileError, match=r"mine\.yaml: .* no room"):
        find(str(path))


def test_an_unknown_task_names_those_there_are(tmp_path):
    with pytest.raises(FileError, match="pick_place or push or reach, found"):
        find("juggle")
    with pytest.raises(FileError, match="no task"):
        find(str(tmp_path / "none.yaml"))


def test_a_task_without_room_says_so():
    task = find("pick_place")
    cube = dataclasses.replace(task.things["cube"], x_m=(0.2, 0.2), y_m=(0.135, 0.135))
    crowded = dataclasses.replace(task, things={**task.things, "cube": cube})
    with pytest.raises(ValueError, match="no room"):
        crowded.initial(0)


def test_a_domain_is_a_file_of_what_differs(tmp_path):
    path = tmp_path / "dim.yaml"
    path.write_text("light: 0.5\nfriction: 0.4\nfront_camera: [0.6, 0.2, 0.5]\n")
    domain = read_domain(path)
    assert changed(domain) == ("friction", "light", "front_camera")
    assert domain.backlash_deg == ORDINARY.backlash_deg
    path.write_text("")
    assert read_domain(path) == ORDINARY


@pytest.mark.parametrize(
    "text",
    [
        "lightness: 1",
        "friction: 0",
        "front_camera: [1, 2]",
        "light_from: [0, 1, 0]",
        "[1]",
        "front_camera: [1.0e+300, 0, 0]",
        "wrist_target: [-0.012, 0.0, 0.066]",
    ],
)
def test_a_wrong_domain_is_refused(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(FileError):
        read_domain(path)


def test_light_and_cameras_change_the_picture():
    view, target = View("front", 96, 72), np.array([0.25, 0.0])
    ordinary = Scene().render(view, HOME, target)
    dim = Scene(domain=Domain(light=0.5)).render(view, HOME, target)
    np.testing.assert_allclose(dim.mean(), ordinary.mean() / 2, rtol=0.02)
    for domain in (
        Domain(light_from=(-0.5, 0.1, 0.8)),
        Domain(front_camera=(0.60, 0.25, 0.46)),
    ):
        other = Scene(domain=domain).render(view, HOME, target)
        assert np.abs(other.astype(int) - ordinary).max() > 30
    wrist = View("wrist", 96, 72)
    moved = Scene(domain=Domain(wrist_target=(0.1, 0.02, 0.01))).render(wrist, HOME, target)
    assert np.abs(moved.astype(int) - Scene().render(wrist, HOME, target)).max() > 30


def test_a_bench_without_physics_refuses_what_needs_it():
    with pytest.raises(BenchError, match="pick_place has things to move; set physics to mujoco"):
        Bench(task=find("pick_place"))
    with pytest.raises(BenchError, match="friction need"):
        Bench(domain=Domain(friction=0.5))
    Bench(domain=Domain(light=0.5))


def test_what_is_chosen_is_named_if_it_is_not_there(tmp_path, monkeypatch):
    assert choose("kinematic", "reach") == (find("reach"), ORDINARY)
    for physics, task, domain, said in (
        ("bullet", "reach", "", "expected kinematic or mujoco, found 'bullet'"),
        ("kinematic", "juggle", "", "task: expected"),
        ("kinematic", "reach", str(tmp_path / "no.yaml"), "no domain file"),
        ("kinematic", "push", "", "set physics to mujoco"),
    ):
        with pytest.raises(BenchError, match=said):
            choose(physics, task, domain)

    def nothing(*packages):
        raise ModuleNotFoundError(f"No module named {packages[0]!r}", name=packages[0])

    monkeypatch.setattr(choice, "require", nothing)
    with pytest.raises(BenchError, match=r"physics: .*mujoco is not installed.*armlet\[sim\]"):
        choose("mujoco", "push")
