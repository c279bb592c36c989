"""Datasets and checkpoints pushed to a Hub on this computer, by the real huggingface_hub."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

constants = pytest.importorskip("huggingface_hub.constants", reason="no huggingface_hub")

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))

import hub_server  # noqa: E402
from made_episodes import CONTRACT, record  # noqa: E402
from offline import SHARED, has_oracle, oracle  # noqa: E402
from test_lint import recorded  # noqa: E402

from armlet.cli.main import main  # noqa: E402
from armlet.datasets import DatasetWriter, check  # noqa: E402
from armlet.datasets.format import layout  # noqa: E402
from armlet.datasets.transform import edits  # noqa: E402


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub, and this process logged in to it, as HF_ENDPOINT and HF_TOKEN would do."""
    with hub_server.logged_in(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("push") / "sound")


@pytest.fixture
def root(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "set")


def push(root, name="hub:me/cube", *options):
    return main(["dataset", "push", str(root), name, *options])


def files_of(root):
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def written(hub):
    """Requests that change something on the server."""
    return [one for one in hub.seen if one.startswith(("POST", "PUT", "DELETE"))]


def the(hub, name="datasets/me/cube"):
    return hub.repositories[name]


def card_of(repository):
    return repository.files["README.md"].decode()


def test_a_dataset_is_pushed_whole_private_and_tagged_and_stays_as_it_is_here(hub, root, capsys):
    before = files_of(root)
    assert push(root) == 0
    repository = the(hub)
    assert repository.private and len(repository.commits) == 2
    assert repository.tags == {"v3.0": repository.head}
    pushed = dict(repository.files)
    assert pushed.pop("README.md").startswith(b"---\ntags:\n- LeRobot\n")
    del pushed[".gitattributes"]
    assert pushed == before == files_of(root)
    said = capsys.readouterr()
    assert said.out == (
        f"hub:me/cube: {len(before) + 1} files, tagged v3.0; {hub.url}/datasets/me/cube\n"
    )


def test_what_was_pushed_is_the_dataset_again(hub, root, tmp_path):
    from huggingface_hub import snapshot_download

    assert push(root) == 0
    there = snapshot_download(
        "me/cube", repo_type="dataset", revision="v3.0", local_dir=tmp_path / "again"
    )
    assert check(Path(there)) == []


def test_trash_hidden_and_temporary_files_stay_here(hub, root):
    edits.delete(root, [0])  # what is replaced is in the trash
    wanted = {name for name in files_of(root) if not name.startswith(".")}
    assert any(name.startswith(".trash/") for name in files_of(root))
    (root / ".edit").mkdir()
    for name in (".edit/file.parquet", "data/.file-000.parquet.0.new", "meta/.armlet-x.new"):
        (root / name).write_text("temporary")
    (root / "videos/.hidden").mkdir()
    (root / "videos/.hidden/secret.mp4").write_text("hidden")
    (root / "notes-of-mine.txt").write_text("not of the dataset")
    (root / "LICENSE").write_text("of the dataset")
    assert push(root, "hub:me/cube", "--no-video", "--allow-errors") == 0
    assert set(the(hub).files) == wanted | {"README.md", "LICENSE", ".gitattributes"}


def test_a_card_of_ones_own_is_pushed_and_one_on_the_hub_is_kept(hub, root):
    (root / "README.md").write_text("# My own")
    assert push(root) == 0
    assert card_of(the(hub)) == "# My own"
    (root / "README.md").unlink()
    edits.relabel(root, "fold", [0])
    assert push(root, "hub:me/cube", "--update") == 0
    assert card_of(the(hub)) == "# My own"


def test_a_card_that_a_person_made_on_the_hub_is_kept(hub, root):
    hub.repositories["datasets/me/cube"] = hub_server.Repository(private=True)
    the(hub).files["README.md"] = b"# Made there"
    assert push(root) == 0
    assert card_of(the(hub)) == "# Made there" and the(hub).tags


def test_nothing_is_pushed_that_a_link_leads_to_elsewhere(hub, root, tmp_path, capsys):
    (tmp_path / "token").write_text("secret")
    (root / "meta/more.json").symlink_to(tmp_path / "token")
    assert push(root, "hub:me/cube", "--allow-errors") == 2
    assert "more.json" in capsys.readouterr().err and hub.seen == []


def test_a_dataset_with_errors_is_pushed_only_when_asked(hub, root, capsys):
    (root / "videos/observation.images.wrist/chunk-000/file-001.mp4").unlink()
    assert push(root) == 2
    said = capsys.readouterr().err
    assert "file-001.mp4 is absent" in said and "nothing was uploaded" in said
    assert "--allow-errors" in said and written(hub) == []
    assert push(root, "hub:me/cube", "--allow-errors") == 0
    assert the(hub).tags


