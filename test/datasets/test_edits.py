"""Edits of datasets, of armlet and of LeRobot: every row and picture stays what it was."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from edit_oracle import Expected, all_of, assert_is, assert_sound, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from made_episodes import CONTRACT, QUICK, made, record
from offline import REPOSITORY, numbered

from armlet.datasets import Dataset, DatasetError, DatasetWriter, check
from armlet.datasets.check.recompute_stats import recount
from armlet.datasets.format import layout, stats, video
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.cuts import parse_episodes, said_episodes
from armlet.datasets.transform.merge import merge
from armlet.datasets.transform.repair import repair
from armlet.datasets.transform.split import choose, split

LENGTHS = (7, 4, 9, 1, 12)
FORMS = ("own files", "shared files", "v2.1")
GOLDEN = REPOSITORY.parent / "shared/golden/lerobot-0.6.1"
STOCK = ("plain", "h264", "intervention", "depth", "annotated")
STATES = st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True)
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="no datasets of LeRobot 0.6.1")


@pytest.fixture(scope="module")
def sources() -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        folder = Path(name)
        own = numbered(folder / "own", LENGTHS)
        compact(own, folder / "shared")
        old = numbered(folder / "old", LENGTHS, version="v2.1")
        yield {"own files": own, "shared files": folder / "shared", "v2.1": old}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder)


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


# --- which episodes -----------------------------------------------------------------------------


@given(st.sets(st.integers(0, 60), min_size=1))
def test_episodes_are_said_as_they_are_read(episodes):
    assert parse_episodes(said_episodes(sorted(episodes)), 61) == sorted(episodes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected episodes as in 3,7-9"),
        ("3,", "expected episodes as in 3,7-9"),
        ("-1", "expected episodes as in 3,7-9"),
        ("2-1", "the first is behind the last"),
        ("3-5", "there are episodes 0 to 4, not 5"),
        ("a", "found 'a'"),
    ],
)
def test_what_names_no_episodes_is_refused(text, why):
    with pytest.raises(DatasetError, match=why):
        parse_episodes(text, 5)


# --- delete -------------------------------------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=3, deadline=None)
@given(gone=STATES)
def test_deleted_episodes_are_gone_and_the_others_are_what_they_were(sources, form, gone):
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        root = copied(sources[form], Path(folder) / "set")
        before = tree(root)
        done = edits.delete(root, gone)
        kept = [k for k in range(5) if k not in gone]
        assert done.notes == ()
        assert_is(root, all_of(sources[form], kept))
        assert_sound(root)
        assert Dataset(root).contract == CONTRACT
        for k, old in enumerate(kept):
            assert Dataset(root).ledger(k) == {"state": {"used": LENGTHS[old]}}
        edits.undo(root)
        assert tree(root) == before


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
def test_recording_goes_on_after_an_edit(sources, tmp_path, form):
    root = copied(sources[form], tmp_path / "set")
    edits.delete(root, [0, 3])
    edits.trim(root, [0], 2, 1)
    before = tree(root)
    with DatasetWriter(root, CONTRACT, version=Dataset(root).info.version) as writer:
        assert writer.repaired == []
        record(writer, 3)
        record(writer, 2)
    assert check(root) == []
    assert [e.length for e in Dataset(root).episodes] == [1, 9, 12, 3, 2]
    assert_is(root, [*all_of(root, range(5))])
    if form != "shared files":
        with DatasetWriter(root, CONTRACT) as writer:
            writer.remove_last(2)
        assert check(root) == []
    same = {name for name, found in tree(root).items() if before.get(name) == found}
    assert {name for name in before if name.startswith(("data", "video"))} <= same


def test_a_dataset_merged_in_part_and_recorded_into_keeps_numbers_that_the_recorder_finds(
    sources, tmp_path
):
    root = copied(sources["shared files"], tmp_path / "set")
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 3)
        record(writer, 2)
    keep = copied(root, tmp_path / "keep")
    edits.delete(root, [1, 5])
    assert_is(root, all_of(keep, (0, 2, 3, 4, 6)))
    with DatasetWriter(root, CONTRACT) as writer:
        writer.remove_last(1)
        assert writer.episodes == 4
        record(writer, 4)
    assert_is(root, [*all_of(keep, (0, 2, 3, 4)), Expected(root, 4)])
    assert check(root) == []


# --- trim ---------------------------------------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=5, deadline=None)
@given(first=st.integers(0, 4), last=st.integers(0, 2), also=st.booleans())
def test_trimmed_episodes_are_the_middle_of_what_they_were(sources, form, first, last, also):
    if not first + last:
        return
    chosen = [0, 4] if also else [4]
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        root = copied(sources[form], Path(folder) / "set")
        before = tree(root)
        done = edits.trim(root, chosen, first, last)
        again = bool(first % 2)  # every second picture needs no other
        assert [note.split()[-2] for note in done.notes] == [str(k) for k in chosen] * 2 * again
        expected = [
            Expected(sources[form], k, first, LENGTHS[k] - first - last, again)
            if k in chosen
            else Expected(sources[form], k)
            for k in range(5)
        ]
        assert_is(root, expected)
        assert_sound(root)
        edits.undo(root)
        assert tree(root) == before


def test_damaged_pictures_are_counted_from_the_new_beginning(tmp_path):
    root = made(tmp_path / "set", (6, 4))
    path = root / layout.ledger_path(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"ledger": None, "damaged": {"front": [0, 3, 5]}}))
    edits.trim(root, [0], 2, 1)
    assert Dataset(root).damaged(0) == {"front": [1]}
    edits.undo(root)
    assert Dataset(root).damaged(0) == {"front": [0, 3, 5]}


# --- tasks and labels ---------------------------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
def test_episodes_get_another_task(sources, tmp_path, form):
    source = sources[form]
    root = copied(source, tmp_path / "set")
    before = tree(root)
    edits.relabel(root, "lift", [1, 4])
    tasks = {1: "lift", 4: "lift"}
    assert_is(root, [Expected(source, k, task=tasks.get(k)) for k in range(5)])
    assert Dataset(root).tasks == ["pick", "fold", "lift"]
    edits.relabel(root, "lift", [3])
    assert Dataset(root).tasks == ["pick", "lift"]  # nobody folds any more
    assert_sound(root)
    edits.undo(root)
    edits.undo(root)
    assert tree(root) == before


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
def test_a_task_is_replaced_without_touching_rows(sources, tmp_path, form):
    root = copied(sources[form], tmp_path / "set")
    done = edits.relabel(root, "pick up", replaced="pick")
    assert [path for path in done.writes if path.parts[0] != "meta"] == []
    assert Dataset(root).tasks == ["pick up", "fold"]
    expected = ("pick up", "fold", "pick up", "fold", "pick up")
    assert_is(root, [Expected(sources[form], k, task=expected[k]) for k in range(5)])
    edits.relabel(root, "fold", replaced="pick up")
    assert Dataset(root).tasks == ["fold"]
    assert_sound(root)


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_labels_are_a_column_that_every_edit_keeps(sources, tmp_path, form):
    root = copied(sources[form], tmp_path / "set")
    before = tree(root)
    with pytest.raises(DatasetError, match=r"episodes 0,2-4 would have no label.*--others"):
        edits.label(root, {1: True})
    assert tree(root) == before
    edits.label(root, {1: True, 2: True}, others=False)
    edits.label(root, {2: False})
    edits.trim(root, [1], 0, 1)
    edits.delete(root, [0])
    assert_sound(root)
    dataset = Dataset(root)
    assert dataset.info.features["next.success"].dtype == "bool"
    found = [dataset.episode(k).columns["next.success"] for k in range(4)]
    assert [set(values.tolist()) for values in found] == [{True}, {False}, {False}, {False}]
    if form != "v2.1":
        assert dataset.statistics["next.success"]["mean"].tolist() == [3 / 25]
    for _ in range(4):
        edits.undo(root)
    assert tree(root) == before
    with pytest.raises(DatasetError, match=r"no edit in .trash"):
        edits.undo(root)


# --- the way back -------------------------------------------------------------------------------


@pytest.mark.representatives(4)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", ["delete", "trim", "relabel", "label"])
def test_a_preview_names_every_file_that_changes(sources, tmp_path, form, verb):
    root = copied(sources[form], tmp_path / "set")

    def edit(dry_run: bool) -> edits.Edited:
        return {
            "delete": lambda: edits.delete(root, [1], dry_run),
            "trim": lambda: edits.trim(root, [2], 1, 0, dry_run),
            "relabel": lambda: edits.relabel(root, "lift", [0], None, dry_run),
            "label": lambda: edits.label(root, {0: True}, False, dry_run),
        }[verb]()

    for step in (edit, lambda dry_run: edits.undo(root, dry_run)):
        before = tree(root)
        preview = step(True)
        assert tree(root) == before
        done = step(False)
        after = tree(root)
        for one in (preview, done):
            changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
            named = {*one.writes, *one.removes, *one.renames.values()}
            # Named as rewritten, though their content may be the same again: lists of all episodes.
            rewritten = {str(p) for p in named if p.parts[0] == "meta"}
            assert changed <= set(map(str, named)) <= changed | rewritten
        assert (preview.trash, done.trash is None) == (None, False)


def test_nothing_is_undone_once_something_else_was_done(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    edits.delete(root, [0])
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 3)
    there = tree(root)
    with pytest.raises(DatasetError, match=r"was changed since the last edit.*nothing was undone"):
        edits.undo(root)
    assert tree(root) == there


def test_a_dataset_that_is_recorded_into_is_refused(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    there = tree(root)
    with DatasetWriter(root, CONTRACT):
        for edit in (
            lambda: edits.delete(root, [0]),
            lambda: edits.delete(root, [0], dry_run=True),
            lambda: edits.undo(root),
            lambda: merge([root, sources["own files"]], tmp_path / "out"),
            lambda: split(root, tmp_path / "out", {"a": "0"}),
        ):
            with pytest.raises(DatasetError, match="being written by another recorder"):
                edit()
    assert tree(root) == there
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_middle_leaves_the_old_dataset(sources, tmp_path, monkeypatch):
    root = copied(sources["shared files"], tmp_path / "set")
    there = tree(root)

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stats, "dumps", full)
    with pytest.raises(OSError, match="No space"):
        edits.delete(root, [1])
    assert tree(root) == there
    assert not (root / ".edit").exists()


def test_what_cannot_be_edited_is_refused_with_the_way_on(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    there = tree(root)
    for edit, why in (
        (lambda: edits.delete(root, range(5)), "these are all 5 episodes"),
        (lambda: edits.delete(root, [5]), "there are episodes 0 to 4, not 5"),
        (lambda: edits.delete(root, []), "name at least one episode"),
        (lambda: edits.trim(root, [3], 1, 0), "episode 3 has 1 frames.*delete the episode"),
        (lambda: edits.trim(root, [0], 0, 0), "say how many"),
        (lambda: edits.relabel(root, " "), "a task needs words"),
        (lambda: edits.relabel(root, "a", replaced="b"), "no task 'b'; there are 'pick', 'fold'"),
        (lambda: edits.undo(root), "no edit"),
    ):
        with pytest.raises(DatasetError, match=why):
            edit()
    (root / ".unfinished").mkdir()
    (root / ".unfinished/rows.journal").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"unfinished episode.*armlet dataset repair"):
        edits.delete(root, [0])
    shutil.rmtree(root / ".unfinished")
    assert tree(root) == there


def test_splits_count_the_episodes_that_stay(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    info = json.loads((root / layout.INFO).read_text())
    info["splits"] = {"train": "0:3", "val": "3:5"}
    (root / layout.INFO).write_text(json.dumps(info, indent=4))
    edits.delete(root, [1, 4])
    assert Dataset(root).info.document["splits"] == {"train": "0:2", "val": "2:3"}
    with pytest.raises(DatasetError, match=r"splits: .* has val, .* has train only"):
        merge([root, sources["own files"]], tmp_path / "out")


def test_a_link_is_not_followed(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    (root / "videos").rename(tmp_path / "elsewhere")
    (root / "videos").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="videos is a symbolic link"):
        edits.delete(root, [0])


@pytest.mark.parametrize("place", [".trash/0001/edit.json", ".edit/journal.json"])
def test_a_journal_that_leads_out_of_the_dataset_is_refused(sources, tmp_path, place):
    """A downloaded dataset may hold anything."""
    root = copied(sources["own files"], tmp_path / "set")
    edits.relabel(root, "lift", [0])
    (tmp_path / "other").write_text("keep")
    journal = json.loads((root / ".trash/0001/edit.json").read_text())
    journal["removes"], journal["moved"] = ["../other"], {"meta/x": "../other"}
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(json.dumps(journal))
    with pytest.raises(DatasetError, match="other"):
        edits.undo(root)
    assert (tmp_path / "other").read_text() == "keep"


@pytest.mark.parametrize(
    "wrong",
    [
        {"restored": {"data/chunk-000/file-000.parquet": "data/chunk-000/file-000.parquet"}},
        {"restored": {"meta/x.json": "meta/stats.json"}},
        {"moved": {"meta/stats.json": "meta//stats.json"}, "removes": ["meta/stats.json"]},
    ],
    ids=["restored from itself", "restored from no trash", "moved to itself"],
)
def test_a_journal_that_would_lose_a_file_is_refused(sources, tmp_path, wrong):
    root = copied(sources["shared files"], tmp_path / "set")
    edits.relabel(root, "lift", [0])
    journal = json.loads((root / ".trash/0001/edit.json").read_text())
    journal |= {"writes": ["meta/info.json"], "trash": "0002", "marks": {}, **wrong}
    (root / ".edit").mkdir()
    (root / ".edit/journal.json").write_text(json.dumps(journal))
    before = tree(root)
    with pytest.raises(DatasetError, match="is not the journal of an edit"):
        repair(root, yes=True)
    with pytest.raises(DatasetError, match="is not the journal of an edit"):
        edits.label(root, True)
    assert tree(root) == before


@pytest.mark.parametrize("task", ["a\x1b[31m", "two\nlines", "half \udcff"])
def test_a_task_is_printable_text(sources, tmp_path, task):
    root = copied(sources["own files"], tmp_path / "set")
    before = tree(root)
    with pytest.raises(DatasetError, match="printable text"):
        edits.relabel(root, task)
    assert tree(root) == before


@pytest.mark.parametrize("inside", ["in", "data/in", "meta/episodes/in"])
def test_no_dataset_is_written_into_its_source(sources, tmp_path, inside):
    root = copied(sources["own files"], tmp_path / "set")
    before = tree(root)
    for write in (
        lambda: split(root, root / inside, {"a": "0"}),
        lambda: merge([sources["own files"], root], root / inside),
        lambda: compact(root, root / inside),
    ):
        with pytest.raises(DatasetError, match="lies inside of"):
            write()
    assert tree(root) == before


# --- merge and split ----------------------------------------------------------------------------


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
def test_merged_datasets_hold_all_episodes_in_order(sources, tmp_path, form):
    other = made(tmp_path / "other", (3, 6), version=Dataset(sources[form]).info.version)
    edits.relabel(other, "stack", [1])
    merge([sources[form], other], tmp_path / "out")
    assert_is(tmp_path / "out", [*all_of(sources[form], range(5)), *all_of(other, range(2))])
    assert_sound(tmp_path / "out")
    assert Dataset(tmp_path / "out").tasks == ["pick", "fold", "stack"]
    assert Dataset(tmp_path / "out").contract == CONTRACT
    edits.delete(tmp_path / "out", [5])
    with DatasetWriter(tmp_path / "out", CONTRACT) as writer:
        record(writer, 2)
    assert check(tmp_path / "out") == []


def test_what_differs_is_named_and_nothing_is_written(sources, tmp_path):
    other = dataclasses.replace(CONTRACT, calibration="f00d", joint_units="range_m100_100")
    strange = made(tmp_path / "strange", (2,), other)
    bare = copied(sources["own files"], tmp_path / "bare")
    (bare / layout.CONTRACT).unlink()
    slow = made(tmp_path / "slow", (2,), dataclasses.replace(CONTRACT, fps=15))
    labelled = copied(sources["own files"], tmp_path / "labelled")
    edits.label(labelled, {0: True}, False)
    source = sources["own files"]
    for root, whys in (
        (strange, ["joint_units", "calibration"]),
        (bare, ["bare has none"]),
        (slow, [r"fps: .* has 30, .* has 15"]),
        (labelled, [r"feature next.success: .* has no such feature, .* has bool \[1\]"]),
        (sources["v2.1"], [r"version: .* has v3.0, .* has v2.1"]),
        (source, ["named twice"]),
    ):
        with pytest.raises(DatasetError) as refused:
            merge([source, root], tmp_path / "out")
        for why in whys:
            refused.match(why)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DatasetError, match="at least two"):
        merge([source], tmp_path / "out")


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_is_split_by_episodes(sources, tmp_path, form):
    done = split(sources[form], tmp_path / "out", {"train": "0,2-3", "val": "1"})
    assert {name: made.episodes for name, made in done.items()} == {"train": 3, "val": 1}
    assert_is(tmp_path / "out/train", all_of(sources[form], (0, 2, 3)))
    assert_is(tmp_path / "out/val", all_of(sources[form], (1,)))
    for name in done:
        assert_sound(tmp_path / "out" / name)
        assert Dataset(tmp_path / "out" / name).info.document["splits"] == {
            "train": f"0:{done[name].episodes}"
        }
    with pytest.raises(DatasetError, match="exists already"):
        split(sources[form], tmp_path / "out", {"train": "0"})


@given(st.integers(2, 60), st.integers(0, 1000), st.sampled_from((50, 60, 75)))
def test_shares_are_of_every_episode_once_and_the_same_for_a_seed(count, seed, share):
    parts = {"train": f"{share}%", "val": f"{100 - share}%"}
    try:
        found = choose(parts, count, seed)
    except DatasetError as error:
        assert "would have none" in str(error)
        assert count < 4
        return
    assert sorted(k for part in found.values() for k in part) == list(range(count))
    assert abs(len(found["train"]) - share * count / 100) <= 0.5
    assert found == choose(parts, count, seed)
    assert all(part == sorted(part) for part in found.values())


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"a": "50%", "b": "40%"}, "make 90 % together"),
        ({"a": "50%", "b": "1"}, "all parts as episodes, or all as shares"),
        ({"a": "0-2", "b": "2"}, "episodes 2 are in both a and b"),
        ({"../a": "0"}, "cannot be the name of a folder"),
        ({}, "name the parts"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts, why):
    with pytest.raises(DatasetError, match=why):
        choose(parts, 5, 0)


# --- LeRobot's own ------------------------------------------------------------------------------


@pytest.mark.thorough
@needs_golden
@pytest.mark.parametrize("name", STOCK)
def test_a_dataset_of_lerobot_is_edited_and_brought_back(tmp_path, name):
    source = GOLDEN / name
    root = copied(source, tmp_path / "set")
    before, known = tree(root), check(source)
    lengths = [e.length for e in Dataset(source).episodes]
    others = [k for k in range(len(lengths)) if k != 1]
    edits.delete(root, [1])
    assert_is(root, all_of(source, others))
    assert_sound(root, known)
    edits.undo(root)
    edits.trim(root, [1], 0, 4)
    trimmed = [Expected(source, k, 0, lengths[k] - 4 * (k == 1)) for k in range(len(lengths))]
    assert_is(root, trimmed)
    assert_sound(root, known)
    edits.relabel(root, "lift", [0])
    edits.label(root, {0: True}, False)
    assert_sound(root, known)
    for _ in range(3):
        edits.undo(root)
    assert tree(root) == before
    split(source, tmp_path / "parts", {"a": "0,2", "b": "1"})
    assert_is(tmp_path / "parts/b", all_of(source, [1]))
    merge([tmp_path / "parts/b", tmp_path / "parts/a"], tmp_path / "all")
    assert_is(tmp_path / "all", all_of(source, (1, 0, 2)))
    assert_sound(tmp_path / "all", known)


def distances(root):
    """All pictures of the depth stream (T, H, W), 12 bits each as they are coded."""
    found = []
    for path in sorted(root.glob("videos/*_depth/*/*.mp4")):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.format.name == "gray12le"
                [plane] = frame.planes
                lines = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)
                found.append(lines[: frame.height, : frame.width].copy())
    return np.stack(found)


@needs_golden
def test_distances_are_encoded_again_with_nothing_lost(tmp_path):
    """Pictures of hevc need those before them, so an episode cannot be cut out of the file."""
    source = GOLDEN / "depth"
    if not video.is_exact("hevc", "gray12le"):
        pytest.skip("this FFmpeg has no encoder of 12 bits")
    root = copied(source, tmp_path / "set")
    before, known, there = distances(root), check(source), tree(root)
    first, second = (e.length for e in Dataset(source).episodes[:2])
    edits.trim(root, [1], 3, 1)
    expected = [*before[:first], *before[first + 3 : first + second - 1]]
    assert np.array_equal(distances(root), [*expected, *before[first + second :]])
    assert_sound(root, known)
    edits.delete(root, [0])
    assert np.array_equal(distances(root)[: second - 4], before[first + 3 : first + second - 1])
    for _ in range(2):
        edits.undo(root)
    assert tree(root) == there


@needs_golden
def test_distances_are_not_encoded_with_a_loss(tmp_path, monkeypatch):
    root = copied(GOLDEN / "depth", tmp_path / "set")
    there = tree(root)
    monkeypatch.setattr(video, "is_exact", lambda codec, pixels: False)
    with pytest.raises(DatasetError, match=r"hevc of gray12le; .* of that file together"):
        edits.trim(root, [1], 3, 0)
    assert tree(root) == there


@needs_golden
def test_spoken_times_keep_the_beginning(tmp_path):
    root = copied(GOLDEN / "annotated", tmp_path / "set")
    with pytest.raises(DatasetError, match="only last frames can go"):
        edits.trim(root, [1], 3, 0)


def test_statistics_of_the_whole_are_those_of_what_stays(sources, tmp_path):
    root = copied(sources["own files"], tmp_path / "set")
    edits.trim(root, [4], 5, 0)
    edits.delete(root, [2])
    stored, fresh = Dataset(root).statistics, recount(root)
    assert fresh.differences == []
    rows = np.concatenate([Dataset(root).episode(k).state for k in range(4)])
    assert np.allclose(stored["observation.state"]["mean"], rows.mean(axis=0))
    assert np.allclose(stored["observation.state"]["std"], rows.std(axis=0), rtol=1e-6)
    assert stored["observation.images.front"]["count"].tolist() == [len(rows)]
    assert set(stored["action"]) >= {"q01", "q10", "q50", "q90", "q99"}
