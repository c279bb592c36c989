"""Datasets that others wrote: nothing outside them is touched, nothing in them is lost."""

import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, frame, made, record

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from armlet.cli import main
from armlet.contract import Camera, Contract
from armlet.datasets import Dataset, DatasetError, DatasetWriter, check
from armlet.datasets.check.quality import review
from armlet.datasets.check.recompute_stats import recount
from armlet.datasets.format import layout, tables
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.convert import convert
from armlet.datasets.transform.repair import repair

CASES = Path(__file__).parents[3] / "shared/cases"
BODY = b"not the dataset's"


@pytest.fixture(scope="module", params=["v3.0", "v2.1"])
def sound(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp("hostile") / "set", (3, 4), version=request.param)


@pytest.fixture
def root(sound, tmp_path):
    """A dataset, and beside it a folder whose content nobody may touch."""
    other = tmp_path / "other"
    for name in ("file-000.parquet", "rows.journal", "observation.images.front.mp4", "a.txt"):
        other.mkdir(exist_ok=True)
        (other / name).write_bytes(BODY)
    return shutil.copytree(sound, tmp_path / "set")


def edit(root, **changes):
    path = root / layout.INFO
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


def tree(folder):
    """Every file and link below a folder, links not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)  # noqa: PTH115
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def refused_or_done(act):
    """An act that may refuse, in words."""
    try:
        return act()
    except (DatasetError, OSError) as error:
        assert str(error)
        return error


def record_into(root):
    with DatasetWriter(root, CONTRACT, reserve_bytes=0) as writer:
        record(writer, 2)


ACTS = {
    "repair": lambda root: repair(root, yes=True),
    "repair and remove": lambda root: repair(root, yes=True, remove=True),
    "record": record_into,
    "compact": lambda root: compact(root, root.parent / "out"),
    "convert": lambda root: convert(
        root, root.parent / "out", "v2.1" if not layout.load_info(root).is_v2 else "v3.0"
    ),
    "check": review,
}
PATHS = (
    "{other}/file-000.parquet",
    "../other/file-000.parquet",
    "data/../../other/file-000.parquet",
    "{{chunk_index.foo}}",
    "{{chunk_index:02000000000d}}",
    "{{chunk_index!r}}/{{0}}",
    "x/{{video_key.__class__}}",
    "data\x00",
)


@pytest.mark.representatives(40)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("name", "path"),
    [*(("data_path", path) for path in PATHS), *(("video_path", path) for path in PATHS[:2])],
)
def test_no_path_in_info_json_leads_out_of_the_dataset(root, act, path, name):
    """S1: repair and the recorder deleted the file that data_path named, compact replaced it."""
    text = path.format(other=root.parent / "other")
    edit(root, total_episodes=0, total_frames=0, **{name: text})
    around, before = tree(root.parent / "other"), tree(root)
    said = refused_or_done(lambda: ACTS[act](root))
    assert tree(root.parent / "other") == around
    assert tree(root) == before
    assert act == "check" or isinstance(said, DatasetError)
    assert any(name in line for line in check(root)), check(root)


@pytest.mark.representatives(24)
@pytest.mark.parametrize("key", ["observation.images.f/../../x", "..", "/x", "a\\b", "\x1b[2J", ""])
@pytest.mark.parametrize("act", ACTS)
def test_no_feature_name_leads_out_of_the_dataset(root, act, key):
    features = json.loads((root / layout.INFO).read_text())["features"]
    features[key] = {**features["observation.images.front"]}
    edit(root, features=features)
    before = tree(root.parent)
    refused_or_done(lambda: ACTS[act](root))
    assert tree(root.parent) == before
    (line,) = check(root)
    assert "a name" in line
    assert line.isprintable()


@pytest.mark.representatives(20)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("link", [".unfinished", "data", "meta", "videos", "images"])
def test_no_link_is_followed_for_deleting_or_writing(root, act, link):
    """S1: with `.unfinished` as a link, every file of its target was deleted."""
    if (root / link).exists():
        shutil.copytree(root / link, root.parent / "other", dirs_exist_ok=True)
        shutil.rmtree(root / link)
    (root / link).symlink_to(root.parent / "other")
    around, before = tree(root.parent / "other"), tree(root)
    refused_or_done(lambda: ACTS[act](root))
    assert tree(root.parent / "other") == around
    kept = tree(root)
    assert {name: kept.get(name) for name in before} == before or link == "images"


@pytest.mark.representatives(6)
@pytest.mark.parametrize("act", ["repair", "repair and remove", "record"])
@pytest.mark.parametrize("kind", ["link", "pipe", "link in a folder"])
def test_an_unfinished_episode_with_links_in_it_is_not_touched(root, act, kind):
    with DatasetWriter(root, CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0, 2))
        shutil.copytree(root / layout.UNFINISHED, root.parent / "kept")
    shutil.copytree(root.parent / "kept", root / layout.UNFINISHED)
    path = root / layout.UNFINISHED / "observation.images.front.mp4"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(root.parent / "other/observation.images.front.mp4")
    around, before = tree(root.parent / "other"), tree(root)
    with pytest.raises(DatasetError, match="never makes"):
        ACTS[act](root)
    assert tree(root.parent / "other") == around
    assert tree(root) == before
    assert any("never makes" in line for line in check(root))


def test_what_is_not_the_recorders_own_goes_to_the_trash(root):
    folder = root / layout.UNFINISHED
    folder.mkdir()
    (folder / "thesis.txt").write_bytes(BODY)
    foreseen = repair(root, yes=False)
    assert "  moves to .trash: .unfinished/thesis.txt" in foreseen
    record_into(root)
    assert not folder.exists()
    assert (root / ".trash/0001/.unfinished/thesis.txt").read_bytes() == BODY


def test_files_in_the_way_of_a_new_episode_go_to_the_trash(root):
    """A dataset whose last episode's metadata was lost: its files are not replaced."""
    info = layout.load_info(root)
    target = root / info.data_path(info.number_of(2))
    target.write_bytes(BODY)
    record_into(root)
    assert (root / ".trash/0001" / target.relative_to(root)).read_bytes() == BODY
    assert len(Dataset(root).episodes) == 3


