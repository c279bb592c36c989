"""Episodes say who commanded their rows and which policies drove, whatever becomes of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from edit_oracle import tree
from hypothesis import example, given
from hypothesis import strategies as st
from made_episodes import CONTRACT, QUICK, frame
from offline import REPOSITORY

from armlet.align import Commander, CommandSource
from armlet.cli.main import main
from armlet.contract import Camera, Contract
from armlet.contract.provenance import Provenance, ProvenanceError
from armlet.datasets import Dataset, DatasetError, DatasetWriter, check, recover
from armlet.datasets.check.quality import review
from armlet.datasets.format import layout
from armlet.datasets.format.provenance import EpisodeProvenance, Latency, latency, of_rows
from armlet.datasets.record import policies, row_log
from armlet.datasets.record.episode import JOURNAL
from armlet.datasets.record.recovery import HEADER
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.datasets.transform.convert import convert
from armlet.datasets.transform.merge import merge
from armlet.datasets.transform.split import split
from armlet.findings import Code

PLAIN = dataclasses.replace(CONTRACT, cameras=())
GOLDEN = REPOSITORY.parent / "shared/golden/lerobot-0.6.1/intervention"


def policy(name: str) -> Provenance:
    digest = f"{ord(name):064x}"
    settings = ("act", "latest_only", "torch", "float32", "cpu", "measured")
    return Provenance(digest, name, *settings, statistics=digest, contract=None)


A, B = policy("A"), policy("B")
SOURCES = {
    "?": CommandSource(),
    "h": CommandSource(Commander.HOLD),
    "p": CommandSource(Commander.PERSON),
    "t": CommandSource(Commander.TRAJECTORY),
    **{one.name: CommandSource(Commander.TRAJECTORY, one.mark()) for one in (A, B)},
    # Of a policy that never said what it is.
    "C": CommandSource(Commander.TRAJECTORY, policy("C").mark()),
}
KNOWN = {one.mark(): one for one in (A, B)}
NAMES = {"?": "unknown", "h": "hold", "p": "person", "t": "trajectory", "C": "policy"}


def record(writer: DatasetWriter, rows: str, finish: bool = True) -> None:
    """An episode whose rows have these commanders; the writer's own time goes on."""
    episode = writer.episodes
    writer.begin_episode("pick")
    for index, letter in enumerate(rows):
        source = SOURCES[letter]
        known = KNOWN.get(source.policy)
        writer.add_frame(frame(index, episode, PLAIN, source=source, policy=known))
    if finish:
        writer.finish_episode({})


def recorded(root: Path, episodes: Sequence[str], **options: object) -> Path:
    with DatasetWriter(root, PLAIN, intervention=True, **options) as writer:  # type: ignore[arg-type]
        for rows in episodes:
            record(writer, rows)
    return root


def assert_says(root: Path, episodes: Sequence[str]) -> None:
    """Notes and column are those of rows with these commanders."""
    dataset = Dataset(root)
    assert check(root) == []
    assert [episode.length for episode in dataset.episodes] == list(map(len, episodes))
    for k, rows in enumerate(episodes):
        noted = dataset.provenance(k)
        assert noted is not None
        assert letters(noted, len(rows)) == rows
        by_person = [letter == "p" for letter in rows]
        assert dataset.episode(k).columns[layout.INTERVENTION].tolist() == by_person


def letters(noted: EpisodeProvenance, length: int) -> str:
    found = ["?"] * length
    of = {name: letter for letter, name in NAMES.items()}
    of |= {f"policy {k}": one.name for k, one in enumerate(noted.policies)}
    for who in noted.rows:
        for first, last in noted.ranges(who):
            found[first : last + 1] = of[who] * (last + 1 - first)
    return "".join(found)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        yield Path(folder)


# --- rows as text -------------------------------------------------------------------------------


