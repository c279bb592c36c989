"""The console's page Record beside a real graph on the emulated bench, judged by the dataset."""

import subprocess
import sys
from pathlib import Path

import pytest
from node_processes import SLOW_HZ, flowing_graph

from armlet.datasets import Dataset
from armlet.datasets.check import integrity
from armlet.datasets.format import layout

PERSON = Path(__file__).with_name("console_record.py")


@pytest.mark.thorough
@pytest.mark.wall_clock(seconds=60)
def test_a_person_records_discards_records_again_and_labels_in_the_browser(tmp_path):
    """By the page's own code: buttons, keys, a reload meanwhile, and a series that counts once."""
    pytest.importorskip("nicegui", reason="the console extra is not installed")
    root = tmp_path / "dataset"
    given = {"width": "64", "height": "48", "min_episode_s": "0.1", "real_time_factor": "0.5"}
    with flowing_graph("record", SLOW_HZ, root=str(root), **given) as graph:
        graph.wait("actions", lambda: graph.seen.count("action") > 3)
        done = subprocess.run(
            [sys.executable, PERSON, root], capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, done.stdout + done.stderr + graph.said()
    dataset = Dataset(root)
    assert integrity.check(root) == []
    tasks = [tuple(episode.tasks) for episode in dataset.episodes]
    assert tasks == [("wave",), *[("wave again",)] * 3]
    assert [episode.length for episode in dataset.episodes[2:]] == [15, 15]
    assert all(episode.length >= 10 for episode in dataset.episodes)
    labels = [layout.load_notes(root, k).get("success") for k in range(4)]
    assert labels == [True, False, None, None]
