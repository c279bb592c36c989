"""`armlet policy check` on files: what it prints, what it draws, how it exits."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

import check_world as w  # noqa: E402
from narrow_network import narrow_network  # noqa: E402, F401

from armlet.cli.main import main  # noqa: E402
from armlet.cli.policy.policy_check import dataset_samples  # noqa: E402
from armlet.datasets import DatasetWriter, EpisodeFrame  # noqa: E402
from armlet.policies import read_checkpoint, save_checkpoint  # noqa: E402
from armlet.policies.networks import act, resnet  # noqa: E402
from armlet.robots import calibration as calibrations  # noqa: E402
from armlet.sim import FOLLOWER  # noqa: E402


def run(*arguments):
    return main(["policy", "check", *map(str, arguments)])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two short episodes of the bench on disk, and a checkpoint with the statistics of them."""
    from small_policies import make_act

    from armlet.datasets import Dataset

    folder = tmp_path_factory.mktemp("check")
    data, images = w.dataset(), w.seen(0)
    with DatasetWriter(folder / "data", w.CONTRACT) as writer:
        for episode in range(2):
            writer.begin_episode("reach")
            for index in range(24):
                row = 24 * episode + index
                writer.add_frame(
                    EpisodeFrame(
                        state=data.states["degrees"][row],
                        action=data.actions[row],
                        images={name: taken[row] for name, taken in images.items()},
                        stamp_ns=10**18 + episode * 10**12 + index * 10**9 // 30,
                        skew_s={"state": 0.0},
                    )
                )
            writer.finish_episode()
    statistics = Dataset(folder / "data").statistics
    config = w.small_config()
    checkpoint = folder / "checkpoint"
    save_checkpoint(checkpoint, make_act(config), config, statistics, w.CONTRACT, torch.float16)
    calibrations.save(FOLLOWER, folder / "arm.json")
    return folder


def test_a_dataset_shows_itself(recorded):
    samples = dataset_samples(recorded / "data")
    assert samples.states["degrees"].shape == (48, 6)
    assert samples.images["wrist"].shape == (8, w.HEIGHT, w.WIDTH, 3)
    assert samples.contract == w.CONTRACT


def test_what_fits_is_said_item_by_item_and_drawn(recorded, tmp_path, capsys):
    picture = tmp_path / "fed.png"
    status = run(
        *("--checkpoint", recorded / "checkpoint", "--dataset", recorded / "data"),
        *("--calibration", recorded / "arm.json", "--picture", picture),
    )
    said = capsys.readouterr().out
    assert status == 0, said
    for item in (
        "cameras",
        "camera front",
        "value range before normalization",
        "statistics of observation.state",
        "state joints",
        "joint units",
        "training rate (Hz)",
        "calibration",
        "fps, dataset",
        "which camera is which, dataset",
        "frozen statistics beside those of the dataset: the same",
    ):
        assert f"ok    {item}" in said, item
    assert "nothing is wrong" in said
    drawn = picture.read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) > 20_000


def test_the_picture_holds_the_frames_it_is_about(recorded, tmp_path):
    cv2 = pytest.importorskip("cv2")
    run(
        *("--checkpoint", recorded / "checkpoint", "--dataset", recorded / "data"),
        *("--picture", tmp_path / "fed.png"),
    )
    page = cv2.imread(str(tmp_path / "fed.png"))[..., ::-1]
    frame = dataset_samples(recorded / "data").images["front"][0]
    reds = np.argwhere((page[..., 0] > 200) & (page[..., 1] < 80) & (page[..., 2] < 90))
    assert (frame[..., 0].astype(int) - frame[..., 1] > 90).any()  # the red target
    # Twice: as the camera gave it, and as the network's input de-normalized.
    halves = reds[reds[:, 0] < page.shape[0] / 3][:, 1]
    assert (halves < page.shape[1] * 0.31).any()
    assert ((halves > page.shape[1] * 0.31) & (halves < page.shape[1] * 0.6)).any()