def test_only_the_unfinished_episodes_own_files_are_taken_away(root):
    """S1: with a contract there, files of the next number were deleted without any proof."""
    info = layout.load_info(root)
    stray = root / info.data_path(info.number_of(2))
    stray.write_bytes(BODY)
    assert repair(root, yes=True) == []
    assert stray.read_bytes() == BODY


@pytest.mark.parametrize("damage", ["totals", "unfinished", "unfinished, removed", "stray"])
def test_a_preview_names_every_file_that_yes_touches_and_touches_none(root, damage):
    options = {"remove": True} if "removed" in damage else {}
    if damage == "totals":
        edit(root, total_episodes=1, total_frames=3)
    elif damage == "stray":
        (root / layout.UNFINISHED).mkdir()
        (root / layout.UNFINISHED / "thesis.txt").write_bytes(BODY)
    else:
        writer = DatasetWriter(root, CONTRACT)
        writer.begin_episode("a new task")
        for index in range(3):
            writer.add_frame(frame(index, 2))
        writer.close(keep=True)
    before = tree(root)
    foreseen = repair(root, yes=False, **options)
    assert tree(root) == before
    repair(root, yes=True, **options)
    after = {name: found for name, found in tree(root).items() if not name.startswith(".trash")}
    touched = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert touched
    named = {line.split(": ")[-1].removeprefix("  writes ").strip() for line in foreseen}
    assert touched <= named, touched - named
    gone = set(before) - set(after)
    kept = {path.name for path in (root / ".trash").rglob("*") if path.is_file()}
    assert damage == "unfinished" or {Path(name).name for name in gone} <= kept


@pytest.mark.parametrize("action", ["convert", "compact"])
@pytest.mark.parametrize("target", ["/etc/hostname", "../../other/a.txt", "folder"])
def test_no_file_that_a_link_names_is_copied_into_a_new_dataset(root, action, target):
    """S1: `convert` copied the target of a link in meta/."""
    if target == "folder":
        (root / "meta/extra").symlink_to(root.parent / "other")
    else:
        (root / "meta/extra.json").symlink_to(target)
    if action == "compact" and layout.load_info(root).is_v2:
        pytest.skip("compact is for v3.0")
    with pytest.raises(DatasetError, match="leads out of"):
        ACTS[action](root)
    assert not (root.parent / "out").exists()


# --- S13: one error, no traceback -----------------------------------------------------------------

INFO = {
    "deep": "[" * 100_000,
    "not UTF-8": b"\xff\xfe{}",
    "Infinity": '{"fps": Infinity}',
    "a list": "[]",
    "a number too large": '{"fps": 1e999}',
    "5 MB": '{"fps": "' + "x" * 5_000_000 + '"}',
}


