"""The model card of a trained checkpoint: what it states, where from, and who can read it."""

import dataclasses
import importlib.metadata
import re
import shutil

import pytest
import yaml

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

from test_training import (  # noqa: E402
    CONTRACT,
    NAMES,
    PARTS,
    SEVERAL,
    TINY,
    record,
    trained,
)

from armlet.contract import Stream  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.policies import read_checkpoint  # noqa: E402
from armlet.policies.checkpoint import card  # noqa: E402
from armlet.training import Source, train  # noqa: E402
from armlet.training.card import _counted, data_of  # noqa: E402
from armlet.training.trainer import split_samples  # noqa: E402

HOSTILE = "</code>`` | --- [x](javascript:0) <script>1</script>\n---\ntags: [owned]\n# Take \x1b[2J"
ALIGNED = dataclasses.replace(CONTRACT, alignment=(Stream("state", "linear", 0.05),))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = record(tmp_path_factory.mktemp("card") / "set")
    ALIGNED.save(place / "meta" / "armlet_contract.json")
    return place


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """A checkpoint, and its reports."""
    output = tmp_path_factory.mktemp("card") / "checkpoint"
    return output, trained(root, output, (TINY.steps,), TINY)


def parts_of(text):
    """What the Hub reads of a card, and what people do."""
    mark, matter, body = re.split(r"^---$\n", text, maxsplit=2, flags=re.MULTILINE)
    assert mark == ""
    return yaml.safe_load(matter), body


def text_of(checkpoint):
    return (checkpoint / "README.md").read_text()


def test_a_card_states_what_the_policy_is_run_with(made):
    """Its part on preprocessing is made again, of the objects that run the checkpoint."""
    checkpoint = read_checkpoint(made[0])
    stated = card.preprocessing(checkpoint.config, checkpoint.preprocessor, checkpoint.contract)
    said = text_of(made[0])
    assert "\n".join(stated) in said
    for line in (
        "- 30 frames a second; the policy reads the newest frame",
        "- stream `state`: `linear`, at most 0.05 s away",
        "| 0 | `front` | 32x32 | `rgb` | `jpeg` |",
        "8 bits a value, divided by 255: 0..1",
        "`(x - mean) / (std + 1e-08)`",
        "| 1 | `gripper.pos` | `range_0_100` |",
        f"- contract: `{checkpoint.contract.signature()}`",
        f"- statistics: `{checkpoint.preprocessor.fingerprint()}`",
        "- `pick`",
    ):
        assert line in said, line


def test_a_card_states_data_training_and_held_out_errors(root, made):
    output, (report,) = made
    said = text_of(output)
    parts = split_samples([Source(Dataset(root))], TINY)
    (data,) = data_of([Source(Dataset(root))], *parts)
    assert len(data.digest) == 64 and data.digest in said
    assert f"held out {_counted(data.held_out)}" in said and len(data.held_out) == 1
    assert "2 of 2 steps of 2 frames (1 x 2)" in said and "seed 0" in said
    assert "AdamW, learning rate 0.0003 at its peak" in said and "one cycle, 100 steps" in said
    for name, unit in zip(NAMES, ("degrees", "range_0_100"), strict=True):
        assert f"| `{name}` | {report.joints[name]:.6g} | `{unit}` |" in said
    assert f"After step 2, on frames of the held-out episodes: {report.validation:.6g} " in said
    assert f"- torch {importlib.metadata.version('torch')}" in said


def test_the_hub_and_lerobot_find_it(made):
    matter, body = parts_of(text_of(made[0]))
    assert matter["library_name"] == "lerobot" and matter["pipeline_tag"] == "robotics"
    assert {"robotics", "lerobot", "act"} <= set(matter["tags"])
    assert "datasets" not in matter, "a folder is none on the Hub"
    assert body.lstrip().startswith("# ACT trained on `set`\n")
    repocard = pytest.importorskip("huggingface_hub", reason="no huggingface_hub").ModelCard
    assert repocard(text_of(made[0])).data.to_dict() == matter


def test_what_is_of_the_hub_is_linked_by_its_name_there(made):
    config = read_checkpoint(made[0]).config
    lines = card.front_matter(config, ["hub:me/cube@abc", "cube", "hub:me/cube"], "hub:me/base@v1")
    matter = yaml.safe_load("\n".join(lines[1:-1]))
    assert matter["datasets"] == ["me/cube"] and matter["base_model"] == "me/base"
    assert matter["base_model_relation"] == "finetune"


def test_texts_of_others_are_shown_and_do_nothing(root, tmp_path, monkeypatch):
    """Task and folder: one line of code each, nothing of them in what the Hub reads."""
    folder = tmp_path / "a`|<b>"
    shutil.copytree(root, folder)
    init = Dataset.__init__

    def named(dataset, place):
        init(dataset, place)
        dataset.tasks = [HOSTILE, "``", "  ", "ends with \\"]

    monkeypatch.setattr(Dataset, "__init__", named)
    train(Dataset(folder), tmp_path / "out", TINY, lambda _: None)
    matter, body = parts_of(text_of(tmp_path / "out"))
    assert matter["tags"] == ["robotics", "lerobot", "armlet", "act"]
    assert "\x1b" not in body and "\n---" not in body and "\n# Take" not in body
    markdown = pytest.importorskip("markdown_it", reason="no markdown-it-py")
    tokens = markdown.MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in inline} <= {"text", "code_inline", "softbreak"}
    assert [token.type for token in tokens].count("heading_open") == body.count("\n#")
    shown = [token.content for token in inline if token.type == "code_inline"]
    assert "a`\\x7c<b>" in shown and "``" in shown and "ends with \\" in shown
    assert any(content.startswith("</code>`` \\x7c ---") for content in shown)
    rows = {len(line.split("|")) for line in body.splitlines() if "`gripper.pos`" in line}
    assert rows == {7, 5}, "no cell more than the head has"


def test_a_resumed_training_writes_the_same_card(root, tmp_path):
    trained(root, tmp_path / "whole")
    trained(root, tmp_path / "parts", (3, SEVERAL.steps))
    assert text_of(tmp_path / "parts") == text_of(tmp_path / "whole")
    for name in ("whole", "parts"):
        best = tmp_path / f"{name}.training" / "best"
        assert text_of(best) == text_of(tmp_path / "whole")


def test_errors_of_other_weights_are_not_stated(root, tmp_path):
    """The last weights, where those that are judged are their average."""
    trained(root, tmp_path / "out", (PARTS.steps,), dataclasses.replace(PARTS, ema=0.5))
    assert "averaged, 0.5 stays" in text_of(tmp_path / "out")
    assert "After step 4" in text_of(tmp_path / "out")
    assert "Not measured of these weights." in text_of(tmp_path / "out.training" / "raw")


def test_the_digest_is_of_rows_tasks_and_pictures(root, tmp_path):
    def digest(place):
        sources = [Source(Dataset(place))]
        return data_of(sources, *split_samples(sources, TINY))[0].digest

    first = digest(root)
    same = shutil.copytree(root, tmp_path / "same")
    assert digest(same) == first
    video = min((same / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:-1] + b"x")
    assert digest(same) != first
    other = dataclasses.replace(TINY, seed=1)
    sources = [Source(Dataset(root))]
    assert data_of(sources, *split_samples(sources, other))[0].digest == first, "of no order"