def test_a_new_version_replaces_files_and_moves_the_tag(hub, root, capsys):
    assert push(root) == 0
    first, head = set(the(hub).files), the(hub).head
    edits.delete(root, [0])
    assert push(root) == 2
    said = capsys.readouterr().err
    assert "hub:me/cube exists already and holds something else; --update" in said
    assert the(hub).head == head
    assert push(root, "hub:me/cube", "--update") == 0
    pushed = the(hub)
    here = {name for name in files_of(root) if not name.startswith(".")}
    assert set(pushed.files) == here | {"README.md", ".gitattributes"}
    assert first - set(pushed.files)  # the deleted episode's are gone
    assert pushed.tags == {"v3.0": pushed.head} and pushed.head != head


def test_the_same_again_changes_nothing(hub, root):
    assert push(root) == 0
    before = written(hub)
    assert push(root) == 0
    assert written(hub) == before and len(the(hub).commits) == 2


@pytest.mark.representatives(2)
@pytest.mark.parametrize(
    "broken", ["PUT /lfs", "/objects/batch", "/commit/main", "/tag/", "/preupload/", "/create"]
)
def test_an_interrupted_push_is_done_again(broken, hub, root, capsys):
    hub.faults[broken] = [400]
    assert push(root) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "hub:me/cube" in said and ("out of order" in said or "400" in said)
    assert push(root) == 0
    assert the(hub).tags == {"v3.0": the(hub).head}
    assert len(the(hub).commits) == 2 and the(hub).private


def test_a_tag_that_was_taken_away_by_an_interrupted_push_comes_back(hub, root):
    assert push(root) == 0
    edits.delete(root, [0])
    hub.faults["POST /api/datasets/me/cube/tag/"] = [500]
    assert push(root, "hub:me/cube", "--update") == 1
    assert the(hub).tags == {}
    assert push(root) == 0  # it holds just this: no --update is needed
    assert the(hub).tags == {"v3.0": the(hub).head}


def test_a_connection_that_ends_is_said_and_the_push_done_again(hub, root, capsys):
    hub.faults["POST /api/datasets/me/cube/tag/"] = [0]
    assert push(root) == 1
    said = capsys.readouterr().err
    assert f"{hub.url} cannot be reached" in said and "push again" in said
    assert said.count("\n") == 1
    assert push(root) == 0
    assert the(hub).tags == {"v3.0": the(hub).head} and len(the(hub).commits) == 2


def test_a_push_of_somebody_else_meanwhile_is_not_undone(hub, root, monkeypatch, capsys):
    from armlet import hub as module

    assert push(root) == 0
    edits.relabel(root, "fold", [0])
    looked = module.look

    def then_another(repository):
        found = looked(repository)
        the(hub).commits.append({**the(hub).files, "meta/theirs.json": b"{}"})
        return found

    monkeypatch.setattr(module, "look", then_another)
    assert push(root, "hub:me/cube", "--update") == 1
    assert "a commit has happened since" in capsys.readouterr().err
    assert the(hub).files["meta/theirs.json"] == b"{}"


def test_public_is_only_what_is_asked_to_be(hub, root, capsys):
    assert push(root, "hub:lab/cube", "--public") == 0
    assert not the(hub, "datasets/lab/cube").private
    edits.relabel(root, "fold", [0])
    before = written(hub)
    assert push(root, "hub:lab/cube", "--update") == 2
    assert "hub:lab/cube is public; --public pushes into it" in capsys.readouterr().err
    assert written(hub) == before
    assert push(root, "hub:lab/cube", "--update", "--public") == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:cube", "expected hub:owner/name"),
        ("me/cube", "expected hub:owner/name"),
        ("hub:me/cube@v3.0", "without a revision"),
        ("hub:nobody/cube", "there is no owner nobody, or this token may not write there"),
    ],
)
def test_a_repository_that_cannot_be_is_refused(name, message, hub, root, capsys):
    assert push(root, name) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and hub.repositories == {}
    if "nobody" in name:
        assert "it is of me, lab" in said


