"""Predicted chunks beside recorded actions: every number by hand, every refusal in words."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

import small_datasets as data  # noqa: E402
from small_policies import act_config, make_act  # noqa: E402
from test_not_finite import poison  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.evaluation.errors import Errors  # noqa: E402
from armlet.evaluation.evaluate import evaluate  # noqa: E402
from armlet.evaluation.held_out import choose  # noqa: E402
from armlet.evaluation.observations import frames_of, moments  # noqa: E402
from armlet.evaluation.pairs import pair  # noqa: E402
from armlet.evaluation.report import limits_of  # noqa: E402
from armlet.findings import Severity  # noqa: E402
from armlet.policies import (  # noqa: E402
    Observation,
    Policy,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)

EPISODES, LENGTH, CHUNK = 8, 12, 6
CAMERAS = ("front",)


def run(*arguments):
    return main(["policy", "evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    contract = data.cameras_only(*CAMERAS)
    return data.record(tmp_path_factory.mktemp("data") / "set", EPISODES, LENGTH, contract)


@pytest.fixture(scope="module")
def constant(root, tmp_path_factory):
    """Saves policies whose every action is `offset` standard deviations off the mean, by name."""
    folder, config = tmp_path_factory.mktemp("constant"), act_config(CAMERAS, chunk_size=CHUNK)
    dataset = Dataset(root)
    contract = dataset.contract

    def save(name, offset, **more):
        if not (folder / name).exists():
            network = make_act(config)
            with torch.no_grad():
                network.action_head.weight.zero_()
                network.action_head.bias.fill_(offset)
            options = {"contract": contract, "dtype": torch.float16, **more}
            save_checkpoint(folder / name, network, config, dataset.statistics, **options)
        return folder / name

    return save


@pytest.fixture(scope="module")
def up(constant):
    """Right in episodes with an even number, and two spreads off in the others."""
    return constant("up", 1.0)


def actions_of(dataset, k):
    return dataset.episode(k).action.astype(np.float64)


# --- numbers --------------------------------------------------------------------------------------


def test_errors_are_added_up_by_joint_step_and_episode():
    errors = Errors(horizon=3, joints=2)
    errors.add(np.array([[1.0, 0], [2, 0], [4, 0]]), np.zeros((3, 2)))
    errors.add(np.array([[-3.0, 8], [0, 0], [9, 9]]), np.zeros((1, 2)))  # the episode's last frame
    errors.end_episode(5)
    errors.add(np.array([[2.0, 2]]), np.zeros((2, 2)))  # one row for every step
    errors.end_episode(6)
    assert errors.count.tolist() == [3, 2, 1]
    np.testing.assert_allclose(errors.by_step, [[2, 10 / 3], [2, 1], [4, 0]])
    np.testing.assert_allclose(errors.mean, [14 / 6, 12 / 6])
    np.testing.assert_allclose(errors.rms, np.sqrt([38 / 6, 72 / 6]))
    np.testing.assert_allclose(errors.bias, [8 / 6, 12 / 6])
    np.testing.assert_allclose(errors.by_episode[5], [10 / 4, 8 / 4])
    np.testing.assert_allclose(errors.by_episode[6], [2, 2])
    unreached = Errors(horizon=2, joints=1)
    unreached.add(np.ones((2, 1)), np.zeros((1, 1)))
    assert unreached.by_step[0, 0] == 1 and np.isnan(unreached.by_step[1, 0])


@pytest.mark.parametrize(
    ("length", "count", "frames"),
    [(5, 0, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (1, 20, [0])],
)
def test_chunks_are_spread_over_an_episode(length, count, frames):
    assert frames_of(length, count) == frames


def test_a_difference_is_one_where_chance_does_not_explain_it():
    five, six = (pair([1.0] * n, [2.0 + k for k in range(n)]) for n in (5, 6))
    assert (five.p, five.better, five.wins) == (2 / 32, "", 5)
    assert (six.p, six.better, six.mean) == (2 / 64, "A", -3.5)
    assert pair([2.0] * 6, [1.0] * 6).better == "B"
    mixed = pair([1, 2, 1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1, 2, 1])
    assert (mixed.p, mixed.better, mixed.wins) == (1.0, "", 4)
    assert pair([1.0], [2.0]).p == 1.0
    # Beyond twelve, signs are drawn: two in 2^20 are as extreme.
    assert pair([1.0] * 20, [2.0] * 20).p == 1 / 10_001
    assert 0.2 < pair([1.0, 2.0] * 8, [1.4, 1.7] * 8).p <= 1.0


def test_the_errors_of_a_constant_policy_are_what_they_are_by_hand(root, up):
    dataset = Dataset(root)
    statistics = dataset.statistics["action"]
    goal = (statistics["mean"] + statistics["std"]).astype(np.float32).astype(np.float64)
    found = evaluate(dataset, [load_policy(up)], [0, 3], chunks=0)
    errors = {name: [[] for _ in range(CHUNK)] for name in ("A", "stay", "mean")}
    episodes = {name: {0: [], 3: []} for name in errors}
    for k in (0, 3):
        actions, states = actions_of(dataset, k), dataset.episode(k).state.astype(np.float64)
        for frame in range(LENGTH):
            predicted = {"A": goal, "stay": states[frame], "mean": statistics["mean"]}
            for step in range(min(CHUNK, LENGTH - frame)):
                for name, value in predicted.items():
                    error = np.abs(value - actions[frame + step])
                    errors[name][step].append(error)
                    episodes[name][k].append(error)
    assert list(found.errors) == ["A", "stay", "mean"]
    assert found.errors["A"].count.tolist() == [2 * (LENGTH - i) for i in range(CHUNK)]
    for name, steps in errors.items():
        got = found.errors[name]
        np.testing.assert_allclose(got.by_step, [np.mean(s, axis=0) for s in steps], rtol=1e-4)
        np.testing.assert_allclose(got.mean, np.mean(np.concatenate(steps), axis=0), rtol=1e-4)
        for k in (0, 3):
            by_hand = np.mean(episodes[name][k], axis=0)
            np.testing.assert_allclose(got.by_episode[k], by_hand, rtol=1e-4)
    spread = statistics["std"].ravel()
    np.testing.assert_allclose(found.spread, spread, rtol=1e-5)
    scores = [np.mean(np.mean(episodes["A"][k], axis=0) / spread) for k in (0, 3)]
    np.testing.assert_allclose(found.scores("A"), scores, rtol=1e-4)


# --- observations ---------------------------------------------------------------------------------


def by_hand(dataset, policy, k, frames, seed=0):
    """Mean absolute errors (n,) with observations built one by one."""
    episode, size = dataset.episode(k), policy.config.n_obs_steps
    images = {name: dataset.images(k, name) for name in dataset.info.cameras}

    def seen(frame):
        pictures = {name: taken[frame] for name, taken in images.items()}
        return Observation(episode.state[frame], pictures, episode.tasks[frame])

    errors = []
    for frame in frames:
        earlier = tuple(seen(max(0, frame - i)) for i in range(size - 1, 0, -1))
        observation = dataclasses.replace(seen(frame), earlier=earlier)
        policy.reset(int(np.random.SeedSequence([seed, k, frame]).generate_state(1)[0]))
        chunk = policy.predict_chunk(observation)
        following = episode.action[frame : frame + len(chunk)]
        errors.append(np.abs(chunk[: len(following)] - following))
    return np.concatenate(errors).mean(axis=0)


def act(folder, statistics):
    config = act_config(chunk_size=CHUNK)
    save_checkpoint(folder, make_act(config), config, statistics, dtype=torch.float16)


def diffusion(folder, statistics):
    from small_diffusion import diffusion_config, make_diffusion

    config = diffusion_config(n_obs_steps=3, num_inference_steps=3, horizon=8, n_action_steps=4)
    save_checkpoint(folder, make_diffusion(config), config, statistics)


def smolvla(folder, statistics):
    pytest.importorskip("tokenizers", reason="the policy extra is not installed")
    from small_smolvla import make_language_model, make_smolvla, smolvla_config

    vlm, config = make_language_model(folder.parent / "language"), smolvla_config()
    save_checkpoint(folder, make_smolvla(config, vlm), config, statistics, vlm=vlm)


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory):
    tasks = ("lift the cube", "open the box")
    return data.record(tmp_path_factory.mktemp("two") / "set", 2, LENGTH, tasks=tasks)


@pytest.mark.parametrize("make", [act, diffusion, smolvla])
def test_every_kind_of_policy_gets_what_the_node_would_give_it(make, two_cameras, tmp_path):
    dataset = Dataset(two_cameras)
    make(tmp_path / "checkpoint", dataset.statistics)
    policy = load_policy(tmp_path / "checkpoint")
    found = evaluate(dataset, [policy], [0, 1], chunks=5, seed=3)
    frames = frames_of(LENGTH, 5)
    for k in (0, 1):
        expected = by_hand(dataset, policy, k, frames, seed=3)
        np.testing.assert_allclose(found.errors["A"].by_episode[k], expected, rtol=1e-5)
    if policy.draws:
        other = evaluate(dataset, [policy], [0], chunks=5, seed=4).errors["A"].by_episode[0]
        assert np.abs(other - found.errors["A"].by_episode[0]).max() > 1e-4


def test_pictures_are_decoded_a_few_at_a_time(root, monkeypatch):
    asked, images = [], Dataset.images

    def watched(self, k, camera, indices=None):
        asked.append(list(indices))
        return images(self, k, camera, indices)

    monkeypatch.setattr(Dataset, "images", watched)
    dataset = Dataset(root)
    seen = list(moments(dataset, dataset.episode(0), range(LENGTH), CAMERAS, [1, 3]))
    assert [moment.frame for moment in seen] == list(range(LENGTH))
    assert asked == [list(range(8)), list(range(6, LENGTH))]
    assert {len(moment.observations[3].earlier) for moment in seen} == {2}
    whole = images(dataset, 0, "front")
    for before, frame in zip(seen[9].observations[3].earlier, (7, 8), strict=True):
        np.testing.assert_array_equal(before.images["front"], whole[frame])


# --- held-out episodes ----------------------------------------------------------------------------


def copied(checkpoint, target):
    shutil.copytree(checkpoint, target)
    return target


def chosen(root, asked, *paths):
    """The episodes, and each finding's severity."""
    choice = choose(Dataset(root), [read_checkpoint(path) for path in paths], asked)
    return choice.episodes, [finding.severity for finding in choice.findings], choice.findings