@pytest.mark.parametrize("kind", [*INFO, "folder", "pipe", "device", "absent"])
def test_whatever_stands_for_info_json_is_one_error(root, kind):
    path = root / layout.INFO
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind in INFO:
        text = INFO[kind]
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (line,) = check(root)
    assert len(line) < 1000
    assert [finding.found for finding in review(root).findings] == [line]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chunks_size": 0}, "chunks_size: expected a whole number of 1"),
        ({"fps": True}, "fps: expected a whole number"),
        ({"fps": "30"}, "fps: expected a whole number"),
        ({"fps": 0}, "fps: expected a whole number"),
        ({"total_episodes": -1}, "total_episodes: expected"),
        ({"total_frames": 2**70}, "too large"),
        ({"codebase_version": 3}, "codebase_version: expected a text"),
        ({"features": []}, "features: expected an object"),
        ({"robot_type": ["so101"]}, "robot_type: expected a text"),
    ],
)
def test_values_of_another_kind_are_named(root, change, said):
    edit(root, **change)
    (line,) = check(root)
    assert said in line


@pytest.mark.parametrize("shape", [[-6], [0], [6.5], ["6"], 6, [], [2**40], [1] * 20])
def test_a_shape_is_a_list_of_sizes(root, shape):
    features = json.loads((root / layout.INFO).read_text())["features"]
    features["action"]["shape"] = shape
    edit(root, features=features)
    (line,) = check(root)
    assert "action.shape" in line


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["dropped", "text", "null", "two values"])
@pytest.mark.parametrize("name", ["action", "episode_index", "task_index", "timestamp"])
def test_rows_without_a_column_or_with_texts_in_it_are_errors_that_name_it(root, how, name):
    path = root / layout.load_info(root).data_path(layout.load_info(root).number_of(0))
    table = pq.ParquetFile(path).read()
    place, rows = table.column_names.index(name), table.num_rows
    if how == "dropped":
        table = table.drop_columns([name])
    else:
        made_of = {"text": ["x"], "null": [None], "two values": [[1, 2]]}[how]
        table = table.set_column(place, name, pa.array(made_of * rows))
    pq.write_table(table, path)
    found = check(root)
    assert any((name in line and "file-000" in line) or "episode_" in line for line in found), found
    assert review(root).errors
    for act in ("compact", "convert", "record"):
        refused_or_done(lambda act=act: ACTS[act](root))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "0", None])
def test_a_time_that_is_none_names_episode_and_column(tmp_path, value):
    root = made(tmp_path / "set", (3, 4))
    path = sorted((root / layout.EPISODES).rglob("*.parquet"))[1]
    table = pq.ParquetFile(path).read()
    name = "videos/observation.images.front/from_timestamp"
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array([value])), path)
    found = check(root)
    if value is None:
        assert any("names no video for observation.images.front" in line for line in found)
    else:
        assert len(found) == 1
        assert "episode 1" in found[0]
        assert "front/from_timestamp" in found[0]


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"RIFF\0\0\0\0AVI LIST",
        b"",
        b"\0" * 1000,
    ],
)
def test_a_video_that_is_something_else_is_not_opened_as_that(root, content):
    info = layout.load_info(root)
    path = root / info.video_path("observation.images.front", info.number_of(0))
    path.write_bytes(content)
    assert any(str(path) in line and "cannot be read" in line for line in check(root))


@pytest.mark.thorough
def test_a_footer_that_states_more_than_memory_holds_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "action": pa.DictionaryArray.from_arrays(
                pa.array([0] * 60_000_000, pa.int8()), pa.array([0.0])
            )
        }
    )
    pq.write_table(table, path)
    assert path.stat().st_size < 1 << 20
    from armlet.datasets.format import tables

    with pytest.raises(DatasetError, match="its footer states 60,000,000 values"):
        tables.read(path)


# --- D11: an empty dataset blocks nothing ---------------------------------------------------------