def test_the_network_is_asked_about_recorded_frames(recorded, tmp_path, capsys):
    """Random weights answer, if faintly; a zeroed head does not. Limits and probes are options."""
    data = ("--dataset", recorded / "data")
    assert run("--checkpoint", recorded / "checkpoint", *data, "--limit", "faint=0.001") == 0
    assert "ok    answers to the dataset: spread" in capsys.readouterr().out
    zeroed = w.sign(recorded / "checkpoint", tmp_path / "zeroed")
    head = "model.action_head"
    w.retensor(w.WEIGHTS, lambda t: [t[f"{head}.{n}"].zero_() for n in ("weight", "bias")])(
        w.World(zeroed)
    )
    assert run("--checkpoint", zeroed, *data, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    [wrong] = [item for item in document["items"] if item["verdict"] == "wrong"]
    assert wrong["code"] == "policy.actions-constant" and wrong["fix"]
    assert run("--checkpoint", zeroed, *data, "--probes", "0") == 0
    assert "answers" not in capsys.readouterr().out
    assert run("--checkpoint", zeroed, *data, "--limit", "colour=1") == 2
    assert "expected NAME=VALUE" in capsys.readouterr().err


def test_frames_of_a_dataset_have_their_window_and_their_actions(recorded):
    """Two observations, and three actions: at both ends of an episode fewer are there."""
    from armlet.datasets import Dataset

    dataset = Dataset(recorded / "data")
    episode = dataset.episode(1)
    samples = dataset_samples(recorded / "data", n_obs_steps=2, chunk_size=3)
    plain = dataset_samples(recorded / "data")
    first, second, _, last = samples.moments[4:]
    assert len(samples.moments) == 8 and samples.images["front"].shape[0] == 8
    np.testing.assert_array_equal(samples.images["front"], plain.images["front"])
    assert [len(moment.actions) for moment in samples.moments[4:]] == [3, 3, 3, 1]
    np.testing.assert_array_equal(second.actions, episode.action[8:11])
    np.testing.assert_array_equal(first.observation.earlier[0].state, first.observation.state)
    [before] = second.observation.earlier
    np.testing.assert_array_equal([before.state, second.observation.state], episode.state[7:9])
    shown = dataset.images(1, "wrist", [7, 8, 23])
    seen = [m.images["wrist"] for m in (before, second.observation, last.observation)]
    np.testing.assert_array_equal(seen, shown)
    assert second.observation.task == "reach"


def test_refusal_is_status_1_and_json_says_the_same(recorded, capsys):
    arguments = ("--checkpoint", recorded / "checkpoint", "--joint-units", "range_m100_100")
    assert run(*arguments) == 1
    said = capsys.readouterr().out
    assert "ERROR joint units: expected degrees, found range_m100_100" in said
    assert "refused: 1 wrong" in said
    assert run(*arguments, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    wrong = [item for item in document["items"] if item["verdict"] == "wrong"]
    assert [(i["item"], i["expected"], i["found"]) for i in wrong] == [
        ("joint units", "degrees", "range_m100_100")
    ]
    assert wrong[0]["fix"]


def test_a_torn_checkpoint_is_refused_and_not_an_error(recorded, tmp_path, capsys):
    torn = w.sign(recorded / "checkpoint", tmp_path / "torn")
    (torn / "config.json").write_text("{")
    assert run("--checkpoint", torn) == 1
    assert "ERROR" in (said := capsys.readouterr().out) and "config.json" in said
    assert "[policy.file-damaged]" in said
    assert run("--checkpoint", torn, "--json") == 1
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert item["code"] == "policy.file-damaged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "absent"), "not a LeRobot dataset"),
        (("--calibration", "absent.json"), "no calibration file"),
        (("--picture", "out.png"), "--dataset, --bag or --live"),
    ],
)
def test_what_cannot_be_checked_is_status_2_in_one_line(recorded, arguments, message, capsys):
    assert run("--checkpoint", recorded / "checkpoint", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_checkpoint_that_is_not_there_is_status_2(tmp_path, capsys):
    assert run("--checkpoint", tmp_path / "nothing") == 2
    assert "found nothing" in capsys.readouterr().err


def test_the_check_reads_the_committed_checkpoint(monkeypatch):
    monkeypatch.setattr(act, "ResNet", resnet.ResNet)  # it was trained elsewhere
    reach = Path(__file__).parents[2] / "checkpoints" / "reach"
    assert run("--checkpoint", reach) == 0
    assert read_checkpoint(reach).contract is not None