def test_what_armlet_trained_on_is_recorded_and_left_out(constant, up, root):
    path = constant("recorded", 1.0, episodes=[5, 0, 1, 2, 3])
    assert chosen(root, None, path)[:2] == ((4, 6, 7), [Severity.OK])
    episodes, severities, (finding,) = chosen(root, [3, 4], path)
    assert (episodes, severities) == ((3, 4), [Severity.WARNING])
    assert finding.found == "its training data: episodes 3"
    # Of two policies each is judged, and neither has seen what is taken.
    other = constant("others", 1.0, episodes=[6])
    assert chosen(root, None, path, other)[:2] == ((4, 7), [Severity.OK, Severity.OK])
    assert chosen(root, [6], path, other)[1] == [Severity.OK, Severity.WARNING]
    assert chosen(root, None, path, up)[:2] == ((4, 6, 7), [Severity.OK, Severity.WARNING])


@pytest.mark.parametrize(
    ("episodes", "left", "severity"),
    [([0, 1, 2], (3, 4, 5, 6, 7), Severity.OK), (None, tuple(range(8)), Severity.WARNING)],
)
def test_lerobots_record_counts_too(episodes, left, severity, up, root, tmp_path):
    path = copied(up, tmp_path / "lerobot")
    document = {"dataset": {"repo_id": "a/b", "episodes": episodes}}
    (path / "train_config.json").write_text(json.dumps(document))
    assert chosen(root, None, path)[:2] == (left, [severity])


