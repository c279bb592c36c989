"""Datasets named as repositories of a Hub on this computer, read by the real huggingface_hub."""

import json
import shutil
import sys
from pathlib import Path

import pytest

constants = pytest.importorskip("huggingface_hub.constants", reason="no huggingface_hub")

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "datasets"), str(TESTS / "policies")]

import hub_server  # noqa: E402
from made_episodes import CONTRACT  # noqa: E402
from test_lint import recorded  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.datasets import Dataset, check  # noqa: E402
from armlet.datasets.format import layout  # noqa: E402
from armlet.datasets.transform import edits  # noqa: E402

NAME = "hub:me/cube"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("hub") / "sound")


def files_of(root):
    paths = [path for path in root.rglob("*") if path.is_file() and ".trash" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def upload(hub, root, name="datasets/me/cube"):
    repository = hub.repositories.setdefault(name, hub_server.Repository(private=True))
    repository.commits.append(files_of(root))
    return repository.head


@pytest.fixture
def hub(sound, tmp_path, monkeypatch):
    """One dataset is there."""
    monkeypatch.chdir(tmp_path)
    with hub_server.logged_in(tmp_path, monkeypatch) as server:
        upload(server, sound)
        yield server


@pytest.fixture
def away(hub, monkeypatch):
    """Take the Hub off the network; its address then."""

    def take():
        hub_server.point_at("http://127.0.0.1:9", monkeypatch)
        return "http://127.0.0.1:9"

    return take


def run(*words):
    return main(["dataset", *map(str, words)])


def fetched(hub):
    """The folders of the files that were downloaded."""
    return {one.split("/")[6] for one in hub.seen if one.startswith("GET") and "/resolve/" in one}


def refusal(capsys, *words):
    """What a command that ends with status 2 says, which is one line."""
    capsys.readouterr()
    assert main(list(map(str, words))) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_dataset_is_read_as_if_it_were_here(hub, sound, capsys):
    for verb in ("check", "stats"):
        assert run(verb, sound) == run(verb, NAME) == 0
        here, there = capsys.readouterr().out.split(f"{sound}: ", 1)[1].split("\n", 1)
        assert there.rpartition("\n")[0].endswith(here)
    assert len(Dataset(NAME).episodes) == 2
    assert run("view", NAME, "--episode", "1") == 0
    assert Path("cube-view/index.html").is_file()


def test_info_fetches_the_metadata_alone_and_says_so(hub, sound, capsys):
    assert run("info", NAME, "--json") == 0
    there = json.loads(capsys.readouterr().out)
    assert fetched(hub) == {"meta"}
    assert run("info", sound, "--json") == 0
    here = json.loads(capsys.readouterr().out)
    own = {"root": NAME, "size_bytes": None, "problems": None}
    assert there == here | own
    assert run("info", NAME) == 0
    assert f"`armlet dataset check {NAME}`" in capsys.readouterr().out


def test_what_needs_no_pictures_fetches_none(hub, capsys):
    assert run("stats", NAME, "--no-video") == 0
    assert fetched(hub) == {"meta", "data"}
    said = refusal(capsys, "replay", NAME, "--episode", 9)
    assert "has episodes 0..1, not 9" in said and fetched(hub) == {"meta", "data"}


def test_a_revision_is_a_tag_or_a_commit_and_the_newest_is_the_default(hub, sound, tmp_path):
    first = hub.repositories["datasets/me/cube"].head
    hub.repositories["datasets/me/cube"].tags["v3.0"] = first
    edits.delete(shutil.copytree(sound, tmp_path / "less"), [0])
    upload(hub, tmp_path / "less")
    lengths = [len(Dataset(f"{NAME}{at}").episodes) for at in ("", "@v3.0", f"@{first}", "@main")]
    assert lengths == [1, 2, 2, 1]


def test_new_datasets_are_made_of_it(hub, sound, tmp_path):
    assert run("split", NAME, "a=0", "b=1", "--output", "parts") == 0
    assert run("merge", NAME, "parts/a", "--output", "merged") == 0
    assert run("compact", NAME, "compacted") == 0
    assert run("convert", NAME, "older") == 0
    for made in ("parts/a", "parts/b", "merged", "compacted", "older"):
        assert check(Path(made)) == []
        assert not any(path.is_symlink() for path in Path(made).rglob("*"))
    (tmp_path / "lost").mkdir()
    shutil.copytree(sound, "lost", dirs_exist_ok=True)
    Path("lost", layout.CONTRACT).unlink()
    assert run("bind", "lost", "--from", NAME) == 0
    assert Dataset("lost").contract == CONTRACT


@pytest.mark.parametrize(
    "words",
    [
        ("delete", NAME, "0"),
        ("trim", NAME, "0", "--to", "3"),
        ("relabel", NAME, "--to", "pick"),
        ("label", NAME, "--success", "0"),
        ("undo", NAME),
        ("repair", NAME),
        ("bind", NAME),
        ("stats", NAME, "--write"),
        ("push", f"{NAME}@main", "hub:me/other"),
    ],
    ids=lambda words: words[0],
)
def test_it_is_never_changed(words, hub, capsys):
    try:
        status = run(*words)
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert status == 2 and said.count("\n") == 1 and "usage" not in said
    assert "copy it first: hf download me/cube --repo-type dataset --local-dir DIR" in said
    assert hub.seen == []


def test_nothing_is_written_to_a_repository_in_its_place(hub, sound, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("convert", sound, "hub:me/new")
    assert "then `armlet dataset push`" in capsys.readouterr().err
    pytest.importorskip("rclpy", reason="the ros extra is not installed")
    assert main(["up", "record", "emulated:=true", "task:=pick", "root:=hub:me/new"]) == 2
    assert "then `armlet dataset push`" in capsys.readouterr().err
    assert not list(Path.cwd().glob("hub*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hub:cube", ["expected hub:owner/name or hub:owner/name@revision"]),
        ("hub:me/ball", ["{url} refused (", "check name and revision"]),
        ("hub:me/cube@v9", ["{url} refused (", "check name and revision"]),
        ("hub:me/text", ["no meta/info.json"]),
    ],
)
def test_what_cannot_be_had_is_one_line(name, words, hub, tmp_path, capsys):
    (tmp_path / "text/data").mkdir(parents=True)
    (tmp_path / "text/data/large.parquet").write_text("large")
    upload(hub, tmp_path / "text", "datasets/me/text")
    for command in (("dataset", "check", name), ("replay", name, "--episode", 0)):
        said = refusal(capsys, *command)
        assert all(each.format(url=hub.url) in said for each in words), said
    assert fetched(hub) == set()


def test_offline_what_was_fetched_is_read(hub, away):
    assert run("check", NAME) == 0
    away()
    assert run("check", NAME) == 0 and run("info", NAME) == 0


def test_offline_what_was_not_fetched_names_the_server(hub, away, capsys, monkeypatch):
    url = away()
    said = refusal(capsys, "dataset", "check", NAME)
    assert f"{url} cannot be reached" in said and "check the network and HF_ENDPOINT" in said
    hub_server.go_offline(monkeypatch)
    said = refusal(capsys, "dataset", "check", NAME)
    assert url in said and "unset HF_HUB_OFFLINE" in said


def older_hub(monkeypatch):
    """huggingface_hub before 2 takes whatever part of a commit is in its cache for all of it."""
    import huggingface_hub

    def snapshot_download(*arguments, **options):
        try:
            return newest(*arguments, **options)
        except huggingface_hub.errors.LocalEntryNotFoundError:
            kept = sorted(Path(constants.HF_HUB_CACHE).glob("*/snapshots/*"))
            return str(kept[0])

    newest = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


@pytest.mark.parametrize("older", [False, True])
def test_offline_a_part_is_not_taken_for_all(older, hub, away, capsys, monkeypatch):
    assert run("info", NAME) == 0
    url = away()
    if older:
        older_hub(monkeypatch)
    said = refusal(capsys, "dataset", "check", NAME)
    assert url in said and "check the network and HF_ENDPOINT" in said
    assert run("info", NAME) == 0


def test_a_file_that_is_gone_on_the_hub_too_is_for_check_to_say(hub, sound, tmp_path, capsys):
    broken = shutil.copytree(sound, tmp_path / "broken")
    next(broken.rglob("*.mp4")).unlink()
    upload(hub, broken)
    assert run("check", NAME) == 1
    assert "dataset.file-missing" in capsys.readouterr().out


def test_without_the_package_it_is_named(hub, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert run("check", NAME) == 1
    assert "pip install huggingface_hub" in capsys.readouterr().err


@pytest.mark.thorough
def test_policies_are_trained_and_judged_by_it(hub, sound, tmp_path, capsys):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    trained = tmp_path / "trained"
    short = ("--steps", "2", "--batch-size", "2")
    assert main(["train", "--dataset", NAME, "--output", str(trained), *short]) == 0
    capsys.readouterr()
    for words in (
        ("check", "--checkpoint", trained, "--dataset", NAME, "--probes", "0"),
        ("bind", trained, "--dataset", NAME),
        ("compare", NAME, sound, "--checkpoint", trained),
        ("evaluate", trained, "--dataset", NAME, "--chunks", "2", "--episodes", "0"),
    ):
        status, said = main(["policy", *map(str, words)]), capsys.readouterr()
        assert status in (0, 1) and not said.err, said  # two steps teach it little
