"""backend auto: which runtime is taken, by times that a clock of the test's own says."""

import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

from armlet.policies.runtime.backends import MissingPackage, load_package
from armlet.policies.runtime.choice import LIMIT_S, ROUNDS, choose


class World:
    """Backends that take so many seconds to load and a chunk; None: refused."""

    def __init__(self, **backends):
        self.backends, self.now, self.inferred = backends, 0.0, []

    def load(self, name):
        if self.backends[name] is None:
            raise ValueError(f"package {name}:\n not there")
        self.now += self.backends[name][0]
        return name

    def infer(self, name):
        self.inferred.append(name)
        self.now += self.backends[name][1]

    def choose(self):
        return choose(list(self.backends), self.load, self.infer, lambda: self.now)


def test_the_fastest_is_taken_and_the_figures_are_said():
    world = World(torch=(1, 0.2), onnxruntime=(1, 0.15), openvino=(1, 0.16))
    found = world.choose()
    assert (found.policy, found.backend) == ("onnxruntime", "onnxruntime")
    assert str(found) == "backend onnxruntime of: torch 200 ms, onnxruntime 150 ms, openvino 160 ms"
    assert world.inferred.count("torch") == 1 + ROUNDS


def test_what_is_faster_by_less_than_noise_changes_nothing():
    assert World(torch=(1, 0.200), onnxruntime=(1, 0.192)).choose().backend == "torch"
    assert World(onnxruntime=(1, 0.192), torch=(1, 0.200)).choose().backend == "onnxruntime"


def test_a_refusal_leaves_a_candidate_out_with_its_reason():
    found = World(torch=(1, 0.2), onnxruntime=None).choose()
    assert found.backend == "torch"
    assert str(found.candidates[1]) == "onnxruntime left out (package onnxruntime: not there)"
    with pytest.raises(ValueError, match=r"backend auto: .* torch left out .package torch: not"):
        World(torch=None).choose()


def test_no_candidate_is_begun_and_none_timed_again_when_time_is_up():
    world = World(torch=(LIMIT_S, 5.0), onnxruntime=(1, 0.1))
    found = world.choose()
    assert found.backend == "torch" and world.inferred == ["torch", "torch"]
    assert "not tried within 60 s" in found.candidates[1].reason


@pytest.mark.parametrize("error", [MemoryError("bad_alloc"), RuntimeError("no kernel"), OSError(5)])
@pytest.mark.parametrize("where", ["load", "infer"])
def test_whatever_goes_wrong_with_one_leaves_only_that_one_out(error, where):
    world = World(torch=(1, 0.2), onnxruntime=(1, 0.1))
    does = getattr(world, where)

    def fails(name):
        if name == "onnxruntime":
            raise error
        return does(name)

    setattr(world, where, fails)
    found = world.choose()
    assert found.backend == "torch"
    assert f"onnxruntime left out ({type(error).__name__}: " in str(found)


@pytest.mark.parametrize(
    "error", ["TypeError('Descriptors cannot be created')", "OSError('lib.so')"]
)
def test_a_package_that_breaks_as_it_is_loaded_is_said_to(error, tmp_path, monkeypatch):
    (tmp_path / "broken_runtime.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackage, match=r"broken_runtime: .*Error: .*force-reinstall"):
        load_package("broken_runtime")