def of_letters(rows: str) -> EpisodeProvenance:
    sources = [SOURCES[letter] for letter in rows]
    commanders = np.array([source.commander for source in sources], np.uint8)
    marks = np.array([int(source.policy or "0", 16) for source in sources], np.uint64)
    return of_rows(commanders, marks, KNOWN)


@example("??", 1, 0)
@given(st.text("?hptABC", max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_every_row_has_its_commander_and_a_part_its_own(rows, first, count):
    noted = of_letters(rows)
    assert letters(noted, len(rows)) == rows
    assert {one.name for one in noted.policies} == set(rows) & {"A", "B"}
    assert sum(map(noted.frames, noted.rows)) == len(rows)
    part = rows[first : first + count]
    cut = noted.cut(first, count)
    assert letters(cut, len(part)) == part
    assert {one.name for one in cut.policies} == set(part) & {"A", "B"}


def test_a_latency_is_of_the_chunks_that_were_measured():
    measured = np.array([[0.01 * k, 0.1 + 0.01 * k] for k in range(101)])
    assert latency(measured) == Latency(101, 0.5, 0.99, 0.6, 1.09)
    assert latency(measured[:0]) is None


@pytest.mark.parametrize(
    "rows",
    [
        {"somebody": "0"},
        {"policy 1": "0"},
        {"policy -1": "0"},
        {"policy 00": "0"},
        {"person": "٠-٢"},
        {"person": "0-"},
        {"person": "3-1"},
        {"person": "4,3"},
        {"person": "0,0"},
        {"person": "0 "},
        {"person": "0-9", "hold": "9"},
        {"person": "99999999999"},
    ],
)
def test_what_names_no_rows_is_refused(rows):
    with pytest.raises(ProvenanceError):
        EpisodeProvenance((A,), rows)


@pytest.mark.parametrize(
    "stored",
    [
        1,
        {"rows": [1]},
        {"rows": {"person": 1}},
        {"rows": {"person": "0-3,2"}},
        {"policies": [{"name": "x"}]},
        {"policies": [dataclasses.asdict(A) | {"name": "\x1b[2J"}]},
        {"rows": {"person": "0-99"}},
        {"latency": {"chunks": 1}},
    ],
)
def test_notes_that_cannot_be_right_are_refused(tmp_path, stored):
    root = recorded(tmp_path / "set", ["pp"])
    path = root / layout.ledger_path(0)
    path.write_text(json.dumps({"provenance": stored}))
    with pytest.raises(DatasetError) as caught:
        Dataset(root).provenance(0)
    assert path.name in str(caught.value) and str(caught.value).isprintable()
    (found,) = check(root)
    assert found == str(caught.value) or path.name in found
    with pytest.raises(DatasetError):
        edits.trim(root, [0], 1, 0)
    # What is stored there does not keep a person from looking at the rest.
    assert main(["dataset", "info", str(root)]) == 0


# --- recording ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", layout.VERSIONS)
def test_rows_are_flagged_and_policies_named(tmp_path, version):
    episodes = ["?hAAppBBAh", "pp", "tCA", "hh"]
    assert_says(recorded(tmp_path / "set", episodes, version=version), episodes)


def test_whoever_made_the_dataset_chose_whether_rows_are_flagged(tmp_path):
    root = recorded(tmp_path / "set", ["pA"])
    with DatasetWriter(root, PLAIN) as writer:
        record(writer, "Ap")
    assert_says(root, ["pA", "Ap"])
    without = tmp_path / "without"
    with DatasetWriter(without, PLAIN) as writer:
        record(writer, "pp")
    with DatasetWriter(without, PLAIN, intervention=True) as writer:
        record(writer, "php?")
        record(writer, "pA")
    dataset = Dataset(without)
    assert layout.INTERVENTION not in dataset.info.features
    # People alone are what a dataset is of; a policy is noted all the same.
    assert [dataset.provenance(k) for k in (0, 1)] == [None, None]
    noted = dataset.provenance(2)
    assert noted is not None and letters(noted, 2) == "pA"


def test_how_long_the_policy_took_is_noted_where_one_drove(tmp_path):
    took = Latency(2, 0.1, 0.2, 0.3, 0.4)
    with DatasetWriter(tmp_path / "set", PLAIN) as writer:
        for rows in ("pA", "pp"):
            record(writer, rows, finish=False)
            writer.finish_episode({}, took)
        record(writer, "AA")
    dataset = Dataset(tmp_path / "set")
    noted = [dataset.provenance(k) for k in range(3)]
    assert noted[0] is not None and noted[0].latency == took
    assert noted[1] is None
    assert noted[2] is not None and noted[2].latency is None
    edits.trim(dataset.root, [0], 0, 1)
    trimmed = Dataset(dataset.root).provenance(0)
    assert trimmed is not None and trimmed.latency == took


def test_an_empty_dataset_is_made_again_with_the_column(tmp_path):
    root = tmp_path / "set"
    DatasetWriter(root, PLAIN).close()
    assert_says(recorded(root, ["pA"]), ["pA"])


@pytest.mark.skipif(not GOLDEN.exists(), reason="no datasets of LeRobot 0.6.1")
def test_the_column_is_lerobots_own_and_its_datasets_go_on(tmp_path):
    root = tmp_path / "set"
    shutil.copytree(GOLDEN, root)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    info = Dataset(root).info
    ours = layout.features_of(PLAIN, intervention=True)
    assert info.features[layout.INTERVENTION] == ours[layout.INTERVENTION]
    cameras = tuple(Camera(n, *f.picture_size) for n, f in info.cameras.items())
    names = info.features[layout.STATE].names
    assert names is not None
    contract = Contract(info.fps, cameras, names, names, "degrees")
    with DatasetWriter(root, contract, codec="libsvtav1", adopt=True) as writer:
        writer.begin_episode("pick")
        for index, letter in enumerate("ppAAp"):
            source = SOURCES[letter]
            writer.add_frame(frame(index, 0, contract, source=source, policy=A))
        writer.finish_episode()
    dataset = Dataset(root)
    (k,) = dataset.provenances()
    assert dataset.episode(k).columns[layout.INTERVENTION].tolist() == [1, 1, 0, 0, 1]
    assert check(root) == []


@pytest.mark.parametrize("torn", [False, True])
def test_what_a_killed_recorder_left_says_it_too(tmp_path, torn):
    root = left_by_a_kill(tmp_path, "hAApAA")
    if torn:
        path = root / layout.UNFINISHED / policies.FILE
        path.write_bytes(path.read_bytes()[:-9])
    recover(root)
    assert_says(root, ["hCCpCC" if torn else "hAApAA"])


def test_an_episode_that_an_earlier_armlet_left_is_of_nobody(tmp_path):
    root = left_by_a_kill(tmp_path, "hAApAA")
    folder = root / layout.UNFINISHED
    header = json.loads((folder / HEADER).read_text())
    assert header.pop("sourced")
    (folder / HEADER).write_text(json.dumps(header))
    rows = row_log.rows(folder / JOURNAL, PLAIN)
    old = np.zeros(len(rows), row_log.row_type(PLAIN, sourced=False))
    for name in old.dtype.names:
        old[name] = rows[name]
    content = b"".join(
        row.tobytes()[:-4] + zlib.crc32(row.tobytes()[:-4]).to_bytes(4, "little") for row in old
    )
    (folder / JOURNAL).write_bytes(content)
    recover(root)
    assert_says(root, ["??????"])


def left_by_a_kill(tmp_path: Path, rows: str) -> Path:
    with DatasetWriter(tmp_path / "whole", PLAIN, intervention=True) as writer:
        record(writer, rows, finish=False)
        shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    return tmp_path / "killed"


# --- afterwards ---------------------------------------------------------------------------------

EPISODES = ["hAAppBB", "pp", "BBh?t", "Cpp"]


@pytest.mark.representatives(1)
@pytest.mark.parametrize("form", ["own files", "shared files", "v2.1"])
def test_every_edit_takes_it_along(tmp_path, form):
    version = "v2.1" if form == "v2.1" else "v3.0"
    root = recorded(tmp_path / "set", EPISODES, version=version)
    if form == "shared files":
        compact(root, tmp_path / "shared")
        root = tmp_path / "shared"
    assert_says(root, EPISODES)
    before = tree(root)
    edits.delete(root, [1])
    assert_says(root, [EPISODES[0], *EPISODES[2:]])
    edits.trim(root, [0, 1], 2, 1)
    trimmed = ["AppB", "h?", "Cpp"]
    assert_says(root, trimmed)
    edits.relabel(root, "fold", [2])
    edits.label(root, {0: True}, False)
    assert_says(root, trimmed)
    split(root, tmp_path / "parts", {"one": "0,2", "two": "1"})
    assert_says(tmp_path / "parts/one", ["AppB", "Cpp"])
    assert_says(tmp_path / "parts/two", ["h?"])
    merge([tmp_path / "parts/two", tmp_path / "parts/one"], tmp_path / "merged")
    assert_says(tmp_path / "merged", ["h?", "AppB", "Cpp"])
    for _ in range(4):
        edits.undo(root)
    assert tree(root) == before


@pytest.mark.parametrize("version", layout.VERSIONS)
def test_another_version_says_the_same(tmp_path, version):
    other = next(one for one in layout.VERSIONS if one != version)
    root = recorded(tmp_path / "set", EPISODES, version=version)
    convert(root, tmp_path / "other", other)
    assert_says(tmp_path / "other", EPISODES)


# --- labels -------------------------------------------------------------------------------------


def test_what_was_said_when_it_was_recorded_becomes_lerobots_column(tmp_path, capsys):
    root = recorded(tmp_path / "set", ["AA", "pA", "AA", "AA"])
    with pytest.raises(SystemExit):
        main(["dataset", "label", str(root)])
    assert main(["dataset", "label", str(root), "--recorded"]) == 2
    assert "no episode was marked as success or failure" in capsys.readouterr().err
    with DatasetWriter(root, PLAIN) as writer:
        writer.label([0, 2], True)
        writer.label([1], False)
    assert_says(root, ["AA", "pA", "AA", "AA"])
    assert main(["dataset", "info", str(root)]) == 0
    assert "labels    success 0,2; failure 1\n" in capsys.readouterr().out
    assert main(["dataset", "label", str(root), "--recorded"]) == 2
    assert "episodes 3 would have no label" in capsys.readouterr().err
    # What is named counts before what was said then.
    assert main(["dataset", "label", str(root), "--recorded", "--failure", "2-3"]) == 0
    dataset = Dataset(root)
    labels = [dataset.episode(k).columns["next.success"].tolist() for k in range(4)]
    assert labels == [[True] * 2, [False] * 2, [False] * 2, [False] * 2]
    edits.delete(root, [0])
    assert Dataset(root).successes() == {0: False, 1: True}


# --- looking ------------------------------------------------------------------------------------


def test_a_person_is_shown_who_drove(tmp_path, capsys):
    root = recorded(tmp_path / "set", EPISODES)
    assert main(["dataset", "info", str(root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["provenance"]
    assert said["frames"] == {
        "hold": 2, "person": 6, "policy": 7, "trajectory": 1, "unknown": 1
    }  # fmt: skip
    assert said["policies"] == [
        {**dataclasses.asdict(A), "episodes": "0"},
        {**dataclasses.asdict(B), "episodes": "0,2"},
    ]
    assert said["interventions"] == {"0": "3-4", "3": "1-2"}
    assert main(["dataset", "info", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"policies  A: act, checkpoint {A.checkpoint[:12]}" in out
    assert "hold 2, person 6, policy 7, trajectory 1, unknown 1 frames" in out
    assert "a person took over in 2 episodes" in out
    plain = tmp_path / "plain"
    with DatasetWriter(plain, PLAIN) as writer:
        record(writer, "pp")
    assert main(["dataset", "info", str(plain), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"] is None


def test_a_page_shows_it_beside_each_episode(tmp_path):
    pytest.importorskip("matplotlib", reason="pages are drawn by matplotlib")
    root = tmp_path / "set"
    with DatasetWriter(root, PLAIN) as writer:
        record(writer, "hAAppA", finish=False)
        writer.finish_episode({}, Latency(2, 0.1, 0.2, 0.3, 0.4))
    assert main(["dataset", "view", str(root), "--output", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page/index.html").read_text()
    said = "hold: 0; person: 3-4; policy A: 1-2,5; observation to chunk 0.300 s, at most 0.400 s"
    assert f"<p>{said} for 99 of 100</p>" in page


@pytest.mark.thorough
def test_a_page_shows_a_persons_rows_by_the_column_where_nothing_else_says_them(tmp_path):
    """As of a dataset that LeRobot recorded."""
    pytest.importorskip("matplotlib", reason="pages are drawn by matplotlib")
    root = recorded(tmp_path / "set", ["AAAA", "pAppA", "pp"])
    shutil.rmtree(root / layout.ledger_path(0).parent)
    draw = ("dataset", "view", str(root), "--output", str(tmp_path / "page"))
    assert main([*draw]) == 0
    page = (tmp_path / "page/index.html").read_text()
    assert "<p>intervention: rows 0-0, 2-3</p>" in page and "<p>intervention: rows 0-1</p>" in page
    assert page.count("intervention") == 2
    plot = tmp_path / "page/episode-000000.png"
    before = plot.read_bytes()
    change_intervention(root, 2, True)
    assert main([*draw]) == 0
    assert plot.read_bytes() != before


@pytest.mark.parametrize(("row", "said"), [(3, False), (0, True)])
def test_a_column_that_contradicts_the_notes_is_found(row, said, tmp_path):
    """Row 3 of episode 0 is a person's, row 0 is held."""
    root = recorded(tmp_path / "set", EPISODES)
    assert not found_differing(root)
    change_intervention(root, row, said)
    (finding,) = found_differing(root)
    assert finding.subject == "intervention of episode 0" and f"the first {row}" in finding.found
    assert str(layout.ledger_path(0)) in finding.fix


def test_what_nobody_knows_contradicts_nothing(tmp_path):
    root = recorded(tmp_path / "set", ["??pp"])
    change_intervention(root, 0, True)
    assert not found_differing(root)


def found_differing(root):
    code = Code.DATASET_INTERVENTION_DIFFERS
    return [one for one in review(root, videos=False).findings if one.code is code]


def change_intervention(root, row, said):
    path = sorted((root / "data").rglob("*.parquet"))[0]
    table = pq.read_table(path)
    place = table.column_names.index(layout.INTERVENTION)
    values = table[layout.INTERVENTION].to_pylist()
    values[row] = said
    pq.write_table(table.set_column(place, layout.INTERVENTION, pa.array(values)), path)


def test_sets_with_and_without_the_column_are_not_merged_and_the_way_is_named(tmp_path, capsys):
    """As LeRobot 0.6.1, which wants the same features."""
    ours = recorded(tmp_path / "ours", EPISODES[:1])
    with DatasetWriter(tmp_path / "plain", PLAIN) as writer:
        record(writer, "??")
    words = ["dataset", "merge", str(ours), str(tmp_path / "plain"), "--output"]
    assert main([*words, str(tmp_path / "one")]) == 2
    said = capsys.readouterr().err
    assert "feature intervention" in said and "remove_feature" in said
    assert not (tmp_path / "one").exists()
