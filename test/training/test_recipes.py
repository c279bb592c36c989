"""Making checkpoints by recipes: what is done is not done again, what was stopped goes on."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from armlet.files import FileError  # noqa: E402
from armlet.sim.choice import choose  # noqa: E402
from armlet.training import TrainingSettings  # noqa: E402
from armlet.training.state import State, place_of, save_state  # noqa: E402

PROGRAM = Path(__file__).parents[2] / "tools" / "checkpoints.py"
RECIPE = """
recordings:
  - {task: reach, physics: mujoco, clumsiness: 0.5, episodes: 2, seed: 10}
  - {task: reach, episodes: 1, seed: 20}
training: {steps: 4, half: true}
"""


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("checkpoints_tool", PROGRAM)
    module = sys.modules["checkpoints_tool"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["checkpoints_tool"]


@pytest.fixture
def asked(program, tmp_path, monkeypatch):
    """What armlet was asked for; it makes the folder that is asked for, unless it is to fail."""
    seen = []

    def run(*arguments):
        seen.append(arguments)
        made = Path(arguments[arguments.index("--output") + 1])
        if arguments[0] in seen.failing:
            raise program.Failed(f"armlet {arguments[0]} ended with status 130")
        (made / "dataset" if arguments[0] == "demo" else made).mkdir(parents=True)
        (made / "file").write_text(" ".join(arguments))

    class Asked(list):
        failing = ()

    seen = Asked()
    recipes = tmp_path / "checkpoints" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "touch.yaml").write_text(RECIPE)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "SHIPPED", recipes.parent)
    monkeypatch.setattr(program, "RECIPES", recipes)
    monkeypatch.setattr(program, "_armlet", run)
    return seen


def make(program, tmp_path, *more):
    return program.main(["touch", "--output", str(tmp_path / "made"), *more])


def verbs(asked):
    return [arguments[0] for arguments in asked]


def test_what_is_done_is_not_done_again(program, asked, tmp_path):
    assert make(program, tmp_path) == 0
    assert verbs(asked) == ["demo", "demo", "dataset", "train"]
    given = "--record-only 2 --task reach --seed 10 --clumsiness 0.5 --physics mujoco"
    assert " ".join(asked[0]).startswith(f"demo {given} --output ")
    assert {"--steps", "4", "--half"} < set(asked[3]) and "--resume" not in asked[3]
    assert (tmp_path / "checkpoints" / "touch" / "file").is_file()
    asked.clear()
    assert make(program, tmp_path) == 0 and not asked


def test_what_a_changed_recipe_changes_is_made_again(program, asked, tmp_path):
    make(program, tmp_path)
    recipe = tmp_path / "checkpoints" / "recipes" / "touch.yaml"
    asked.clear()
    recipe.write_text(RECIPE.replace("steps: 4", "steps: 5"))
    assert make(program, tmp_path) == 0 and verbs(asked) == ["train"]
    asked.clear()
    recipe.write_text(RECIPE.replace("seed: 20", "seed: 30"))
    monkey = tmp_path / "made" / "touch" / "recording1"
    (monkey / "dataset").rmdir()  # as the demo itself removes what it made before
    assert make(program, tmp_path) == 0
    assert verbs(asked) == ["demo", "dataset", "train"] and "30" in asked[0]


def test_a_step_that_fails_is_the_last_and_is_the_next_to_be_done(program, asked, tmp_path, capsys):
    asked.failing = ("dataset",)
    assert make(program, tmp_path) == 1
    assert "armlet dataset ended with status 130" in capsys.readouterr().err
    asked.failing = ()
    asked.clear()
    assert make(program, tmp_path) == 0 and verbs(asked) == ["dataset", "train"]


@pytest.mark.parametrize(("steps", "resumes"), [(4, True), (9, False)])
def test_a_training_that_was_stopped_goes_on_if_it_is_the_recipes(
    program, asked, tmp_path, steps, resumes
):
    assert make(program, tmp_path, "--until", "recorded") == 0
    begun = TrainingSettings(steps=steps, half=True)
    state = State(2, begun, "", ((0,),), (1.0,), (), (0.1, 0.9, 0.99))
    place = place_of(tmp_path / "made" / "touch" / "checkpoint")
    save_state(place, state, {"random": torch.get_rng_state()})
    asked.clear()
    assert make(program, tmp_path) == 0
    assert verbs(asked) == ["train"]
    assert ("--resume" in asked[0]) is resumes and ("--steps" in asked[0]) is not resumes


def test_what_is_too_large_is_not_shipped(program, asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "MOST_BYTES", 10)
    assert make(program, tmp_path) == 1
    assert "expected 10 bytes at most" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints" / "touch").exists()


def test_a_recipe_that_is_none_is_named(program, asked, tmp_path, capsys):
    assert program.main(["tuch", "--output", str(tmp_path)]) == 1
    assert "expected one of touch" in capsys.readouterr().err
    recipe = tmp_path / "checkpoints" / "recipes" / "touch.yaml"
    recipe.write_text(RECIPE.replace("episodes: 1", "episode: 1"))
    with pytest.raises(FileError, match="episode"):
        program.read_recipe("touch")


def test_the_recipes_here_can_be_followed(program):
    seeds = []
    for name in program.names():
        recipe = program.read_recipe(name)
        TrainingSettings(**recipe.training)
        for recording in recipe.recordings:
            physics = recording.physics or "mujoco"
            choose(physics, recording.task, recording.domain)
            assert 0 <= recording.clumsiness <= 1
            seeds += range(recording.seed, recording.seed + 2 * recording.episodes)
    assert len(seeds) == len(set(seeds)) and min(seeds) >= 2_000_000, "apart from those of trials"
    assert json.dumps(program.names()) == '["pick_place", "reach"]'
