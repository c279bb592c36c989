"""Contact sheets, plots and a page of them."""

import re
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_episodes import made
from offline import numbered

pytest.importorskip("matplotlib", reason="plots need matplotlib (pip install 'armlet[plot]')")

from armlet.datasets import Dataset, DatasetError, view
from armlet.datasets.format.layout import INTERVENTION
from armlet.datasets.view import draw, open_rerun, sheet


def read(path):
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture[..., ::-1]


def test_a_sheet_shows_every_picture_in_its_place():
    pictures = np.stack([np.full((48, 64, 3), 20 * n + 10, np.uint8) for n in range(8)])
    made_sheet = sheet(pictures, [n / 30 for n in range(8)], "episode 0, front")
    levels = [
        int(made_sheet[46 + 100 + row * (180 + 26 + 6), 12 + 120 + column * 246, 0])
        for row, column in (divmod(n, 6) for n in range(8))
    ]
    assert levels == [20 * n + 10 for n in range(8)]
    assert (made_sheet[:40] < 100).any()  # the title


def test_a_page_shows_sheets_and_plots_of_the_episodes_chosen(tmp_path):
    root = numbered(tmp_path / "set", (40, 20, 30))
    seen = []
    page = draw(Dataset(root), [0, 2], tmp_path / "page", lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    text = page.index.read_text()
    assert "2 of 3 episodes are shown" in text
    assert "front 64x48" in text
    images = re.findall(r"src='([^']+)'", text)
    assert len(images) == 1 + 2 * 3
    for name in images:
        assert read(tmp_path / "page" / name).std() > 5
    assert read(tmp_path / "page/episode-000002-front.jpg").shape[1] > 1400


@pytest.mark.thorough
def test_what_a_killed_view_left_is_drawn_over(tmp_path, monkeypatch):
    """It was taken for a folder of something else, and refused from then on."""

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    root = numbered(tmp_path / "set", (40, 20))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(view, "_plot_overview", killed)
        draw(Dataset(root), [0], tmp_path / "page")
    assert "Not finished" in (tmp_path / "page/index.html").read_text()
    page = draw(Dataset(root), [0], tmp_path / "page")
    assert "1 of 2 episodes are shown" in page.index.read_text()


def test_a_page_without_videos_says_so(tmp_path):
    root = made(tmp_path / "set")
    for path in (root / "videos/observation.images.wrist").rglob("*.mp4"):
        path.unlink()
    page = draw(Dataset(root), [1], tmp_path / "page")
    text = page.index.read_text()
    assert "file-001.mp4 is absent" in text
    assert "episode-000001-front.jpg" in text


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    dataset = Dataset(made(tmp_path / "set", (3,)))
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(DatasetError, match="pip install rerun-sdk"):
        open_rerun(dataset, [0])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DatasetError, match=r"pip install 'armlet\[plot\]'"):
        draw(dataset, [0], tmp_path / "page")


@pytest.mark.parametrize("said", [float("nan"), 2.0])
def test_an_intervention_column_that_says_neither_is_said_and_the_rest_is_shown(
    tmp_path, said, monkeypatch
):
    root = numbered(tmp_path / "set", (40, 20))
    monkeypatch.setattr(Dataset, "episode", with_column(Dataset.episode, said))
    page = draw(Dataset(root), [0], tmp_path / "page", lambda *_: None)
    assert "expected true or false in each row, found" in page.index.read_text()
    assert read(tmp_path / "page/episode-000000.png").std() > 5


def with_column(read_episode, said):
    """Episodes as they are read, with one value in a column of every row."""

    def episode(dataset, k):
        found = read_episode(dataset, k)
        rows = np.full(found.info.length, said, np.float32)
        return replace(found, columns={**found.columns, INTERVENTION: rows})

    return episode
