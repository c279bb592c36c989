"""Kinds of policies by name: armlet's own, another package's, and packages that are broken.

The example is installed with pip into a folder of its own, offline; everything is then asked of a
process that has the folder on its path, so what is found is found by its metadata.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

from small_policies import act_config

from armlet.policies import ActConfig, CheckpointError, DiffusionConfig, SmolVlaConfig, registry
from armlet.policies.registry import family, family_of, known_types

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "armlet_policy_example"
# Saves a checkpoint of the example's policy, whose every action is state + 5, and predicts.
USE = """
import sys
from pathlib import Path
import numpy as np
import torch
from armlet_policy_example import Stay, StayConfig
from armlet.policies import Feature, Observation, load_policy, save_checkpoint

config = StayConfig(
    {"observation.state": Feature("STATE", (6,))},
    {"action": Feature("ACTION", (6,))},
    {"STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    chunk_size=5,
    n_action_steps=5,
)
network = Stay(config)
with torch.no_grad():
    network.head.weight.copy_(torch.eye(6))
    network.head.bias.zero_()
spread = np.full(6, 20.0)
statistics = {
    "observation.state": {"mean": np.full(6, 5.0), "std": spread},
    "action": {"mean": np.full(6, 10.0), "std": spread},
}
save_checkpoint(Path(sys.argv[1]), network, config, statistics)
policy = load_policy(sys.argv[1])
print(policy.predict_chunk(Observation(np.arange(6, dtype=np.float32), {})).tolist())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that pip has installed the example into, without a network."""
    folder = tmp_path_factory.mktemp("installed")
    # setuptools builds inside the source folder; that stays as it is.
    source = shutil.copytree(EXAMPLE, folder / "source")
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        folder / "site",
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    return folder / "site"


def ask(site, *command):
    """Output of a Python process that has the folder on its path."""
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment
    )


@pytest.fixture(scope="module")
def checkpoint(installed, tmp_path_factory):
    """A checkpoint of the example, and what its policy gave."""
    path = tmp_path_factory.mktemp("stay") / "checkpoint"
    done = ask(installed, "-c", USE, path)
    assert done.returncode == 0, done.stderr
    return path, np.array(json.loads(done.stdout))


@pytest.mark.thorough
def test_another_packages_policy_is_found_run_and_checked(installed, checkpoint):
    path, chunk = checkpoint
    np.testing.assert_allclose(chunk, np.tile(np.arange(6) + 5, (5, 1)), atol=1e-5)
    main = ("-m", "armlet.cli.main")
    checked = ask(installed, *main, "policy", "check", "--checkpoint", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ERROR" not in checked.stdout and "statistics of action" in checked.stdout
    inspected = ask(installed, *main, "policy", "inspect", path)
    assert "policy         Stay, 0.0 M parameters, Stay" in inspected.stdout
    exported = ask(installed, *main, "policy", "export", path, "--output", path.parent / "graph")
    assert exported.returncode == 2 and exported.stderr.count("\n") == 1
    assert "found Stay; backend torch runs it" in exported.stderr


@pytest.mark.thorough
def test_without_the_package_its_type_is_unknown(checkpoint):
    path, _ = checkpoint
    with pytest.raises(CheckpointError, match="'act' or 'diffusion' or 'smolvla', found 'stay'"):
        registry.family("stay", path)


def test_armlets_own_kinds():
    assert known_types() == ("act", "diffusion", "smolvla")
    for kind in (ActConfig, DiffusionConfig, SmolVlaConfig):
        assert family(kind.TYPE, "here").config is kind
    assert family_of(act_config()).exportable
    assert [family(name, "").name for name in known_types() if family(name, "").exportable] == [
        "act"
    ]


def add(folder, package, name, value, content=""):
    """A package's metadata, and its module, as an installer leaves them."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[armlet.policies]\n{name} = {value}\n")
    (folder / f"{package}.py").write_text(content)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


BROKEN = {
    "does not import": ("x", "import no_such_module", "ModuleNotFoundError: No module named"),
    "raises": ("x:FAMILY", "raise RuntimeError('line one\\nline two')", "line one line two"),
    "lacks it": ("x:FAMILY", "", "AttributeError"),
    "is something else": ("x:FAMILY", "FAMILY = 3", "found 3"),
    "is of another name": (
        "x:FAMILY",
        "from armlet.policies.families.act import FAMILY",
        "found one of type 'act'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_is_named_in_one_line_and_blocks_nothing_else(name, site, monkeypatch):
    value, content, message = BROKEN[name]
    package = f"broken_{list(BROKEN).index(name)}"
    add(site, package, "strange", value.replace("x", package, 1), content)
    assert known_types() == ("act", "diffusion", "smolvla", "strange")
    with pytest.raises(CheckpointError) as refusal:
        family("strange", "config.json")
    text = str(refusal.value)
    assert "\n" not in text and message in text
    assert text.startswith("config.json: policy type 'strange': expected a PolicyFamily")
    assert f"{package} 1.0" in text
    assert family("act", "config.json").config is ActConfig
    with pytest.raises(CheckpointError, match="did you mean strange"):
        family("strnge", "config.json")


def test_two_packages_of_one_name_are_both_named(site):
    add(site, "one", "twice", "one:FAMILY")
    add(site, "two", "twice", "two:FAMILY")
    with pytest.raises(CheckpointError, match=r"one 1\.0 .*two 1\.0|two 1\.0 .*one 1\.0"):
        family("twice", "config.json")


def test_armlets_own_types_cannot_be_replaced(site):
    add(site, "thief", "act", "thief:FAMILY", "raise SystemExit")
    assert family("act", "config.json").config is ActConfig
    assert known_types() == ("act", "diffusion", "smolvla")
