"""Golden Diffusion Policies without their weights, which are made again from their names.

`python golden_diffusion.py PYTHON` has the LeRobot of the environment PYTHON (0.4.4) make them: its
own files, observations, and the chunks and actions it gave for them.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from small_diffusion import diffusion_config, make_arrays

FOLDER = Path(__file__).with_name("golden_diffusion")
WEIGHTS = "model.safetensors"
CASES = {
    "ddpm-three-observations": diffusion_config((), n_obs_steps=3, use_film_scale_modulation=False),
    "ddim-crop": diffusion_config(
        ("front",), noise_scheduler_type="DDIM", num_inference_steps=5, crop_shape=(40, 50)
    ),
}


def golden_weight(name, shape):
    """The tensor of that name; layers keep the spread of what they are given."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    random = torch.randn(tuple(shape), generator=generator)
    if random.ndim >= 2:
        return random * (1.2 / random[0].numel() ** 0.5)
    return 0.05 * random + name.endswith(".weight")


def complete(name, folder):
    """Copy a golden checkpoint to `folder` and give it its weights; returns its io."""
    shutil.copytree(FOLDER / name, folder)
    shapes = json.loads((folder / "shapes.json").read_text())
    tensors = {tensor: golden_weight(tensor, shape) for tensor, shape in shapes.items()}
    if (folder / "grid.safetensors").exists():
        tensors |= load_file(folder / "grid.safetensors")
    save_file(tensors, folder / WEIGHTS)
    return dict(np.load(folder / "io.npz"))


def make(python, name):
    """Have LeRobot make one, see above."""
    from test_diffusion_parity import job

    place, out = Path(tempfile.mkdtemp()), FOLDER / name
    arrays = make_arrays(CASES[name], 4)
    np.savez(place / "in.npz", **arrays)
    _lerobot(python, job(CASES[name], place))
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(place / "checkpoint", out)
    tensors = load_file(out / WEIGHTS)
    (out / WEIGHTS).unlink()
    grid = {k: v for k, v in tensors.items() if k.endswith("pos_grid")}
    if grid:
        save_file(grid, out / "grid.safetensors")
    shapes = {k: list(v.shape) for k, v in tensors.items() if k not in grid}
    (out / "shapes.json").write_text(json.dumps(shapes))
    save_file({k: golden_weight(k, s) for k, s in shapes.items()} | grid, place / WEIGHTS)
    shutil.copy(place / WEIGHTS, place / "checkpoint" / WEIGHTS)
    _lerobot(python, job(CASES[name], place, do="run_diffusion"))
    np.savez_compressed(out / "io.npz", **arrays, **np.load(place / "out.npz"))


def _lerobot(python, order):
    driver = Path(__file__).with_name("lerobot_driver.py")
    said = subprocess.run(
        [python, str(driver)], input=json.dumps(order) + "\n", capture_output=True, text=True
    )
    assert json.loads(said.stdout) == {}, said.stdout + said.stderr[-2000:]


if __name__ == "__main__":
    for case in CASES:
        make(sys.argv[1], case)
