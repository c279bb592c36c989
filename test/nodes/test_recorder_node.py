"""The recorder process: what it saves, what it refuses, what a kill leaves."""

import numpy as np
import pytest
from bench_recorders import bench_without_recorder

from armlet.client.graph import GraphError
from armlet.datasets import Dataset, check


@pytest.fixture(scope="module")
def bench(private_domain):
    """A record graph without its recorder, and the recorders that are started on it."""
    given = {"emulated": "true", "task": "wave", "min_episode_s": "0.1"}
    with bench_without_recorder("record", **given) as bench:
        bench.graph.wait("actions", lambda: bench.graph.seen.count("action") > 3)
        yield bench


def record_frames(graph, count):
    graph.director.trigger("recorder/start_recording")
    frames = graph.seen.count("action")
    graph.wait("frames", lambda: graph.seen.count("action") > frames + count)


def open_frames(graph):
    """Rows of the open episode, as the recorder says: what it has heard it may not have written."""
    return int(graph.seen.status().get("recorder: dataset", {}).get("open_frames", 0))


def episodes(root):
    return Dataset(root).episodes if (root / "meta/info.json").is_file() else ()


def ready(graph):
    graph.wait_for_status("recorder: dataset", "idle")


@pytest.mark.thorough
def test_a_kill_in_an_episode_costs_nothing_that_was_recorded(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root) as graph:
        ready(graph)
        record_frames(graph, 20)
        graph.director.trigger("recorder/stop_recording")
        record_frames(graph, 20)
        graph.wait("rows", lambda: open_frames(graph) > 15)
        graph.recorder.kill()
        graph.recorder.wait()
    dataset = Dataset(root)
    (episode,) = dataset.episodes
    assert dataset.images(0, "front").shape == (episode.length, 48, 64, 3)
    with bench.record(root) as graph:
        ready(graph)
        graph.wait_for_words("recovered")
        record_frames(graph, 10)
        graph.director.trigger("recorder/stop_recording")
    _, killed, _ = Dataset(root).episodes
    assert killed.length > 15
    assert check(root) == []


@pytest.mark.thorough
def test_episodes_end_by_themselves_and_are_counted(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root, episode_s=0.5, episodes=1) as graph:
        ready(graph)
        graph.director.trigger("recorder/start_recording")
        graph.wait("an episode", lambda: episodes(root))
        with pytest.raises(GraphError, match="has its 1 episodes"):
            graph.director.trigger("recorder/start_recording")
        graph.director.set_parameters("recorder", episodes=2, episode_s=1.0)
        graph.director.trigger("recorder/start_recording")
        with pytest.raises(GraphError, match="rules of a recording do not change"):
            graph.director.set_parameters("recorder", episode_s=0.2)
        with pytest.raises(GraphError, match="read-only: the dataset is opened with it"):
            graph.director.set_parameters("recorder", root="elsewhere")
        graph.wait("another", lambda: len(episodes(root)) == 2)
    assert [episode.length for episode in Dataset(root).episodes] == [15, 30]


@pytest.mark.thorough
def test_recording_again_discards_what_was_begun(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root) as graph:
        ready(graph)
        record_frames(graph, 30)
        graph.director.trigger("recorder/rerecord_episode")
        frames = graph.seen.count("action")
        graph.wait("frames", lambda: graph.seen.count("action") > frames + 5)
        graph.director.trigger("recorder/stop_recording")
    (episode,) = Dataset(root).episodes
    assert 5 <= episode.length < 30
    ledger = Dataset(root).ledger(0)
    assert set(ledger) == {"state", "action", "front", "wrist"}, "and nothing of lost rows"


def check_reports(graph):
    """/diagnostics say what it does when it changes, not at the next second."""
    begun_ns = graph.director.now_ns
    for what, text in (("start_recording", "recording"), ("discard_episode", "idle")) * 2:
        graph.director.trigger(f"recorder/{what}")
        graph.wait_for_status("recorder: dataset", text)
    assert graph.director.now_ns - begun_ns < 10**9


def test_an_episode_is_what_the_topics_said(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root) as graph:
        ready(graph)
        with pytest.raises(GraphError, match="not recording"):
            graph.director.trigger("recorder/stop_recording")
        record_frames(graph, 20)
        with pytest.raises(GraphError, match="already recording"):
            graph.director.trigger("recorder/start_recording")
        graph.director.trigger("recorder/discard_episode")
        check_reports(graph)
        record_frames(graph, 20)
        graph.director.trigger("recorder/stop_recording")
    dataset = Dataset(root)
    assert [episode.tasks for episode in dataset.episodes] == [("wave",)]
    assert dataset.contract is not None
    assert dataset.contract.joint_units == "degrees"
    assert {camera.name for camera in dataset.contract.cameras} == {"front", "wrist"}
    stamps = dataset.episode(0).stamp_ns
    np.testing.assert_allclose(np.diff(stamps) * 1e-9, 1 / 30, atol=1e-6)


@pytest.mark.thorough
def test_it_records_again_after_being_deactivated(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root) as graph:
        ready(graph)
        for transition in (
            "deactivate",
            "activate",
            "deactivate",
            "cleanup",
            "configure",
            "activate",
        ):
            graph.director.change_state("recorder", transition)
        graph.seen.forget_diagnostics()
        ready(graph)
        record_frames(graph, 10)
        assert "episode 0" in graph.director.trigger("recorder/stop_recording")
    assert check(root) == []


def test_a_root_that_cannot_be_written_is_reported_and_ends_nothing(bench, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with bench.record(file / "dataset") as graph:
        graph.wait_for_status("recorder: dataset", "file")
        with pytest.raises(GraphError, match="file"):
            graph.director.trigger("recorder/start_recording")
        assert graph.recorder.poll() is None


def test_without_frames_it_does_not_start(bench, tmp_path):
    with bench.record(tmp_path / "dataset", "apart") as graph:
        graph.wait_for_status("apart/recorder: dataset", "waiting for frames")
        with pytest.raises(GraphError, match="no frames yet"):
            graph.director.trigger("apart/recorder/start_recording")
    assert not (tmp_path / "dataset").exists()


@pytest.mark.thorough
def test_a_dataset_of_another_contract_is_refused(bench, tmp_path):
    root = tmp_path / "dataset"
    with bench.record(root) as graph:
        ready(graph)
        record_frames(graph, 10)
        graph.director.trigger("recorder/stop_recording")
    with bench.record(root, joint_units="range_m100_100") as graph:
        graph.wait_for_status("recorder: dataset", "joint units")
        with pytest.raises(GraphError, match=r"expected degrees, found range_m100_100"):
            graph.director.trigger("recorder/start_recording")
    assert len(Dataset(root).episodes) == 1