def test_without_a_record_it_is_said_and_of_another_dataset_it_is_open(up, root, two_cameras):
    assert "no file says" in chosen(root, None, up)[2][0].found
    episodes, severities, (finding,) = chosen(two_cameras, None, up)
    assert (episodes, severities) == ((0, 1), [Severity.OPEN])
    assert "another dataset than its training data" in finding.found


@pytest.mark.parametrize("episodes", ["all", [0, -1], [True], [1.5]])
def test_a_damaged_record_is_refused(episodes, up, root, tmp_path, capsys):
    path = copied(up, tmp_path / "damaged")
    (path / "armlet_training.json").write_text(json.dumps({"episodes": episodes}))
    assert run(path, "--dataset", root) == 2
    assert "expected a list of episode numbers" in capsys.readouterr().err


@pytest.mark.parametrize("episodes", [[], [0, EPISODES], [10**9]])
def test_a_record_of_episodes_that_are_not_there_says_nothing(episodes, up, root, tmp_path, capsys):
    path = copied(up, tmp_path / "damaged")
    (path / "armlet_training.json").write_text(json.dumps({"episodes": episodes}))
    assert run(path, "--dataset", root) == 2
    assert f"expected one episode and more, of 0 to {EPISODES - 1}" in capsys.readouterr().err