SMALLER = Contract(
    fps=15,
    cameras=(Camera("top", 24, 32),),
    state_names=CONTRACT.state_names[:2],
    action_names=CONTRACT.action_names[:2],
    joint_units="range_m100_100",
)


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_an_empty_dataset_of_another_try_makes_room(tmp_path, version):
    """D11: a dataset without an episode, from a first try at another size, blocked the next."""
    root = tmp_path / "set"
    DatasetWriter(root, CONTRACT).close()
    with DatasetWriter(root, SMALLER, version=version) as writer:
        assert any("empty dataset" in line for line in writer.repaired)
        record(writer, 2, contract=SMALLER)
    assert Dataset(root).info.fps == 15
    assert Dataset(root).info.version == version
    assert check(root) == []
    assert (root / ".trash/0001" / layout.INFO).exists()


@pytest.mark.parametrize("left", ["an episode", "a data file", "an unfinished episode"])
def test_what_holds_anything_is_not_empty(tmp_path, left):
    root = tmp_path / "set"
    writer = DatasetWriter(root, CONTRACT)
    if left == "an episode":
        record(writer, 2)
    writer.begin_episode("pick")
    writer.add_frame(frame(0))
    writer.close(keep=left == "an unfinished episode")
    if left == "a data file":
        (root / "data/chunk-000").mkdir(parents=True)
        (root / "data/chunk-000/file-000.parquet").write_bytes(BODY)
    before = tree(root)
    with pytest.raises(DatasetError, match="cannot be resumed"):
        DatasetWriter(root, SMALLER)
    assert tree(root) == before


# --- cases ----------------------------------------------------------------------------------------


def case(name, tmp_path):
    found = sorted(CASES.glob(name))
    if not found:
        pytest.skip(f"{CASES / name} is not here")
    return shutil.copytree(found[0], tmp_path / "case")


def test_case_01_no_recording_is_dropped_because_its_videos_are_not_there(tmp_path):
    root = case("01-*/no_videos", tmp_path)
    before = tree(root)
    for yes in (False, True):
        with pytest.raises(DatasetError, match=r"is absent.*nothing was changed.*fetch"):
            repair(root, yes)
    assert tree(root) == before


@pytest.mark.parametrize("missing", ["data", "meta/episodes.jsonl", "videos and lists"])
def test_d12_nothing_is_dropped_because_something_is_not_there(tmp_path, missing):
    root = made(tmp_path / "set", (3, 4), version="v2.1")
    (root / layout.CONTRACT).unlink()
    if missing == "data":
        shutil.rmtree(root / "data")
    else:
        (root / layout.EPISODE_LINES).unlink()
    if missing == "videos and lists":
        shutil.rmtree(root / "videos")
    before = tree(root)
    if missing == "meta/episodes.jsonl":
        assert repair(root, yes=True)
        assert [e.length for e in Dataset(root).episodes] == [3, 4]
        return
    with pytest.raises(DatasetError, match="nothing was changed"):
        repair(root, yes=True)
    assert tree(root) == before


def test_case_05_a_version_that_lies_zeroes_no_totals(tmp_path):
    root = case("05-*/version_says_21", tmp_path)
    before = tree(root)
    (line,) = check(root)
    assert 'set "codebase_version": "v3.0"' in line
    for yes in (False, True):
        with pytest.raises(DatasetError, match=r"codebase_version says v2\.1"):
            repair(root, yes)
    assert tree(root) == before
    edit(
        root,
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/{video_key}/chunk-{episode_chunk}/{episode_index}.mp4",
    )
    before = tree(root)
    with pytest.raises(DatasetError, match=r"as v3\.0 does; nothing was changed"):
        repair(root, True)
    assert tree(root) == before


def test_v3_files_under_an_info_of_v21_are_one_error_that_deletes_nothing(tmp_path):
    root = made(tmp_path / "set", (3, 4))
    right = json.loads((root / layout.INFO).read_text())
    named = ("codebase_version", "data_path", "video_path")
    edit(
        root,
        codebase_version="v2.1",
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )
    (finding,) = [f for f in review(root).findings if f.severity == "error"]
    said = f"{finding.found} {finding.fix}"
    assert "remove" not in said and "fetch" not in said
    assert all(f'"{name}": "{right[name]}"' in said for name in named)
    for read in (Dataset, recount):
        with pytest.raises(DatasetError, match=r"as v3\.0 does"):
            read(root)
    edit(root, **{name: right[name] for name in named})
    assert check(root) == []


def test_case_21_another_path_pattern_is_one_error(tmp_path):
    root = case("21-*/episode_file_template", tmp_path)
    (finding,) = review(root).findings
    assert "data_path" in finding.found