def test_without_a_login_or_a_server_nothing_is_begun(hub, root, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert push(root) == 2
    said = capsys.readouterr().err
    assert hub.url in said and "the token is not valid there" in said
    monkeypatch.delenv("HF_TOKEN")
    assert push(root) == 2
    assert (
        f"not logged in to {hub.url}; `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err
    )
    monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert push(root) == 2
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9 cannot be reached" in said and "HF_ENDPOINT" in said
    assert said.count("\n") == 1 and written(hub) == []


def test_a_server_that_takes_what_it_is_asked_and_says_nothing(hub, root, monkeypatch, capsys):
    from armlet import hub as module

    monkeypatch.setattr(module, "_ANSWER_S", 0.5)
    hub.silent = "GET /api/whoami-v2"
    assert push(root) == 2
    said = capsys.readouterr().err
    assert f"{hub.url} does not answer: nothing came or went for 0.5 s; check the" in said
    assert said.count("\n") == 1 and written(hub) == []


def test_a_socket_that_takes_connections_and_says_nothing(hub, root, monkeypatch, capsys):
    """Not even the request is read."""
    from armlet import hub as module

    monkeypatch.setattr(module, "_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert push(root) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.representatives(1)
@pytest.mark.parametrize("asked", ["POST /api/repos/create", "/commit/main", "/tag/"])
def test_a_server_that_falls_silent_ends_a_push_that_can_be_done_again(
    asked, hub, root, monkeypatch, capsys
):
    from armlet import hub as module

    monkeypatch.setattr(module, "_STALLED_S", 0.5)
    hub.silent = asked
    assert push(root) == 1
    said = capsys.readouterr().err
    assert "does not answer: nothing came or went for 0.5 s" in said and said.count("\n") == 1
    hub.silent = None
    monkeypatch.setattr(module, "_STALLED_S", 120.0)
    assert push(root) == 0
    assert the(hub).tags == {"v3.0": the(hub).head} and len(the(hub).commits) == 2


@pytest.mark.wall_clock(7)
def test_a_server_that_is_slow_and_goes_on_is_not_cut_off(hub, root, monkeypatch):
    """Its answer takes longer than it may be silent for: 20 pieces, 0.3 s apart."""
    from armlet import hub as module

    monkeypatch.setattr(module, "_ANSWER_S", 5.0)
    hub.slow = ("GET /api/whoami-v2", 0.3)
    assert push(root, "hub:me/cube", "--no-video") == 0


def test_offline_is_said(hub, root, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert push(root) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_a_repository_of_another_is_not_written(hub, root, monkeypatch, capsys):
    assert push(root, "hub:lab/cube", "--public") == 0
    monkeypatch.setenv("HF_TOKEN", hub_server.ANOTHERS_TOKEN)
    edits.relabel(root, "fold", [0])
    commits = len(the(hub, "datasets/lab/cube").commits)
    assert push(root, "hub:lab/cube", "--update", "--public") == 1
    assert "use a token that may write there" in capsys.readouterr().err
    assert len(the(hub, "datasets/lab/cube").commits) == commits


def test_files_that_the_repository_ignores_are_missed(hub, root, capsys):
    hub.repositories["datasets/me/cube"] = hub_server.Repository(private=True)
    the(hub).files[".gitignore"] = b"meta/stats.json"
    assert push(root, "hub:me/cube", "--update") == 1
    said = capsys.readouterr().err
    assert "1 file(s) are not there as they are here, the first meta/stats.json" in said
    assert the(hub).tags == {}


def test_a_dataset_that_is_being_recorded_is_refused(hub, tmp_path, capsys):
    root = tmp_path / "busy"
    with DatasetWriter(root, CONTRACT) as writer:
        record(writer, 5)
        assert push(root) == 2
    assert "is being written by another recorder" in capsys.readouterr().err
    assert hub.seen == []


def test_a_dataset_that_changes_while_it_is_checked_is_refused(hub, root, monkeypatch, capsys):
    from armlet.datasets.check import quality

    reviewed = quality.review

    def meanwhile(*arguments, **options):
        found = reviewed(*arguments, **options)
        (root / layout.STATS).write_text("{}")
        return found

    monkeypatch.setattr(quality, "review", meanwhile)
    assert push(root) == 2
    assert "was changed while it was checked; push again" in capsys.readouterr().err
    assert written(hub) == []


def test_no_dataset_is_no_dataset(hub, tmp_path, capsys):
    assert push(tmp_path / "nothing") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert push(tmp_path) == 2
    assert "meta/info.json" in capsys.readouterr().err


def test_without_the_package_it_is_named(hub, root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push(root) == 1
    assert "pip install huggingface_hub" in capsys.readouterr().err


def test_hf_endpoint_names_the_server(hub, root):
    """In a process of its own, by the variables that a person sets."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub_server.TOKEN,
        "HF_HUB_DISABLE_XET": "1",
    }
    words = [sys.executable, "-m", "armlet.cli.main", "dataset", "push", str(root), "hub:me/cube"]
    done = subprocess.run([*words, "--no-video"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{hub.url}/datasets/me/cube\n")
    assert the(hub).tags


STOCK = """
import sys
sys.path.insert(0, sys.argv[1])
import av_decode
av_decode.install()
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("me/cube", root=sys.argv[2])
item = dataset[len(dataset) - 1]
print(len(dataset), dataset.revision, tuple(item["observation.images.front"].shape))
"""


@pytest.mark.thorough
@pytest.mark.skipif(not has_oracle("v04"), reason="no stock LeRobot 0.4.4 (set ARMLET_ORACLE)")
def test_stock_lerobot_finds_its_version_and_loads_it(hub, root, tmp_path):
    """By a process of its own: the server is read from HF_ENDPOINT as it starts."""
    assert push(root, "hub:me/cube", "--no-video") == 0
    hub.seen.clear()
    ours = ("HF_", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub_server.TOKEN,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    words = [str(oracle("v04")), "-c", STOCK, str(SHARED), str(tmp_path / "again")]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "180 v3.0 (3, 48, 64)"
    assert "GET /api/datasets/me/cube/refs" in hub.seen


# --- checkpoints --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("torch", reason="the policy extra is not installed")
    sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))
    import check_world

    return check_world.save_good(tmp_path_factory.mktemp("push") / "reach", check_world.CONTRACT)


@pytest.fixture
def checkpoint(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "reach")


def push_policy(folder, *options):
    return main(["policy", "push", str(folder), "hub:me/reach", *options])


def test_a_checkpoint_is_pushed_and_used_by_its_name(hub, checkpoint, capsys):
    (checkpoint / ".cache").mkdir()
    (checkpoint / ".cache/x.json").write_text("{}")
    (checkpoint / "optimizer.bin").write_text("not read by anybody")
    (checkpoint / "README.md").write_text("# Its card")
    assert push_policy(checkpoint) == 0
    repository = the(hub, "models/me/reach")
    assert repository.private and repository.tags == {}
    here = {name for name in files_of(checkpoint) if name.endswith((".json", ".safetensors"))}
    assert set(repository.files) == (here - {".cache/x.json"}) | {*(".gitattributes", "README.md")}
    assert card_of(repository) == "# Its card"
    assert f"{hub.url}/me/reach" in capsys.readouterr().out
    assert main(["policy", "inspect", "hub:me/reach"]) == 0
    assert "rate           30 Hz, joints in degrees" in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_used_is_not_pushed(hub, checkpoint, capsys):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert push_policy(checkpoint) == 2
    assert "model.safetensors" in capsys.readouterr().err and hub.seen == []
    assert main(["policy", "push", "hub:me/other", "hub:me/reach"]) == 2
    assert "folder on this computer" in capsys.readouterr().err and hub.seen == []


def test_a_link_out_of_a_checkpoint_is_refused(hub, checkpoint, tmp_path, capsys):
    (tmp_path / "token").write_text("{}")
    (checkpoint / "more.json").symlink_to(tmp_path / "token")
    assert push_policy(checkpoint) == 2
    assert "more.json" in capsys.readouterr().err and hub.seen == []


def test_a_checkpoint_is_pushed_again_only_when_asked(hub, checkpoint, capsys):
    assert push_policy(checkpoint) == 0
    assert push_policy(checkpoint) == 0
    the(hub, "models/me/reach").files["old.safetensors"] = b"of a version before"
    the(hub, "models/me/reach").files["README.md"] = b"# Reach"
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert push_policy(checkpoint) == 2
    assert "--update makes this its newest version" in capsys.readouterr().err
    assert push_policy(checkpoint, "--update") == 0
    files = the(hub, "models/me/reach").files
    assert "old.safetensors" not in files and files["README.md"] == b"# Reach"


@pytest.mark.representatives(5)
@pytest.mark.parametrize(
    ("key", "content"),
    [
        *(
            ("/api/whoami-v2", one)
            for one in (b"<html>", [], {}, 5, None, {"name": 5, "orgs": [5]})
        ),
        *(("GET /api/datasets/me/cube", one) for one in (b"<html>", [], None)),
        *(("/tree/", one) for one in (b"", [5])),
        ("/refs", {}),
        ("/preupload/", {"files": [5]}),
        ("/commit/", []),
    ],
)
def test_an_answer_that_no_hub_gives_is_said_in_one_line(hub, root, capsys, key, content):
    before = files_of(root)
    hub.strange[key] = (200, content, {})
    assert push(root) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    assert hub.url in said and "check" in said
    assert files_of(root) == before


@pytest.mark.parametrize("key", ["/api/whoami-v2", "GET /api/datasets/me/cube", "/commit/"])
def test_a_redirect_elsewhere_takes_no_token_there(hub, root, capsys, key):
    with hub_server.Hub() as other:
        hub.strange[key] = (307, b"", {"Location": f"{other.url}/elsewhere"})
        assert push(root) != 0
        assert capsys.readouterr().err.count("\n") == 1
        assert set(other.tokens) <= {None}