def test_joints_in_another_order_than_the_contracts_are_refused(up, root, tmp_path, capsys):
    """Errors would stand beside the names of other joints."""
    other = shutil.copytree(root, tmp_path / "other")
    info = json.loads((other / "meta" / "info.json").read_text())
    info["features"]["action"]["names"].reverse()
    (other / "meta" / "info.json").write_text(json.dumps(info))
    assert run(up, "--dataset", other) == 2
    assert "action: expected the joints of its contract, shoulder_pan" in capsys.readouterr().err


# --- the command ----------------------------------------------------------------------------------


def test_a_good_policy_beats_the_baselines_and_is_drawn(up, root, tmp_path, capsys):
    plot = tmp_path / "errors.png"
    assert run(up, "--dataset", root, "--episodes", "0,2", "--chunks", 4, "--plot", plot) == 0
    said = capsys.readouterr().out
    assert "episodes 0,2 of" in said and "8 chunks of 6 steps (0.20 s)" in said
    head, *rows = [line.split("\t") for line in said.splitlines() if "\t" in line]
    assert head[:5] == ["joint", "unit", "A", "A rms", "A bias"] and head[-2:] == ["stay", "mean"]
    assert [row[:2] for row in rows][::5] == [
        ["shoulder_pan", "degrees"],
        ["gripper", "range_0_100"],
    ]
    for row in rows:
        own, stay, mean = float(row[2]), float(row[-2]), float(row[-1])
        assert own < 4 < 10 < mean < 20 < stay
    assert (
        "ok    policy A beside baselines" in said and "WARN  held-out episodes of policy A" in said
    )
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_policy_that_is_no_better_than_the_mean_is_warned_of(constant, root, capsys):
    assert run(constant("middle", 0.0), "--dataset", root, "--chunks", 2) == 0
    said = capsys.readouterr().out
    assert "WARN  policy A beside baselines" in said
    assert "[policy.no-better-than-baseline]" in said


def test_actions_that_no_arm_can_mean_are_numbers_that_can_be_read(constant, root, capsys):
    huge = constant("huge", 1e37, dtype=torch.float32)
    assert run(huge, "--dataset", root, "--chunks", 2) == 0
    table = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line]
    assert all("e+38" in cell and len(cell) < 12 for row in table[1:] for cell in row[2:5])
    beyond = constant("beyond", 3e38, dtype=torch.float32)
    assert run(beyond, "--dataset", root, "--chunks", 2) == 2
    said = capsys.readouterr().err
    assert "armlet policy evaluate: the network gave non-finite actions" in said


def test_json_has_every_number_and_is_the_same_every_time(up, constant, root, capsys):
    arguments = (up, "--dataset", root, "--against", constant("middle", 0.0), "--chunks", 3)
    options = ("--episodes", "0,2,4,6,1,3", "--json")
    assert run(*arguments, *options) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["episodes"] == [0, 1, 2, 3, 4, 6] and found["chunks"] == 18
    assert found["joints"] == list(data.NAMES) and found["units"][-1] == "range_0_100"
    assert list(found["predictors"]) == ["A", "B", "stay", "mean"]
    a, b, mean = (found["predictors"][name] for name in ("A", "B", "mean"))
    assert np.shape(a["by_step"]) == (CHUNK, 6) and len(a["score_by_episode"]) == 6
    np.testing.assert_allclose(b["mean"], mean["mean"], rtol=1e-4)  # it is the mean action
    differences = found["comparison"]["differences"]
    assert found["comparison"]["nearer"] == 4 and len(differences) == 6
    assert [d < 0 for d in differences] == [k % 2 == 0 for k in found["episodes"]]
    joints = found["comparison"]["joints"]
    for i, joint in enumerate(joints):
        errors = [[who["by_episode"][str(k)][i] for k in found["episodes"]] for who in (a, b)]
        np.testing.assert_allclose(joint["differences"], np.subtract(*errors))
    assert len(joints) == 6
    assert "policy.compared" in [finding["code"] for finding in found["findings"]]
    assert run(*arguments, *options) == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.thorough
