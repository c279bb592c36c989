"""Datasets as the console shows and edits them, without a server."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from edit_oracle import tree
from made_episodes import CONTRACT, QUICK, made, record

from armlet.console.review import work
from armlet.console.review.compare import Part, compare
from armlet.console.review.episodes import Episode, Filter, Label, Overview, Remark, overview
from armlet.console.review.episodes import statistics as statistics_of
from armlet.console.review.jobs import JobError, Jobs, State
from armlet.console.review.last import last
from armlet.console.review.library import Library, LibraryError, number_of
from armlet.console.review.orders import Order, Verb, parse
from armlet.console.review.tracks import points, tracks
from armlet.console.review.work import run
from armlet.contract import Contract
from armlet.datasets import Dataset, DatasetError, DatasetWriter
from armlet.datasets.format import atomic_files, layout
from armlet.datasets.transform import edits
from armlet.datasets.transform.compact import compact
from armlet.files import FileError

LENGTHS = (5, 3, 4)
GUARD_S = 240.0
HOSTILE = "<img src=x onerror=alert(1)>"
# An order's process that is under way until it is ended.
ENDLESS = (
    sys.executable,
    "-c",
    "import sys; sys.stdin.read(); print('{\"progress\": [1, 3]}', flush=True); "
    "sys.stdin.close(); import signal; signal.pause()",
)


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield made(Path(name) / "cube", LENGTHS)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name).resolve()


@pytest.fixture
def cube(source, folder) -> Path:
    return shutil.copytree(source, folder / "cube")


def stub(root: Path) -> Path:
    """What is found as a dataset, and no more."""
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text("{}")
    return root


# --- which datasets are shown -------------------------------------------------------------------


def test_datasets_are_found_below_the_folder_and_nowhere_else(folder):
    shelf = folder / "shelf"
    inside = [stub(shelf / name) for name in ("cube", "somebody/fold", "a/b/c")]
    stub(shelf / "a/b/c/nested")  # of a dataset's own folder
    stub(shelf / ".hidden/one")
    stub(shelf / "a/b/d/deep")
    outside = stub(folder / "secret")
    (shelf / "link").symlink_to(outside)
    (shelf / "up").symlink_to(folder)
    found = Library([shelf]).look()
    assert {place.root for place in found.places} == set(inside)
    assert [place.name for place in found.places] == ["a/b/c", "cube", "somebody/fold"]
    assert found.whole


def test_a_folder_that_is_a_dataset_is_one(folder):
    library = Library([stub(folder / "cube"), stub(folder / "fold")])
    assert [place.name for place in library.look().places] == ["cube", "fold"]


@contextlib.contextmanager
def a_person_without_rights(folder: Path) -> Iterator[None]:
    """Root reads everything; another person does not."""
    for root in (folder, *folder.parents):
        if root != root.parent and not root.stat().st_mode & 0o005:
            root.chmod(root.stat().st_mode | 0o055)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("closed", ["bad", "bad/meta"])
def test_a_folder_that_is_not_ones_own_hides_no_other(folder, closed):
    good = stub(folder / "good")
    stub(folder / "bad")
    (folder / closed).chmod(0)
    with a_person_without_rights(folder):
        found = Library([folder]).look()
        assert [place.root for place in found.places] == [good] and not found.whole
        with pytest.raises(LibraryError, match="bad"):
            Library([folder / "bad/meta/deeper"])
    (folder / closed).chmod(0o700)


def test_a_name_that_is_no_text_can_be_sent_to_a_browser(folder):
    name = os.fsdecode(b"\xff\xfe %41")
    root = stub(folder / name)
    library = Library([folder])
    (place,) = library.look().places
    assert json.dumps([place.key, place.name], ensure_ascii=False).encode()
    assert urlencode({"dataset": place.key})
    assert library.place(place.key).root == root


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_refused_with_the_reason(folder, name):
    (folder / "file").touch()
    with pytest.raises(LibraryError, match="expected a folder of datasets, found"):
        Library([folder / name])


@pytest.mark.parametrize(
    "key",
    ["", "0", "0/..", "0/../secret", "0//etc", "/etc", "1/cube", "0/cube/../../secret", "0/link"],
)
def test_a_key_leads_to_nothing_but_what_was_found(folder, key):
    stub(folder / "secret")
    stub(folder / "shelf/cube")
    (folder / "shelf/link").symlink_to(folder / "secret")
    with pytest.raises(LibraryError, match="no dataset"):
        Library([folder / "shelf"]).place(key)


def test_a_link_that_takes_the_place_of_a_dataset_is_not_followed(folder):
    secret, cube = stub(folder / "secret"), stub(folder / "shelf/cube")
    library = Library([folder / "shelf"])
    assert library.place("0/cube").root == cube
    shutil.rmtree(cube)
    cube.symlink_to(secret)
    with pytest.raises(LibraryError, match="no dataset"):
        library.place("0/cube")


def test_a_dataset_whose_edit_was_interrupted_is_still_shown(folder):
    (folder / "cube/.edit").mkdir(parents=True)
    (folder / "cube/.edit/journal.json").write_text("{}")
    listed, _ = Library([folder]).listed()
    assert [one.place.name for one in listed] == ["cube"]
    assert "was interrupted" in listed[0].problem


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../out", "a/b", "/tmp/x", ".hidden", "cube", "a\0"]
)
def test_a_new_dataset_goes_into_the_folder_or_nowhere(folder, name):
    stub(folder / "cube")
    with pytest.raises(LibraryError):
        Library([folder]).new_place(0, name)
    assert Library([folder]).new_place(0, "both") == folder / "both"


@pytest.mark.parametrize("text", ["", "-1", "3", "1.0", "0x1", "²", "1" * 5000, "nan"])
def test_a_number_from_a_browser_is_within_its_bounds(text):
    with pytest.raises(LibraryError, match=r"episode: expected 0 to 2"):
        number_of(text, "episode", 3)
    assert number_of("2", "episode", 3) == 2


# --- a dataset and its episodes -----------------------------------------------------------------


def test_an_overview_has_every_episode_with_its_label(cube):
    edits.label(cube, {1: True}, others=False)
    seen = overview(Library([cube.parent]), "0/cube")
    assert seen.problem == ""
    assert [(one.number, one.length, one.tasks) for one in seen.episodes] == [
        (0, 5, ("pick",)),
        (1, 3, ("fold",)),
        (2, 4, ("pick",)),
    ]
    assert [one.label for one in seen.episodes] == [Label.FAILURE, Label.SUCCESS, Label.FAILURE]
    assert [one.name for one in seen.cameras] == ["front", "wrist"]
    assert seen.state == edits.state(cube)


def test_a_label_that_was_given_while_recording_is_shown(cube):
    notes = cube / layout.ledger_path(1)
    notes.parent.mkdir(exist_ok=True)
    notes.write_text(json.dumps({"success": False, "damaged": {"front": [1, 2]}}))
    one = overview(Library([cube]), "0/.").episodes[1]
    assert (one.label, one.damaged) == (Label.FAILURE, 2)


def test_the_newest_episode_is_seen_where_its_folder_was_named(cube, folder):
    library = Library([folder])
    (place,) = library.look().places
    found = last(library, str(cube), 2)
    assert found is not None and (found.key, found.number, found.length) == (place.key, 2, 4)
    # Of this episode alone, as the check of the whole dataset has it.
    whole = [one.said for one in checked(cube) if one.episode == 2]
    assert found.remarks and {one.said for one in found.remarks} <= set(whole)
    assert last(Library([]), str(cube), 2) is None
    for root in ("", "\0", "cube", str(folder), "/" + "x" * 5000):
        assert last(library, root, 2) is None
    gone = last(library, str(cube), 3)
    assert gone is not None and "episode 3 is not there" in gone.problem


def checked(root):
    """What `armlet dataset check` says, without pictures."""
    found = run(Order(Verb.CHECK, (str(root),), videos=False))["findings"]
    return [Remark.parse(one) for one in found]


def test_what_cannot_be_read_is_said_and_hides_no_other(cube):
    stub(cube.parent / "broken")
    library = Library([cube.parent])
    assert "codebase_version" in overview(library, "0/broken").problem
    assert [one.problem == "" for one in library.listed()[0]] == [False, True]


def test_a_dataset_is_read_again_once_it_is_another(cube):
    library = Library([cube.parent])
    before = library.open("0/cube")
    assert library.open("0/cube") is before
    edits.delete(cube, [0])
    assert len(library.open("0/cube").episodes) == 2


EPISODES = (
    Episode(0, 30, 1.0, ("pick",), Label.SUCCESS, codes=("dataset.jump",)),
    Episode(1, 60, 2.0, ("fold",), Label.FAILURE, driven="policy 0: 0-59"),
    Episode(2, 90, 3.0, ("pick", "fold"), Label.NONE, codes=("dataset.outlier", "dataset.jump")),
    Episode(3, 120, 4.0, ("pick",), Label.NONE, damaged=1),
)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(codes=frozenset({"dataset.outlier"})), [2]),
        (Filter(codes=frozenset({"dataset.outlier", "dataset.jump"})), [0, 2]),
        (Filter(labels=frozenset({Label.NONE})), [2, 3]),
        (Filter(labels=frozenset({Label.SUCCESS, Label.FAILURE})), [0, 1]),
        (Filter(task="fold"), [1, 2]),
        (Filter(shortest_s=2.0), [1, 2, 3]),
        (Filter(shortest_s=2.0, longest_s=3.0), [1, 2]),
        (Filter(noted=True), [1, 3]),
        (Filter(task="pick", labels=frozenset({Label.NONE}), longest_s=3.5), [2]),
    ],
)
def test_a_filter_leaves_those_that_are_asked_for(wanted, numbers):
    assert [one.number for one in wanted.chosen(EPISODES)] == numbers


def test_remarks_come_to_their_episodes_and_those_of_the_whole_to_none():
    remarks = [
        Remark("dataset.jump", "warning", "episode 1", "", "", 1),
        Remark("dataset.jump", "warning", "episode 1, elbow", "", "", 1),
        Remark("dataset.statistics-wrong", "error", "", "", "", None),
    ]
    seen = Overview(None, episodes=EPISODES).with_remarks(remarks)
    assert [one.codes for one in seen.episodes] == [(), ("dataset.jump",), (), ()]


# --- an episode over time -----------------------------------------------------------------------


def test_all_tracks_of_an_episode_have_one_time_also_in_a_shared_file(source, folder):
    compact(source, folder / "shared")
    dataset = Dataset(folder / "shared")
    found = tracks(dataset, 1)
    assert found.problem == ""
    assert (found.fps, found.length) == (30, 3)
    assert [plot.name for plot in found.plots] == list(CONTRACT.state_names)
    rows, values = found.plots[2].state
    assert rows == [0, 1, 2]
    assert values == dataset.episode(1).state[:, 2].tolist()
    # Behind the five pictures of the episode before it.
    assert [(v.camera, v.from_s, v.to_s) for v in found.videos] == [
        ("front", pytest.approx(5 / 30), pytest.approx(8 / 30)),
        ("wrist", pytest.approx(5 / 30), pytest.approx(8 / 30)),
    ]
    assert json.dumps([plot.state for plot in found.plots], allow_nan=False)


def test_an_absent_video_is_said_and_the_rest_is_shown(cube):
    for path in cube.glob("videos/*front*/**/*.mp4"):
        path.unlink()
    found = tracks(Dataset(cube), 0)
    assert len(found.plots) == 6
    assert "is absent" in found.videos[0].problem
    assert found.videos[1].problem == ""


def test_a_long_line_keeps_its_peaks_and_its_ends():
    values = np.zeros(100_000)
    values[[777, 54_321]] = 5.0, -7.0
    values[99_000] = np.nan
    rows, shown = points(values, most=200)
    assert len(rows) <= 202
    assert (rows[0], rows[-1]) == (0, 99_999)
    assert dict(zip(rows, shown, strict=True))[777] == 5.0
    assert dict(zip(rows, shown, strict=True))[54_321] == -7.0
    assert rows == sorted(set(rows))


def test_values_that_are_not_finite_are_gaps():
    assert points(np.array([1.0, np.nan, np.inf])) == ([0, 1, 2], [1.0, None, None])


# --- two datasets -------------------------------------------------------------------------------


def test_what_differs_between_two_datasets_is_named(source, folder):
    other = Contract(
        fps=30,
        cameras=CONTRACT.cameras[:1],
        state_names=CONTRACT.state_names,
        action_names=CONTRACT.action_names,
        joint_units="range_m100_100",
        alignment=CONTRACT.alignment,
        calibration="another",
    )
    made(folder / "other", (4,), contract=other)
    lines = compare(Dataset(source), Dataset(folder / "other"))
    differ = {(line.part, line.item) for line in lines if line.differs}
    assert (Part.FEATURES, "observation.images.wrist") in differ
    assert (Part.CONTRACT, "joint units") in differ
    assert (Part.CONTRACT, "calibration") in differ
    assert (Part.STATISTICS, "action shoulder_pan.pos") in differ
    assert (Part.FEATURES, "action") not in differ
    assert (Part.DATASET, "fps") not in differ


def test_a_dataset_does_not_differ_from_itself(source):
    assert not any(line.differs for line in compare(Dataset(source), Dataset(source)))


def test_statistics_are_those_that_are_stored(source):
    found = {(one.feature, one.element): one for one in statistics_of(Dataset(source))}
    stored = Dataset(source).statistics["action"]
    one = found["action", "gripper.pos"]
    assert one.values["mean"] == stored["mean"][5]
    assert one.unit == Dataset(source).contract.units_by_name().get("gripper.pos", "")
    assert ("observation.images.front", "blue") in found
    assert not any(feature == "timestamp" for feature, _ in found)


# --- edits --------------------------------------------------------------------------------------


def test_an_order_is_a_plan_until_it_says_write(cube):
    before = tree(cube)
    done = run(Order(Verb.DELETE, (str(cube),), episodes=(1,), seen=edits.state(cube)))
    assert done["said"] == "delete episodes 1"
    assert any("moves to .trash" in line for line in done["lines"])
    assert tree(cube) == before


@pytest.mark.representatives(1)
@pytest.mark.parametrize(
    ("order", "lengths"),
    [
        ({"verb": Verb.DELETE, "episodes": (0,)}, [3, 4]),
        ({"verb": Verb.TRIM, "episodes": (0, 2), "first": 1, "last": 2}, [2, 3, 1]),
        ({"verb": Verb.RELABEL, "episodes": (1,), "task": HOSTILE}, [5, 3, 4]),
        ({"verb": Verb.LABEL, "labels": {"1": True}, "others": False}, [5, 3, 4]),
    ],
)
def test_an_edit_is_that_of_the_command_and_is_taken_back(cube, order, lengths):
    before = tree(cube)
    done = run(Order(roots=(str(cube),), write=True, seen=edits.state(cube), **order))
    assert ".trash" in done["where"]
    seen = overview(Library([cube]), "0/.")
    assert [one.length for one in seen.episodes] == lengths
    if order["verb"] is Verb.RELABEL:
        assert seen.episodes[1].tasks == (HOSTILE,)
    run(Order(Verb.UNDO, (str(cube),), write=True, seen=seen.state))
    assert tree(cube) == before


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    "order",
    [
        {"verb": Verb.DELETE, "episodes": (0,)},
        {"verb": Verb.TRIM, "episodes": (0,), "first": 1},
        {"verb": Verb.RELABEL, "episodes": (0,), "task": "turn"},
        {"verb": Verb.LABEL, "labels": {"0": True}, "others": True},
        {"verb": Verb.UNDO},
    ],
)
def test_an_edit_of_what_nobody_looked_at_is_refused(cube, order):
    """Somebody else took an episode out meanwhile: numbers are of other episodes."""
    seen = edits.state(cube)
    edits.delete(cube, [0])
    before = tree(cube)
    with pytest.raises(DatasetError, match="was changed since it was looked at"):
        run(Order(roots=(str(cube),), write=True, seen=seen, **order))
    assert tree(cube) == before


def test_recording_is_a_change_too(cube):
    seen = edits.state(cube)
    with DatasetWriter(cube, CONTRACT) as writer:
        record(writer, 2)
    assert edits.state(cube) != seen


@pytest.mark.thorough
def test_datasets_become_one_new_one(cube, folder):
    other = shutil.copytree(cube, folder / "other")
    order = Order(Verb.MERGE, (str(cube), str(other)), output=str(folder / "both"))
    assert run(order)["said"].endswith("both: 6 episodes, 24 frames")
    assert not (folder / "both").exists()
    run(Order(Verb.MERGE, order.roots, write=True, output=order.output))
    assert len(Dataset(folder / "both").episodes) == 6


@pytest.mark.thorough
def test_statistics_are_compared_and_written(cube):
    stored = cube / layout.STATS
    document = json.loads(stored.read_text())
    document["action"]["mean"][0] += 5.0
    stored.write_text(json.dumps(document))
    order = Order(Verb.STATS, (str(cube),), videos=False)
    assert any("action" in line for line in run(order)["lines"])
    run(Order(Verb.STATS, (str(cube),), videos=False, write=True))
    assert not any("action" in line for line in run(order)["lines"])


@pytest.mark.parametrize("document", [{"verb": "rm", "roots": []}, {"verb": "check"}, [], "check"])
def test_what_is_no_order_is_refused(document):
    with pytest.raises(FileError):
        parse(document)


def test_an_order_travels_as_json():
    order = Order(Verb.LABEL, ("a", "b"), True, "x", (1, 2), labels={"1": True}, others=False)
    assert parse(json.loads(json.dumps(order.to_json()))) == order


# --- jobs ---------------------------------------------------------------------------------------


@pytest.fixture
def endless() -> Iterator[Jobs]:
    jobs = Jobs(ENDLESS)
    yield jobs
    for process in list(jobs._processes.values()):
        process.kill()
    jobs.close()


def under_way(jobs: Jobs, order: Order):
    """A job that has said how far it is."""
    job, said = jobs.begin(order), threading.Event()
    with jobs._ended:
        assert jobs._ended.wait_for(lambda: jobs._jobs[job.number].progress == (1, 3), GUARD_S)
    said.set()
    return job


def test_a_check_runs_in_a_process_of_its_own_and_says_what_it_found(cube):
    jobs = Jobs()
    job = jobs.begin(Order(Verb.CHECK, (str(cube),), videos=False))
    done = jobs.wait(job.number, GUARD_S)
    assert (done.state, done.error) == (State.DONE, "")
    remarks = [Remark.parse(found) for found in done.result["findings"]]
    assert "dataset.episode-short" in {remark.code for remark in remarks if remark.episode == 0}
    assert "Pictures were not looked at" in done.result["card"]
    assert jobs.of(str(cube)) == done
    jobs.close()


def test_an_edit_while_another_runs_is_refused_and_one_of_another_dataset_is_not(endless):
    under_way(endless, Order(Verb.DELETE, ("a",), write=True))
    with pytest.raises(JobError, match="delete of a is still running"):
        endless.begin(Order(Verb.TRIM, ("a",), write=True))
    with pytest.raises(JobError, match="delete of a is still running"):
        endless.begin(Order(Verb.MERGE, ("b", "a")))
    endless.begin(Order(Verb.CHECK, ("b",)))
    with pytest.raises(JobError, match="2 others are still running"):
        endless.begin(Order(Verb.CHECK, ("c",)))


def test_a_check_is_stopped_and_an_edit_is_not(endless):
    check = under_way(endless, Order(Verb.CHECK, ("a",)))
    edit = under_way(endless, Order(Verb.DELETE, ("b",), write=True))
    endless.stop(check.number)
    ended = endless.wait(check.number, GUARD_S)
    assert (ended.state, "ended (-9)" in ended.error) == (State.ENDED, True)
    with pytest.raises(JobError, match="not stopped in its middle"):
        endless.stop(edit.number)
    assert endless.get(edit.number).state is State.RUNNING
    endless.close()  # the console ends: the edit goes on
    assert endless._processes[edit.number].poll() is None
    with pytest.raises(JobError, match="the console is ending"):
        endless.begin(Order(Verb.CHECK, ("d",)))


def test_a_process_that_was_killed_is_said_to_be(endless):
    edit = under_way(endless, Order(Verb.DELETE, ("b",), write=True))
    os.kill(endless._processes[edit.number].pid, signal.SIGKILL)
    ended = endless.wait(edit.number, GUARD_S)
    assert ended.state is State.ENDED
    assert ended.error == "the process of delete ended (-9) before it was done"
    endless.begin(Order(Verb.DELETE, ("b",), write=True))  # the dataset is free again


def test_a_recorder_has_the_dataset_so_an_edit_says_the_commands_sentence(cube):
    handle = atomic_files.lock(cube)
    try:
        with pytest.raises(DatasetError, match="being written by another recorder"):
            run(Order(Verb.DELETE, (str(cube),), episodes=(0,), write=True))
    finally:
        atomic_files.unlock(handle)


def test_an_edit_that_was_killed_is_shown_and_finished(cube, monkeypatch):
    """As a kill leaves it: the journal is decided on, and no file is replaced yet."""
    from armlet.datasets.format import edit_journal

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(edit_journal, "_apply", killed)
        edits.delete(cube, [0])
    library = Library([cube.parent])
    seen = overview(library, "0/cube")
    assert "was interrupted while files were replaced" in seen.problem
    assert seen.episodes == ()
    planned = run(Order(Verb.REPAIR, (str(cube),)))
    assert planned["lines"]
    run(Order(Verb.REPAIR, (str(cube),), write=True))
    assert [one.length for one in overview(library, "0/cube").episodes] == [3, 4]


@pytest.mark.parametrize("verb", [Verb.DELETE, Verb.MERGE])
def test_on_a_full_disk_nothing_is_changed_and_the_dataset_is_named(
    cube, folder, verb, monkeypatch
):
    """The system's error names no file."""

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    other = shutil.copytree(cube, folder / "other")
    before = tree(cube)
    roots = (str(cube), str(other)) if verb is Verb.MERGE else (str(cube),)
    output = folder / "both"
    order = Order(verb, roots, write=True, episodes=(0,), output=str(output))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        run(order)
    assert caught.value.filename == str(output if verb is Verb.MERGE else cube)
    assert tree(cube) == before and not output.exists()


def test_an_order_that_is_too_long_is_refused_and_not_cut_short():
    order = Order(Verb.RELABEL, ("cube",), write=True, task="x" * (1 << 20))
    with pytest.raises(FileError, match="longer than 1,048,576 letters, so nothing was done"):
        work.read_order(io.StringIO(json.dumps(order.to_json())))


@pytest.mark.thorough
def test_a_console_that_is_gone_does_not_end_an_edit(cube):
    """Nobody reads what the process says, and it is done all the same."""
    order = Order(Verb.DELETE, (str(cube),), write=True, episodes=(0,), seen=edits.state(cube))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        process = subprocess.run(
            [sys.executable, "-m", "armlet.console.review.work"],
            input=json.dumps(order.to_json()).encode(),
            stdout=nobody,
            timeout=GUARD_S,
            check=False,
        )
    assert process.returncode == 0
    assert len(Dataset(cube).episodes) == 2


@pytest.mark.thorough
def test_the_page_of_datasets_needs_no_ros():
    script = (
        "import sys\n"
        "import armlet.console.review.work, armlet.console.review.jobs\n"
        "import armlet.console.review.compare, armlet.console.review.tracks\n"
        "assert not {'rclpy', 'nicegui', 'starlette'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=GUARD_S)