def test_case_22_statistics_without_a_count_are_one_error_with_its_cure(tmp_path):
    root = case("22-*/stats_no_count", tmp_path)
    errors = [f for f in review(root, videos=False).findings if f.severity == "error"]
    assert len(errors) == 1
    assert "no count stored" in errors[0].found
    assert "stats --write" in errors[0].fix


@pytest.mark.parametrize("name", ["lfs_pointer_data", "lfs_pointer_video"])
def test_case_31_a_git_lfs_pointer_is_called_one(tmp_path, name):
    root = case(f"31-*/{name}", tmp_path)
    errors = [str(f) for f in review(root).findings if f.severity == "error"]
    assert len(errors) == 1
    assert "git lfs pull" in errors[0]
    assert "dataset repair" not in errors[0]


def test_case_35_absent_counts_are_unknown_and_a_bad_cell_is_named(tmp_path):
    root = case("35-*/info_missing_optional", tmp_path)
    assert not [line for line in check(root) if "a bug of LeRobot" not in line]
    assert Dataset(root).info.total_tasks is None
    assert repair(root, yes=False) == []
    shutil.rmtree(root)
    (line,) = check(case("35-*/nan_file_index", tmp_path))
    assert "episode 1: videos/observation.images.front/file_index" in line


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    ("name", "verb"), [("leftover_frames", "split"), ("leftover_frames21", "convert")]
)
def test_case_36_pictures_behind_the_last_row_are_a_warning_with_episode_and_count(
    tmp_path, name, verb
):
    root = case(f"36-*/{name}", tmp_path)
    found = [f for f in review(root, videos=False).findings if "follow the last row" in f.found]
    assert found
    assert all("15 pictures follow the last row of episode 0" in f.found for f in found)
    assert all(f.severity == "warning" and f"dataset {verb}" in f.fix for f in found)
    assert repair(root, yes=False) == []
    if verb == "convert":
        convert(root, tmp_path / "out", "v3.0")
    else:  # these videos have one key picture for two episodes
        with pytest.raises(DatasetError, match="without encoding it again"):
            compact(root, tmp_path / "out")
        for command in found[0].fix.split("`")[1::2]:
            words = shlex.split(command)[1:]
            for place in ("ROOT", "PARTS", "OUTPUT"):
                folder = root if place == "ROOT" else tmp_path / place.replace("OUTPUT", "out")
                words = [re.sub(rf"^{place}\b", str(folder), word) for word in words]
            assert main.main(words) == 0
        assert [e.length for e in Dataset(tmp_path / "out").episodes] == [40, 41, 42]
    assert not any("follow" in line for line in check(tmp_path / "out"))


def test_case_37_check_names_the_command_that_helps(tmp_path):
    root = case("37-*/names_null_no_image_stats", tmp_path)
    errors = [f for f in review(root, videos=False).findings if f.severity == "error"]
    assert len(errors) == 2
    assert all("armlet dataset stats --write" in f.fix for f in errors)
    assert repair(root, yes=False) == []


# --- D10: a small recalibration -------------------------------------------------------------------


def test_d10_a_dataset_goes_on_with_a_calibration_that_moved_by_what_the_person_accepts(tmp_path):
    ticks = {"gripper": (0, -50, 1000, 3000)}
    before = dataclasses.replace(CONTRACT, calibration="a" * 64, calibration_ticks=ticks)
    moved = {"gripper": (0, -50, 1000, 3001)}
    after = dataclasses.replace(CONTRACT, calibration="b" * 64, calibration_ticks=moved)
    root = made(tmp_path / "set", (2,), before)
    with pytest.raises(DatasetError, match=r"gripper by 0\.09° \(range_max 3000 -> 3001\)"):
        DatasetWriter(root, after)
    with DatasetWriter(root, after, calibration_tolerance_deg=0.1) as writer:
        record(writer, 2)
    assert len(Dataset(root).episodes) == 2
    assert Dataset(root).contract == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("malloc"),
        OSError("Failed to launch worker thread: Resource temporarily unavailable"),
    ],
)
def test_what_the_computer_lacks_is_no_damage_of_a_file(tmp_path, monkeypatch, error):
    root = made(tmp_path / "set", (3,))

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(tables.pq, "ParquetFile", refuse)
    with pytest.raises(DatasetError, match="this computer lacks what it takes") as raised:
        tables.read(root / "data/chunk-000/file-000.parquet")
    assert "restore" not in str(raised.value)
