import io

import numpy as np
import pytest
from small_policies import act_config, make_observation

from armlet.cli.main import main
from armlet.cli.policy import policy as cli
from armlet.policies import load_policy

STEPS = 6


def run(*arguments):
    return main(["policy", *map(str, arguments)])


@pytest.fixture
def arrays():
    observations = [make_observation(act_config(), seed) for seed in range(STEPS)]
    return {
        "state": np.stack([o.state for o in observations]),
        "task": np.array("Pick up the red cube"),
        **{
            f"image_{name}": np.stack([o.images[name] for o in observations])
            for name in ("front", "wrist")
        },
    }


def infer(checkpoint, arrays, tmp_path, *options):
    np.savez(tmp_path / "in.npz", **arrays)
    places = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    return run("infer", "--checkpoint", checkpoint, *places, *options)


@pytest.mark.parametrize("options", [(), ("--optimize",)])
def test_infer_writes_what_the_policy_says(options, saved_cameras, arrays, tmp_path):
    assert infer(saved_cameras, arrays, tmp_path, *options) == 0
    out = np.load(tmp_path / "out.npz")
    policy = load_policy(saved_cameras, optimize=bool(options))
    chunks = [policy.predict_chunk(make_observation(act_config(), seed)) for seed in (0, 4)]
    np.testing.assert_array_equal(out["chunk"], chunks[0])
    # Four actions of the first chunk, then a new one from the fifth step.
    np.testing.assert_array_equal(out["actions"], [*chunks[0][:4], *chunks[1][:2]])


def test_noise_is_ignored_with_a_note(saved_cameras, arrays, tmp_path, capsys):
    assert infer(saved_cameras, arrays | {"noise": np.zeros((8, 6))}, tmp_path) == 0
    assert "noise is ignored" in capsys.readouterr().err


def test_policy_without_cameras_reads_the_environment(saved_vectors, arrays, tmp_path):
    arrays = {"state": arrays["state"], "environment_state": np.zeros((STEPS, 2))}
    assert infer(saved_vectors, arrays, tmp_path) == 0
    assert np.load(tmp_path / "out.npz")["chunk"].shape == (8, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("image_wrist"), "add image_wrist"),
        (lambda a: a.pop("state"), "add state"),
        (lambda a: a.update(state=a["state"][:-1]), "equal number of steps"),
        (lambda a: a.update(state=a["state"][:, :-1]), "vectors of 6 values"),
        (lambda a: a.update(state=a["state"].astype("U8")), "expected numbers in state"),
        (lambda a: a.update(state=np.float32(3)), "equal number of steps"),
        (lambda a: a.update(image_wrist=a["image_wrist"][:, ::2]), "does not resize"),
        (lambda a: a.update(image_wrist=a["image_wrist"] / 255), "expected uint8"),
        (lambda a: a.update({k: v[:0] for k, v in a.items() if v.ndim}), "T >= 1"),
        (lambda a: a.update(state=a["state"] * np.float32(1e30)), "non-finite actions"),
        (lambda a: a.update(state=a["state"].astype(float) * 1e300), "expected finite values"),
    ],
)
def test_bad_arrays_are_one_line_and_status_2(
    change, message, saved_cameras, arrays, tmp_path, capsys
):
    change(arrays)
    assert infer(saved_cameras, arrays, tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.filterwarnings("error")
def test_every_damage_to_an_archive_is_an_input_error(tmp_path):
    path = tmp_path / "in.npz"
    np.savez_compressed(path, state=np.random.default_rng(0).random((4, 6)), task=np.array("x"))
    whole = path.read_bytes()
    kinds = set()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            cli._read_arrays(path)
        except cli.InputError as error:
            kinds.add(type(error.__cause__).__name__)
    assert {"BadZipFile", "error", "NotImplementedError"} <= kinds


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04broken", npy(np.zeros(3))])
def test_bad_input_file_is_one_line_and_status_2(content, saved_cameras, tmp_path, capsys):
    (tmp_path / "in.npz").write_bytes(content)
    places = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert run("infer", "--checkpoint", saved_cameras, *places) == 2
    error = capsys.readouterr().err
    assert error.startswith("armlet policy infer: ") and error.count("\n") == 1


def test_bad_checkpoint_is_one_line_and_status_2(arrays, tmp_path, capsys):
    assert infer(tmp_path / "nothing", arrays, tmp_path) == 2
    error = capsys.readouterr().err
    assert "expected a directory" in error and error.count("\n") == 1
    assert error.startswith("armlet policy infer: ")


@pytest.mark.parametrize("device", ["nonsense", "meta:x"])
def test_unusable_device_is_one_line_and_status_2(device, saved_cameras, arrays, tmp_path, capsys):
    assert infer(saved_cameras, arrays, tmp_path, "--device", device) == 2
    error = capsys.readouterr().err
    assert "expected one torch can use" in error and error.count("\n") == 1


def test_inspect_says_what_goes_in_and_out(saved_cameras, capsys):
    assert run("inspect", saved_cameras) == 0
    said = capsys.readouterr().out
    assert "observation.images.wrist [3, 48, 64] MEAN_STD" in said
    assert "4 of 8 actions" in said and "contract       none" in said


def test_inspect_refuses_with_status_2(tmp_path, capsys):
    assert run("inspect", tmp_path) == 2
    assert "config.json" in capsys.readouterr().err
