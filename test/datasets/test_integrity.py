"""Every kind of damage is named; sweeping removes only what is the writer's."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, frame, made

from armlet.datasets import DatasetError, DatasetWriter, check, sweep
from armlet.datasets.check.integrity import problems
from armlet.datasets.format import jsonl, layout, stats
from armlet.datasets.transform.compact import compact

DATA = "data/chunk-000/file-001.parquet"
META = "meta/episodes/chunk-000/file-001.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-001.mp4"


def edit_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_column(path, name, values):
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array(values, table.schema[place].type)), path)


DAMAGE = {
    "fewer totals": (
        lambda root: edit_json(root / layout.INFO, lambda d: d.update(total_frames=11)),
        "info.json counts 11 frames, the metadata has 12",
    ),
    "no data": (lambda root: (root / DATA).unlink(), f"{DATA} is absent"),
    "no video": (lambda root: (root / VIDEO).unlink(), f"{VIDEO} is absent"),
    "another video": (
        lambda root: shutil.copy((root / VIDEO).with_name("file-000.mp4"), root / VIDEO),
        "holds 5 pictures for 3 rows",
    ),
    "no video at all": (lambda root: (root / VIDEO).write_bytes(b"?"), "cannot be read"),
    "metadata gap": (lambda root: (root / META).unlink(), "episode 2 where episode 1 should be"),
    "broken metadata": (lambda root: (root / META).write_bytes(b"PAR1"), "is cut short"),
    "broken data": (lambda root: (root / DATA).write_bytes(b"PAR1"), "is cut short"),
    "short data": (
        lambda root: pq.write_table(pq.read_table(root / DATA, partitioning=None)[:2], root / DATA),
        "has 2 rows, its episodes 3",
    ),
    "stamps": (
        lambda root: set_column(root / DATA, "armlet.stamp_ns", [0, 10**9 // 30, 10**9]),
        "1 gap(s) in armlet.stamp_ns, first at frame 2",
    ),
    "times": (
        lambda root: set_column(root / DATA, "timestamp", [0, 0.05, 0.1]),
        "away from frame_index / fps",
    ),
    "frame numbers": (
        lambda root: set_column(root / DATA, "frame_index", [0, 0, 1]),
        "frame_index",
    ),
    "index": (lambda root: set_column(root / DATA, "index", [0, 1, 2]), "from 5 to 7"),
    "task": (lambda root: set_column(root / DATA, "task_index", [0, 9, 0]), "beyond the 2 tasks"),
    "nan": (
        lambda root: set_column(root / DATA, "action", [[np.nan] * 6] * 3),
        "action has non-finite values",
    ),
    "tasks shuffled": (
        lambda root: set_column(root / layout.TASKS, "task_index", [1, 0]),
        "looks tasks up by row",
    ),
    "no statistics": (lambda root: (root / layout.STATS).unlink(), "stats.json is absent"),
    "stale statistics": (
        lambda root: edit_json(root / layout.STATS, lambda d: d["action"].update(count=[8])),
        "action counts 8 rows of 12",
    ),
    "overflown std": (
        lambda root: edit_json(
            root / layout.STATS,
            lambda d: d["observation.images.front"].update(std=[[[5e-4]]] * 3),
        ),
        "a bug of LeRobot",
    ),
    "altered contract": (
        lambda root: edit_json(root / layout.CONTRACT, lambda d: d.update(fps=31)),
        "altered after signing",
    ),
    "a stray file": (
        lambda root: shutil.copy(root / DATA, (root / DATA).with_name("file-009.parquet")),
        "file-009.parquet belongs to no episode",
    ),
    "an unfinished episode": (
        lambda root: (root / layout.UNFINISHED).mkdir(),
        "an episode was never finished",
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sound") / "set")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(sound, tmp_path, damage):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    assert check(root) == []
    spoil, named = DAMAGE[damage]
    spoil(root)
    assert any(named in problem for problem in check(root)), check(root)


def test_a_wrong_total_does_not_blame_the_statistics(sound, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    edit_json(root / layout.INFO, lambda d: d.update(total_frames=7))
    assert check(root) == ["info.json counts 7 frames, the metadata has 12"]


def test_compact_is_named_for_leftover_pictures_where_it_takes_them_out(sound, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    shutil.copy((root / VIDEO).with_name("file-000.mp4"), root / VIDEO)
    (finding,) = problems(root)
    assert "2 pictures follow the last row of episode 1" in finding.found
    assert "`armlet dataset compact ROOT OUTPUT`" in finding.fix
    compact(root, tmp_path / "out")
    assert check(tmp_path / "out") == []


def test_sweeping_a_sound_dataset_does_nothing(sound):
    before = {p: p.read_bytes() for p in sound.rglob("*") if p.is_file()}
    assert sweep(sound) == []
    assert {p: p.read_bytes() for p in sound.rglob("*") if p.is_file()} == before


def test_sweeping_reconciles_totals_and_statistics(sound, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    known = stats.load(root / layout.STATS)
    edit_json(root / layout.INFO, lambda d: d.update(total_episodes=2, total_frames=8))
    edit_json(root / layout.STATS, lambda d: d["action"].update(count=[8]))
    assert sweep(root) == [
        "info.json counted 2 episodes, 8 frames, 2 tasks; now 3, 12, 2",
    ]
    assert check(root) == []
    again = stats.load(root / layout.STATS)
    assert all(np.allclose(again[f][s], v) for f in known for s, v in known[f].items())


def test_sweeping_leaves_what_is_being_recorded(tmp_path):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        with pytest.raises(DatasetError, match="another recorder"):
            sweep(tmp_path / "set")
        writer.finish_episode()


def test_sweeping_touches_no_files_of_other_recorders(sound, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    (root / layout.CONTRACT).unlink()
    stray = root / "data/chunk-000/file-003.parquet"
    shutil.copy(root / DATA, stray)
    assert sweep(root) == []
    assert stray.exists()


def test_sweeping_refuses_what_it_cannot_explain(sound, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(sound, root)
    (root / META).with_name("file-002.parquet").unlink()
    with pytest.raises(DatasetError, match="counts 3 episodes, the metadata of 2"):
        sweep(root)
    with pytest.raises(DatasetError, match="not a folder"):
        sweep(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"episode_index": 3, "tasks": ["t"]}, "episode 3: length: expected a whole number"),
        ({"episode_index": 3, "length": 2}, "episode 3: tasks: expected a list of a text"),
        ({"tasks": ["push"], "length": 2}, "push.*: episode_index: expected a whole number"),
    ],
)
def test_an_episode_that_lacks_something_is_named(tmp_path, line, said):
    with pytest.raises(DatasetError, match=said) as refused:
        jsonl.episode_line(tmp_path, line)
    assert str(refused.value).endswith("found nothing")
