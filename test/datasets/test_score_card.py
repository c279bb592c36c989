"""The score card of `armlet dataset check --page`: complete, safe, the same every time."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_episodes import CONTRACT, made, record
from test_episode_provenance import recorded as driven
from test_lint import recorded

from armlet.cli.main import main
from armlet.datasets import DatasetWriter, score_card
from armlet.datasets.check.quality import review
from armlet.datasets.format import layout
from armlet.datasets.transform import edits

NO_END = {"meta", "img", "br"}


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text; every one is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in NO_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def card(root: Path, **options) -> str:
    return score_card.score_card(root, review(root, **options))


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def change_column(root: Path, key: str, change) -> None:
    """Change a column of the first data file, as a list."""
    path = sorted((root / "data").rglob("*.parquet"))[0]
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index(key)
    values = table[key].to_pylist()
    change(values)
    column = pa.array(values, table.schema[place].type)
    pq.write_table(table.set_column(place, table.schema[place], column), path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return recorded(tmp_path_factory.mktemp("card") / "sound")


@pytest.fixture
def root(sound, tmp_path) -> Path:
    return shutil.copytree(sound, tmp_path / "set")


def areas(page: str) -> dict[str, str]:
    return dict(re.findall(r"<li class='\w*'>([^<]+)<br>([^<]+)</li>", page))


def row(page: str, name: str) -> list[list[str]]:
    """The texts of the cells of every row that begins with this cell."""
    lines = re.findall(rf"<tr><td>{re.escape(name)}</td>(.*?)</tr>", page)
    return [
        [html.unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall("<td>(.*?)</td>", line)]
        for line in lines
    ]


def test_a_card_says_what_the_dataset_is_and_that_nothing_is_wrong(sound):
    page = card(sound)
    Elements(page)
    assert "Fit to train on: nothing wrong was found." in page
    assert set(areas(page).values()) == {"nothing wrong"}
    assert row(page, "episodes") == [["2"]] and row(page, "rows") == [["180 (0 min 6.0 s)"]]
    assert row(page, "rate") == [["30 rows per second"]]
    assert row(page, "robot") == [["so101_follower"]]
    assert row(page, "contract") == [[CONTRACT.signature()]]
    dtype, shape, names, unit, codec = row(page, "observation.state")[0]
    assert (dtype, shape, unit, codec) == ("float32", "6", "degrees, range_0_100", "")
    assert "wrist_flex.pos, wrist_roll.pos, gripper.pos" in names
    assert row(page, "observation.images.front")[0][-1] == "h264"
    # Action and state: the range of the recorded motion.
    action, state = row(page, "shoulder_pan.pos")[:2]
    assert action[0] == state[0] == "degrees" and action[2] == "-30 to 30"
    assert row(page, "images/front")[0][1:] == ["4.0 to 4.0", "4.0", "±30"]
    assert "By their stamps 30.000 rows per second, 30 stated; 0 gaps" in page
    assert float(row(page, "gripper.pos")[2][-1]) == pytest.approx(133, abs=10)  # the lag


def test_a_card_is_one_file_that_runs_nothing_and_is_the_same_every_time(sound):
    page = card(sound)
    found = Elements(page).found
    assert {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in found} == set()
    names = {name for _, attributes in found for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    targets = [a[n] for _, a in found for n in ("src", "href", "xlink:href", "data") if n in a]
    assert len(targets) == 6 and all(t.startswith("data:image/jpeg;base64,") for t in targets)
    assert "url(" not in page and "@import" not in page
    for target in targets:
        content = base64.b64decode(target.partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] == 240 and picture.std() > 5
    assert card(sound) == page


def test_every_finding_has_its_code_severity_place_cause_and_help(root):
    (root / "videos/observation.images.wrist/chunk-000/file-001.mp4").unlink()
    edit(root / layout.STATS, lambda d: d["action"].update(mean=[0.0] * 6))
    found = review(root)
    assert {str(one.severity) for one in found.findings} == {"error"}
    page = card(root)
    text = Elements(page).text
    assert f"Not fit to train on: {found.errors} errors, 0 warnings." in page
    assert areas(page)["statistics"] == "1 error" and areas(page)["videos"] == "1 error"
    for one in found.findings:
        assert f"<span class='{one.severity}'>{one.severity}</span> <code>{one.code}</code>" in page
        assert one.code.meaning in text and one.code.cause.split("`")[0] in text
        place, what, helps = (
            one.subject or "the dataset",
            str(one.found),
            one.fix.replace("`", ""),
        )
        assert [what, helps] in row(page, html.escape(place))
    assert "<code>armlet dataset stats --write</code>" in page


def test_text_from_outside_is_text(tmp_path):
    root = tmp_path / "<b>set & more"
    wild = "pick </td><script>alert(1)</script> '\" onerror=x `armlet <i>` \x1b[2J"
    with DatasetWriter(root, CONTRACT, robot_type="<script>robot</script>") as writer:
        record(writer, 5, wild)
    key = "observation.images.front"
    edit(
        root / layout.INFO,
        lambda d: d["features"][key]["info"].update({"video.codec": "<script>codec"}),
    )
    page = card(root)
    found = Elements(page)
    assert "script" not in {tag for tag, _ in found.found}
    assert "onerror" not in {name for _, attributes in found.found for name in attributes}
    for said in ("alert(1)", "<script>robot</script>", "<script>codec", "<b>set & more"):
        assert said in found.text
    assert "\x1b" not in page and "\\x1b[2J" in page


def test_a_dataset_that_cannot_be_read_has_a_card_that_says_so(root):
    (root / layout.INFO).write_text("{")
    page = card(root)
    Elements(page)
    assert "Not fit to train on: 1 error, 0 warnings. Pictures were not looked at." in page
    assert areas(page) == {
        area: "1 error" if area == "files and rows" else "not looked at" for area in areas(page)
    }
    assert "<code>dataset.metadata-unreadable</code>" in page


def test_rows_that_cannot_be_read_leave_the_rest_of_the_card(root):
    (root / "data/chunk-000/file-001.parquet").write_bytes(b"no parquet")
    page = card(root)
    Elements(page)
    assert row(page, "episodes") == [["2"]]
    assert "<code>dataset.data-unreadable</code>" in page
    assert areas(page)["units"] == "not looked at"


def test_without_videos_the_card_says_that_they_were_not_looked_at(sound):
    page = card(sound, videos=False)
    assert "nothing wrong was found. Pictures were not looked at." in page
    assert areas(page)["videos"] == "not looked at" and "<img" not in page
    assert "No statistics of its colours" not in page and row(page, "red")


def test_values_beyond_their_unit_and_not_finite_are_seen(tmp_path):
    def change(action, state, pictures, skews, k):
        state[:, 5] = 140.0 - state[:, 5]  # a gripper's 0..100, up to 130

    root = recorded(tmp_path / "set", change=change)

    def spoil(values):
        values[7][1] = float("nan")

    change_column(root, layout.STATE, spoil)
    page = card(root)
    Elements(page)
    bars = dict(re.findall(r"<tr><td>(\w+)\.pos</td><td>\w+</td><td>(<svg.*?</svg>)", page))
    assert "#b0413e" in bars["gripper"] and "#b0413e" not in bars["elbow_flex"]
    assert "1 row with values that are not finite." in page
    assert not [drawn for drawn in re.findall("<svg.*?</svg>", page) if "nan" in drawn]


def test_a_card_shows_who_drove_and_which_episodes_succeeded(tmp_path):
    root = driven(tmp_path / "set", ["pppAA", "hhB", "pp"])
    page = card(root)
    said = Elements(page).text
    for text in ("hold 2", "person 5", "policy 3"):
        assert text in said
    assert "Labels" not in page
    edits.label(root, {0: True, 1: False}, True)
    said = Elements(card(root)).text
    assert "Labels, episodes" in said and "success 2" in said and "failure 1" in said


def test_gaps_are_counted(tmp_path):
    root = made(tmp_path / "set", (5, 4))

    def later(values):
        values[3:] = [value + 10**9 for value in values[3:]]

    change_column(root, layout.STAMP, later)
    assert "1 gap, longest step 1033.3 ms" in card(root)


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_bars_of_lengths_stay_in_their_picture(count):
    said = score_card._lengths([1.0 + k for k in range(count)])
    bars = re.findall(r"<rect x='([\d.]+)' y='[\d.]+' width='([\d.]+)' height='([\d.]+)'", said)
    assert len(bars) <= 240
    assert all(float(x) + float(width) <= 1000 and float(h) <= 90 for x, width, h in bars)
    assert f"to {float(count):.2f} s long" in said


# --- where it is written ------------------------------------------------------------------------


def run(*words) -> int:
    return main(["dataset", "check", *map(str, words)])


def test_check_writes_a_card_beside_what_it_prints(root, tmp_path, capsys):
    page = tmp_path / "card.html"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert run(root, "--page", page) == 0
    assert capsys.readouterr().out.endswith(f"nothing wrong\n{page}: written\n")
    first = page.read_text()
    edit(root / layout.STATS, lambda d: d["action"].update(mean=[0.0] * 6))
    assert run(root, "--json", "--page", page) == 1  # its own page is written again
    assert json.loads(capsys.readouterr().out)["errors"] == 1
    assert page.read_text() != first and "Not fit to train on" in page.read_text()
    assert {path for path in root.rglob("*") if path.is_file()} == set(before)


def folder(path):
    path.mkdir()


def notes(path):
    path.write_text("<html><body>my notes</body></html>")


def link(path):
    notes(path.with_name("notes"))
    path.symlink_to(path.with_name("notes"))


def view_of_another_command(path):
    path.write_text("<meta name='generator' content='armlet dataset view'>")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("card.html", notes, "exists already and is not a page of `armlet dataset check`"),
        ("card.html", view_of_another_command, "is not a page of `armlet dataset check`"),
        ("card.html", link, "is not a page of `armlet dataset check`"),
        ("card.html", folder, "found a folder"),
        ("no/card.html", None, "there is no folder"),
        ("card.json", None, "expected a name that ends with .html"),
    ],
)
def test_a_path_is_judged_before_the_work_and_nobody_elses_file_is_touched(
    name, make, message, root, tmp_path, capsys
):
    path = tmp_path / name
    if make is not None:
        make(path)
    there = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    try:
        status = run(root, "--page", path)
    except SystemExit as ended:  # an argument that cannot be used
        status = ended.code
    assert status == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err and said.err.count("\n") == 1
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == there


def test_a_file_that_came_meanwhile_is_kept(root, tmp_path, capsys, monkeypatch):
    path = tmp_path / "card.html"
    drawn = score_card.score_card

    def late(*arguments):
        path.write_text("somebody else's")
        return drawn(*arguments)

    monkeypatch.setattr(score_card, "score_card", late)
    assert run(root, "--page", path) == 1
    assert path.read_text() == "somebody else's"
    assert "exists already" in capsys.readouterr().err
