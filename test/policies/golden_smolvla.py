"""Golden SmolVLA checkpoints without their weights, which are made again from their names.

`python golden_smolvla.py PYTHON OUT` has the LeRobot of the environment PYTHON make one: its own
files, config.json and tokenizer.json of its language model, inputs and what it gave for them.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import torch

FOLDER = Path(__file__).with_name("golden")
SEED = 7


def golden_weight(name, shape, seed=SEED):
    """The tensor of that name, of trained size: layers keep the spread of what they are given."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    random = torch.randn(tuple(shape), generator=generator)
    if "embed" in name and "patch" not in name:
        return random * 0.2
    if random.ndim >= 2:
        return random * (1.2 / random[0].numel() ** 0.5)
    return 0.05 * random + (1 if "norm" in name and "weight" in name else 0)


def complete(source, folder):
    """Copy the golden checkpoint `source` to `folder` and give it its weights; returns its io."""
    import numpy as np
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    io = dict(np.load(folder / "io.npz"))
    shapes = json.loads((folder / "shapes.json").read_text())
    tensors = {name: golden_weight(name, shape) for name, shape in shapes.items()}
    if (folder / "buffers.safetensors").exists():  # 0.3.x keeps statistics among the weights
        tensors |= load_file(folder / "buffers.safetensors")
    save_file(tensors, folder / "model.safetensors")
    return io


def make(python, out):
    """Have LeRobot make the golden checkpoint `out`, see above."""
    import numpy as np
    from parity_matrix import _inputs, _job
    from safetensors.torch import load_file, save_file
    from test_smolvla_parity import small_case

    case = small_case(steps=2)
    place = Path(tempfile.mkdtemp())
    np.savez(place / "in.npz", **_inputs(case))
    job = {**_job(case, place), "by_name": True}
    driver = Path(__file__).with_name("lerobot_driver.py")
    done = subprocess.run(
        [python, str(driver)], input=json.dumps(job) + "\n", capture_output=True, text=True
    )
    if '"error"' in done.stdout or not done.stdout:
        raise RuntimeError(done.stdout + done.stderr[-3000:])
    checkpoint = place / "checkpoint"
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    buffers = {name: value for name, value in tensors.items() if "normalize_" in name}
    if buffers:
        save_file(buffers, checkpoint / "buffers.safetensors")
    shapes = {name: list(t.shape) for name, t in tensors.items() if name not in buffers}
    (checkpoint / "shapes.json").write_text(json.dumps(shapes))
    shutil.copytree(checkpoint, out)
    (out / "vlm").mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(place / "vlm" / name, out / "vlm" / name)
    for file in out.glob("*.json"):
        file.write_text(file.read_text().replace(str(place / "vlm"), "nobody/nothing"))
    arrays = {**np.load(place / "in.npz"), **np.load(place / "out.npz")}
    np.savez_compressed(out / "io.npz", **arrays)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
