"""Checkpoints shared by the tests of this folder."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

TORCH = importlib.util.find_spec("torch") is not None
if TORCH:  # a conftest cannot skip, so everything here that needs torch waits for it
    import torch
    from lerobot_oracle import LeRobot, make_references, missing
    from small_policies import act_config, make_act, make_statistics

    from armlet.policies import save_checkpoint
    from armlet.policies.runtime import arithmetic


class _WithoutTorch(pytest.Module):
    def collect(self):
        pytest.skip("the policy extra is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Without torch the modules of this folder are skipped before they are imported."""
    return None if TORCH else _WithoutTorch.from_parent(parent, path=module_path)


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has arithmetic for it, as far as armlet knows: torch computes it on any."""
    monkeypatch.setattr(arithmetic, "processor_flags", lambda: frozenset({"avx512_bf16"}))


@pytest.fixture(scope="session")
def saved_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 checkpoint of a two-camera policy; copy before changing (see cloned)."""
    path = tmp_path_factory.mktemp("cameras") / "checkpoint"
    config = act_config()
    save_checkpoint(path, make_act(config), config, make_statistics(config), dtype=torch.float16)
    return path


@pytest.fixture(scope="session")
def saved_vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 checkpoint without cameras, so without the 45 MB backbone."""
    path = tmp_path_factory.mktemp("vectors") / "checkpoint"
    config = act_config(cameras=())
    save_checkpoint(path, make_act(config), config, make_statistics(config))
    return path


@pytest.fixture(scope="session")
def lerobot() -> Iterator[Callable[[str], LeRobot]]:
    """Stock LeRobot of an era, one process for all tests; skips where there is no oracle."""
    with ExitStack() as stack:
        started: dict[str, LeRobot] = {}

        def ask(era: str) -> LeRobot:
            if missing(era):
                pytest.skip(missing(era))
            if era not in started:
                started[era] = stack.enter_context(LeRobot(era))
            return started[era]

        yield ask


@pytest.fixture(scope="session")
def references() -> Path:
    """Directory of the reference checkpoints, made by the shared script where missing."""
    if missing("0.4.4"):
        pytest.skip(missing("0.4.4"))
    return make_references()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as LeRobot's process computes with: another number rounds otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cloned(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy of a checkpoint whose documents may be changed; large weights are linked."""

    def clone(source: Path) -> Path:
        target = tmp_path / "clone"
        target.mkdir()
        for file in source.iterdir():
            if file.stat().st_size > 1_000_000:
                (target / file.name).symlink_to(file)
            else:
                shutil.copy(file, target / file.name)
        return target

    return clone
