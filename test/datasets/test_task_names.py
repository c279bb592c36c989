"""Rows whose task_index has no name: named where the episodes say it, never by another's task."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edit_oracle import tree
from made_episodes import CONTRACT
from offline import numbered
from test_version_2_0 import made_old

from armlet.cli.main import main
from armlet.datasets import Dataset, DatasetError, DatasetWriter
from armlet.datasets.check import integrity
from armlet.datasets.format import layout, tables
from armlet.datasets.transform.convert import convert
from armlet.datasets.transform.edits import relabel
from armlet.datasets.transform.repair import repair
from armlet.findings import Code

LENGTHS = (5, 4, 3)
TASKS = ["pick", "fold", "pick"]


@pytest.fixture
def newer(tmp_path):
    return numbered(tmp_path / "v21", LENGTHS, version="v2.1")


@pytest.fixture
def old(newer):
    return made_old(newer, newer.with_name("v20"))


@pytest.fixture
def current(tmp_path):
    return numbered(tmp_path / "v30", LENGTHS)


def edit_lines(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines))


def set_index(root, value):
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.ParquetFile(path).read()
    column = pa.array([value] * table.num_rows, pa.int64())
    pq.write_table(
        table.set_column(table.column_names.index("task_index"), "task_index", column), path
    )


def shown(root):
    """The task of every row, by episode."""
    dataset = Dataset(root)
    return [set(dataset.episode(k).tasks) for k in range(len(dataset.episodes))]


@pytest.mark.representatives(1)
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_without_a_tasks_file_the_episodes_name_them(old, version, capsys):
    (old / layout.TASK_LINES).unlink()
    before, output = tree(old), old.with_name("output")
    assert main(["dataset", "convert", str(old), str(output), "--to", version]) == 0
    said = capsys.readouterr().out
    assert "task 0" in said and "'pick'" in said and "'fold'" in said
    assert tree(old) == before
    assert shown(output) == [{task} for task in TASKS]
    assert integrity.problems(output) == []


def test_a_tasks_file_that_lacks_a_task_is_completed(current):
    path = current / layout.TASKS
    path.write_bytes(tables.encode(tables.tasks_table(["pick"])))
    assert convert(current, current.with_name("output"), "v2.1").named == {1: "fold"}
    assert shown(current.with_name("output")) == [{task} for task in TASKS]


def test_the_last_name_of_an_episode_with_several_is_known(old):
    (old / layout.TASK_LINES).unlink()
    edit_lines(
        old / layout.EPISODE_LINES,
        lambda line: {**line, "tasks": TASKS[:2] if line["episode_index"] == 1 else line["tasks"]},
    )
    path = old / "data/chunk-000/episode_000001.parquet"
    table = pq.ParquetFile(path).read()
    column = pa.array([0] + [1] * (table.num_rows - 1), pa.int64())
    pq.write_table(
        table.set_column(table.column_names.index("task_index"), "task_index", column), path
    )
    assert convert(old, old.with_name("output"), "v3.0").named == {0: "pick", 1: "fold"}


UNKNOWN = {
    "no episode names them": (
        lambda root: edit_lines(root / layout.EPISODE_LINES, lambda line: {**line, "tasks": []}),
        r'no task 0: rows of episode 0 have task_index 0; add the line \{"task_index": 0, "task"',
    ),
    "each could be either": (
        lambda root: edit_lines(
            root / layout.EPISODE_LINES, lambda line: {**line, "tasks": ["pick", "fold"]}
        ),
        r"the episode's tasks are 'fold', 'pick'; add the line",
    ),
    "episodes contradict each other": (
        lambda root: edit_lines(
            root / layout.EPISODE_LINES,
            lambda line: {**line, "tasks": [f"task {line['episode_index']}"]},
        ),
        "no task 0",
    ),
    "one lies below zero": (lambda root: set_index(root, -1), "no task -1: .*from a copy"),
    "one lies far beyond": (lambda root: set_index(root, 2**40), "no task 1: no row has"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_nobody_says_is_not_guessed(old, case):
    change, message = UNKNOWN[case]
    (old / layout.TASK_LINES).unlink()
    change(old)
    before = tree(old)
    with pytest.raises(DatasetError, match=message):
        convert(old, old.with_name("output"), "v3.0")
    assert tree(old) == before
    assert not old.with_name("output").exists()


def test_episodes_without_their_tasks_are_named_with_what_is_expected(old):
    edit_lines(
        old / layout.EPISODE_LINES,
        lambda line: {name: value for name, value in line.items() if name != "tasks"},
    )
    with pytest.raises(DatasetError, match=r"episode 0: tasks: expected .*, found nothing"):
        convert(old, old.with_name("output"), "v3.0")


def test_a_row_below_zero_has_not_the_last_task(newer):
    set_index(newer, -1)
    with pytest.raises(DatasetError, match=r"task_index -1, and meta/tasks\.jsonl has 2 tasks"):
        Dataset(newer).episode(1)


def test_a_task_index_with_two_names_is_refused(newer):
    path = newer / layout.TASK_LINES
    path.write_text(path.read_text() + '{"task_index": 1, "task": "throw"}\n')
    with pytest.raises(DatasetError, match="task_index 1 is there twice, as 'fold' and 'throw'"):
        Dataset(newer)


def lose_file(root):
    (root / tables.tasks_path(layout.load_info(root))).unlink()


def lose_last(root):
    info = layout.load_info(root)
    content = b'{"task_index": 0, "task": "pick"}\n'
    if not info.is_v2:
        content = tables.encode(tables.tasks_table(["pick"]))
    (root / tables.tasks_path(info)).write_bytes(content)


CHANGES = {
    "record": lambda root: DatasetWriter(root, CONTRACT),
    "repair": lambda root: repair(root, yes=True),
    "relabel": lambda root: relabel(root, "stack", episodes=[1]),
}


@pytest.mark.representatives(4)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("loss", [lose_file, lose_last])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_no_new_task_gets_the_number_of_a_lost_one(tmp_path, version, loss, change):
    root = numbered(tmp_path / "data", LENGTHS, version=version)
    loss(root)
    before = tree(root)
    with pytest.raises(DatasetError, match=r"meta/tasks\.(jsonl|parquet).*from a copy"):
        CHANGES[change](root)
    assert tree(root) == before


def test_a_stock_dataset_without_tasks_is_not_made_to_count_none(newer):
    (newer / layout.CONTRACT).unlink()
    (newer / layout.TASK_LINES).unlink()
    before = tree(newer)
    with pytest.raises(DatasetError, match=r"refer to task 0, which meta/tasks\.jsonl lacks"):
        repair(newer, yes=True)
    assert tree(newer) == before


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_check_names_a_lost_tasks_file_once(tmp_path, version):
    root = numbered(tmp_path / "data", LENGTHS, version=version)
    lose_file(root)
    (found,) = integrity.problems(root)
    assert found.code is Code.DATASET_TASK_UNKNOWN
    assert "is absent" in str(found.found) and "armlet dataset convert" in str(found.fix)