def test_of_two_policies_the_better_one_is_named(up, constant, tmp_path, capsys):
    """Seven episodes of the same kind: all differences are on one side."""
    contract = data.cameras_only(*CAMERAS)
    other = data.record(tmp_path / "set", 14, 4, contract)
    arguments = ("--dataset", other, "--episodes", "0,2,4,6,8,10,12", "--chunks", 2)
    assert run(up, "--against", constant("middle", 0.0), *arguments) == 0
    said = capsys.readouterr().out
    assert "A is better: A is nearer in 7 of 7 episodes" in said
    head, *rows = [line.split("\t") for line in said.splitlines() if "\t" in line]
    assert head[-2:] == ["A - B", "p"] and {row[-1] for row in rows} == {"0.016"}
    assert all(float(row[-2]) < -5 for row in rows)
    assert run(constant("middle", 0.0), "--against", up, *arguments) == 0
    assert "B is better: A is nearer in 0 of 7 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limits", "status", "wrong"),
    [
        (("--limit", "10"), 0, []),
        (("--limit", "0.5"), 1, [*data.NAMES]),
        (("--limit", "0.5", "--limit", "gripper=10"), 1, [*data.NAMES[:-1]]),
        (("--limit", "elbow_flex.pos=0.5"), 1, ["elbow_flex.pos"]),
    ],
)
def test_the_status_follows_the_limits(limits, status, wrong, up, root, capsys):
    assert run(up, "--dataset", root, "--episodes", "0", "--chunks", 2, "--json", *limits) == status
    found = json.loads(capsys.readouterr().out)
    above = [f for f in found["findings"] if f["severity"] == "error"]
    assert {f["code"] for f in above} <= {"policy.error-above-limit"}
    assert [f["subject"] for f in above] == [
        f"mean error of {joint.removesuffix('.pos')}" for joint in wrong
    ]
    assert found["ok"] is (status == 0)


def test_limits_of_joints_are_matched_by_name():
    joints = ("pan.pos", "gripper.pos")
    assert limits_of(joints, [("gripper", 2.0), ("", 1.0)]) == {"pan.pos": 1.0, "gripper.pos": 2.0}
    with pytest.raises(ValueError, match="no joint 'elbow'; there are pan, gripper"):
        limits_of(joints, [("elbow", 1.0)])


@pytest.mark.parametrize("text", ["0", "-1", "nan", "gripper=", "x"])
def test_a_limit_that_is_no_error_is_refused(text, up, root, capsys):
    with pytest.raises(SystemExit):
        run(up, "--dataset", root, f"--limit={text}")
    assert "expected an error above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--episodes", "8"), "there are episodes 0 to 7"),
        (("--limit", "elbow=1"), "no joint 'elbow'"),
        (("--plot", "errors.doc"), "expected a name that ends with .png"),
        (("--plot", "absent/errors.png"), "there is no folder absent"),
        (("--plot", "folder.png"), "expected a file to write, found a folder"),
        (("--chunks", "-1"), "expected 0 or more"),
        (("--against", "absent"), "absent"),
        (("--device", "nonsense"), "device"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    options, message, up, root, capsys, monkeypatch, tmp_path
):
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Policy, "predict_chunk", None)
    assert run(up, "--dataset", root, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fps": 25}, "contract.rate"),
        ({"joint_units": "range_m100_100"}, "contract.joint-units"),
        ({"state_names": data.NAMES[::-1], "action_names": data.NAMES[::-1]}, "contract.state"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(change, code, up, tmp_path, capsys):
    contract = dataclasses.replace(data.cameras_only(*CAMERAS), **change)
    other = data.record(tmp_path / "set", 2, 4, contract)
    assert run(up, "--dataset", other) == 2
    said = capsys.readouterr().err
    assert "does not fit" in said and f"[{code}" in said


@pytest.mark.representatives(2)
@pytest.mark.parametrize("key", ["action", "observation.state"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_rows_that_are_not_finite_are_named_before_anything_is_predicted(
    key, value, up, root, tmp_path, capsys
):
    other = poison(shutil.copytree(root, tmp_path / "set"), key, value)
    assert run(up, "--dataset", other) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    start = f"armlet policy evaluate: episode 1: {key} has non-finite values in row 2, "
    assert said.err.startswith(start)


def test_a_policy_that_is_not_there_is_refused_in_the_commands_name(root, capsys):
    assert run("nosuch", "--dataset", root) == 2
    said = capsys.readouterr().err
    assert said.startswith("armlet policy evaluate: nosuch") and said.count("\n") == 1


def test_ctrl_c_ends_it_in_one_line_and_draws_nothing(up, root, tmp_path, capsys, monkeypatch):
    calls, predict = [], Policy.predict_chunk

    def interrupted(self, observation):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, observation)

    monkeypatch.setattr(Policy, "predict_chunk", interrupted)
    plot = tmp_path / "errors.png"
    assert run(up, "--dataset", root, "--plot", plot) == 130
    assert capsys.readouterr().err.strip() == "armlet policy: stopped"
    assert len(calls) == 3 and not plot.exists()
