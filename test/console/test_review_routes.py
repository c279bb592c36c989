"""What a browser fetches of a dataset, over HTTP and without a network."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the console extra is not installed")
from starlette.applications import Starlette
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "datasets"))
from made_episodes import QUICK, made

from armlet.console.review.library import Library
from armlet.console.review.routes import address, routes
from armlet.datasets import Dataset
from armlet.datasets.format import layout
from armlet.datasets.transform.compact import compact

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        made(Path(name) / "apart", (5, 3))
        compact(Path(name) / "apart", Path(name) / "cube")
        yield Path(name) / "cube"


@pytest.fixture
def shelf(source) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        shutil.copytree(source, Path(name) / "shelf/cube")
        (Path(name) / "secret.mp4").write_bytes(b"secret")
        yield Path(name) / "shelf"


@pytest.fixture
def cards() -> dict[str, str]:
    """By key."""
    return {}


@pytest.fixture
def client(shelf, cards) -> TestClient:
    return TestClient(
        Starlette(routes=routes(Library([shelf]), lambda place: cards.get(place.key)))
    )


def video_of(root: Path, camera: str = "front") -> Path:
    return Dataset(root).video(0, camera).path


def test_an_episode_names_its_videos_and_where_in_them_it_is(client, shelf):
    found = client.get(address("episode", "0/cube", episode=1)).json()
    assert (found["length"], found["fps"], len(found["plots"])) == (3, 30, 6)
    front = found["videos"][0]
    assert front["from_s"] == pytest.approx(5 / 30)
    assert front["to_s"] == pytest.approx(8 / 30)
    assert client.get(front["url"]).content == video_of(shelf / "cube").read_bytes()
    picture = client.get(front["picture_url"] + "&row=2")
    assert picture.headers["content-type"] == "image/jpeg"
    pixels = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
    wanted = Dataset(shelf / "cube").images(1, "front", [2])[0]
    assert np.abs(pixels[..., ::-1].astype(int) - wanted).mean() < 6


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
    ],
)
def test_a_part_of_a_video_is_that_part_of_its_file(client, shelf, asked, part):
    content = video_of(shelf / "cube").read_bytes()
    url = address("video", "0/cube", episode=1, camera=0)
    found = client.get(url, headers={"range": asked})
    assert found.status_code == 206
    assert found.content == content[part]
    first = content.index(content[part])
    last = first + len(content[part]) - 1
    assert found.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
    assert client.get(url).headers["accept-ranges"] == "bytes"


def test_a_part_behind_the_end_is_none(client, shelf):
    url = address("video", "0/cube", episode=0, camera=0)
    assert client.get(url, headers={"range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize(
    "query",
    [
        "",
        "dataset=0/cube",
        "dataset=0/cube&episode=2&camera=0",
        "dataset=0/cube&episode=-1&camera=0",
        "dataset=0/cube&episode=0&camera=2",
        "dataset=0/cube&episode=0&camera=../../secret.mp4",
        "dataset=0/..&episode=0&camera=0",
        "dataset=0/cube/../..&episode=0&camera=0",
        "dataset=0%2Fcube%2F..%2F..&episode=0&camera=0",
        "dataset=/etc&episode=0&camera=0",
        f"dataset={HOSTILE}&episode=0&camera=0",
    ],
)
@pytest.mark.representatives(8)
@pytest.mark.parametrize("what", ["episode", "video", "picture", "card"])
def test_what_is_not_there_is_refused_as_plain_text(client, what, query):
    if what == "episode" and query.startswith("dataset=0/cube&episode=0&camera"):
        return  # which is one: an episode is asked for without a camera
    found = client.get(f"/datasets/{what}?{query}")
    assert found.status_code == 404
    assert found.headers["content-type"].startswith("text/plain")
    assert b"secret" not in found.content.replace(b"secret.mp4", b"")


@pytest.mark.parametrize("path", ["/datasets/../secret.mp4", "/datasets/video/../../secret.mp4"])
def test_a_path_leads_nowhere(client, path):
    assert client.get(path).status_code in (404, 405)


def test_a_video_that_is_a_link_out_of_the_dataset_is_refused(client, shelf):
    path = video_of(shelf / "cube")
    path.unlink()
    path.symlink_to(shelf.parent / "secret.mp4")
    found = client.get(address("video", "0/cube", episode=0, camera=0))
    assert found.status_code == 404
    assert "leads out of" in found.text


def test_a_video_path_that_leads_out_of_the_dataset_is_refused(client, shelf):
    info = shelf / "cube" / layout.INFO
    document = json.loads(info.read_text())
    document["video_path"] = "../../secret.mp4"
    info.write_text(json.dumps(document))
    found = client.get(address("video", "0/cube", episode=0, camera=0))
    assert found.status_code == 404
    assert "video_path" in found.text


def test_a_video_that_is_a_named_pipe_is_not_waited_for(client, shelf):
    path = video_of(shelf / "cube")
    path.unlink()
    os.mkfifo(path)
    found = client.get(address("video", "0/cube", episode=0, camera=0))
    assert (found.status_code, "expected a file" in found.text) == (404, True)


def test_a_score_card_runs_nothing(client, cards):
    assert client.get(address("card", "0/cube")).status_code == 404
    cards["0/cube"] = f"<p>{HOSTILE}</p>"
    found = client.get(address("card", "0/cube"))
    assert found.status_code == 200
    policy = found.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
