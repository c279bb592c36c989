"""Datasets of v2.0: read and converted, never changed. Made of v2.1 by what differs."""

import argparse
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edit_oracle import tree
from made_episodes import CONTRACT
from offline import numbered, numbers, same_rows

from armlet.cli.data import dataset as command
from armlet.datasets import Dataset, DatasetError, DatasetWriter
from armlet.datasets.check import integrity, recompute_stats
from armlet.datasets.format import layout
from armlet.datasets.transform.bind import bind
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.convert import convert
from armlet.datasets.transform.edits import relabel
from armlet.datasets.transform.merge import merge
from armlet.datasets.transform.repair import plan
from armlet.findings import Code, Severity

LENGTHS = (12, 7)
COUNT = sum(LENGTHS)
KNOWN = ("min", "max", "mean", "std")


def made_old(newer, root):
    """The v2.0 form of a dataset of v2.1: what LeRobot wrote from November 2024 on."""
    shutil.copytree(newer, root)
    statistics = Dataset(newer).statistics
    (root / layout.STATS_LINES).unlink()
    whole = {k: {n: found[n].tolist() for n in KNOWN} for k, found in statistics.items()}
    (root / layout.STATS).write_text(json.dumps(whole, indent=4))
    info = json.loads((root / layout.INFO).read_text())
    info["codebase_version"] = "v2.0"
    for block in info["features"].values():
        if "info" in block:
            block["video_info"] = block.pop("info")
    (root / layout.INFO).write_text(json.dumps(info, indent=4))
    for path in (root / "data").rglob("*.parquet"):
        pq.write_table(_loose(pq.ParquetFile(path).read()), path)
    return root


def _loose(table):
    """Vectors as lists of any length, as `datasets` wrote them then."""
    for place, column in enumerate(table.schema):
        if pa.types.is_fixed_size_list(column.type):
            values = table[column.name].combine_chunks()
            kind = pa.list_(column.type.value_type)
            table = table.set_column(place, column.name, pa.array(values.to_pylist(), kind))
    return table


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("old") / "v21", LENGTHS, version="v2.1")


@pytest.fixture(scope="module")
def old(newer):
    return made_old(newer, newer.with_name("v20"))


@pytest.fixture
def copy(old, tmp_path):
    return shutil.copytree(old, tmp_path / "copy")


def test_it_is_read_as_the_same_dataset(old, newer):
    dataset = Dataset(old)
    assert (dataset.info.version, len(dataset.episodes)) == ("v2.0", 2)
    assert dataset.contract == CONTRACT
    assert same_rows(newer, old)
    assert numbers(old, "front") == list(range(COUNT))
    assert dataset.info.features["observation.images.front"].info["video.fps"] == 30
    for key, found in Dataset(newer).statistics.items():
        assert all(np.array_equal(dataset.statistics[key][n], found[n]) for n in KNOWN), key


def test_check_names_the_version_and_nothing_else(old):
    (found,) = integrity.problems(old)
    assert (found.code, found.severity) == (Code.DATASET_VERSION_OLD, Severity.WARNING)
    assert "v2.0" in str(found.found) and "armlet dataset convert" in str(found.fix)


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["dataset", *map(str, words)])
    return args.run(args)


def test_every_verb_that_reads_goes_through(copy, newer, capsys):
    before, output = tree(copy), copy.with_name("output")
    assert run("info", copy) == 0
    assert "v2.0" in capsys.readouterr().out
    run("check", newer)
    others = set(capsys.readouterr().out.splitlines()[:-1])
    run("check", copy)
    (own,) = set(capsys.readouterr().out.splitlines()[:-1]) - others
    assert own.startswith("WARN") and own.endswith("[dataset.version-old]")
    assert run("stats", copy) == 0
    assert run("view", copy, "--output", copy.with_name("page")) == 0
    assert run("convert", copy, output) == 0
    assert Dataset(output).info.version == "v3.0"
    assert tree(copy) == before


def test_wrong_statistics_are_not_written_over(copy, capsys):
    (copy / layout.STATS).unlink()
    before = tree(copy)
    assert run("stats", copy, "--no-video", "--write") != 0
    said = capsys.readouterr()
    assert "armlet dataset convert" in said.out + said.err
    assert tree(copy) == before


def test_its_statistics_are_compared_with_the_data(copy):
    assert recompute_stats.recount(copy).differences == []
    whole = json.loads((copy / layout.STATS).read_text())
    whole["action"]["mean"][2] += 5
    (copy / layout.STATS).write_text(json.dumps(whole))
    (found,) = recompute_stats.recount(copy).differences
    assert (found.code, found.subject) == (Code.DATASET_STATISTICS_WRONG, "action")


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_it_is_converted_with_statistics_of_the_data_not_the_stored_ones(copy, newer, version):
    whole = json.loads((copy / layout.STATS).read_text())
    whole["action"]["mean"][2] += 5
    (copy / layout.STATS).write_text(json.dumps(whole))
    before = tree(copy)
    output = copy.with_name("output")
    convert(copy, output, version)
    assert tree(copy) == before
    assert integrity.problems(output) == []
    assert recompute_stats.recount(output).differences == []
    assert same_rows(newer, output)
    assert numbers(output, "wrist") == list(range(COUNT))
    dataset = Dataset(output)
    assert dataset.info.version == version
    blocks = dataset.info.document["features"].values()
    assert all("video_info" not in block for block in blocks)
    action = np.concatenate([Dataset(newer).episode(k).action for k in range(2)])
    found = dataset.statistics["action"]
    assert found["count"].tolist() == [COUNT]
    assert np.allclose(found["mean"], action.astype(float).mean(0))
    assert np.allclose(found["std"], action.astype(float).std(0))
    assert ("q50" in found) == (version == "v3.0")
    assert (output / layout.STATS).exists() == (version == "v3.0")


def test_statistics_of_an_interrupted_conversion_are_not_taken(copy, newer):
    lines = [json.loads(x) for x in (newer / layout.STATS_LINES).read_text().splitlines()]
    for line in lines:
        line["stats"]["action"]["mean"] = [1e6] * 6
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (copy / layout.STATS_LINES).write_text(text)
    convert(copy, copy.with_name("output"), "v3.0")
    assert Dataset(copy.with_name("output")).statistics["action"]["mean"].max() < 1e6


def _record(root):
    DatasetWriter(root, CONTRACT)


def twin(root):
    """Another dataset of the same version."""
    return shutil.copytree(root, root.parent.parent / f"{root.parent.name}-twin")


CHANGES = {
    "record": _record,
    "repair": plan,
    "stats": lambda root: recompute_stats.write(root, recompute_stats.recount(root, False)),
    "relabel": lambda root: relabel(root, "stack", episodes=[0]),
    "merge": lambda root: merge([root, twin(root)], root.with_name("merged")),
    "bind": lambda root: bind(root, CONTRACT),
    "compact": lambda root: compact(root, root.with_name("compact")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_would_change_it_says_to_convert_first(copy, change):
    before = tree(copy)
    with pytest.raises(DatasetError, match=r"v2\.0.*convert"):
        CHANGES[change](copy)
    assert tree(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _edit_line(path, **values):
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(first), **values}) + "\n", *others]))


def _edit_rows(root, change):
    path = root / "data/chunk-000/episode_000000.parquet"
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def _with_action(table, change):
    place, values = table.column_names.index("action"), table["action"].to_pylist()
    kind = table.schema.field("action").type
    return table.set_column(place, "action", pa.array(change(values), kind))


def _moved(rows):
    """A value of the fourth row in the fifth: as many values as before."""
    return [*rows[:3], rows[3][:-1], [rows[3][-1], *rows[4]], *rows[5:]]


DAMAGES = {
    "statistics absent": (lambda root: (root / layout.STATS).unlink(), "statistics-missing"),
    "statistics cut": (lambda root: _cut(root / layout.STATS), "statistics-unreadable"),
    "a mean absent": (
        lambda root: (root / layout.STATS).write_text('{"action": {"min": [0], "max": [1]}}'),
        "statistics-invalid",
    ),
    "lines cut": (lambda root: _cut(root / layout.EPISODE_LINES), "metadata-unreadable"),
    "a column twice": (
        lambda root: _edit_rows(root, lambda t: t.append_column("action", t["action"])),
        "column-invalid",
    ),
    "a row too short and the next too long": (
        lambda root: _edit_rows(root, lambda t: _with_action(t, _moved)),
        "column-invalid",
    ),
    "laid out as v3.0": (
        lambda root: (root / layout.INFO).write_text(
            (root / layout.INFO)
            .read_text()
            .replace("{episode_chunk:03d}", "{chunk_index:03d}")
            .replace("{episode_index:06d}", "{file_index:03d}")
        ),
        "metadata-unreadable",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_once(copy, damage):
    change, code = DAMAGES[damage]
    change(copy)
    found = [each for each in integrity.problems(copy) if each.severity is Severity.ERROR]
    assert [str(each.code) for each in found] == [f"dataset.{code}"]


def test_an_episode_said_to_have_a_million_million_rows_takes_no_memory(copy):
    _edit_line(copy / layout.EPISODE_LINES, length=10**12)
    found = [str(each.code) for each in integrity.problems(copy)]
    assert "dataset.row-count-wrong" in found


def test_a_dataset_whose_rows_are_cut_is_not_converted(copy):
    _cut(copy / "data/chunk-000/episode_000001.parquet")
    with pytest.raises(DatasetError, match=r"episode_000001\.parquet"):
        convert(copy, copy.with_name("output"), "v3.0")
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
