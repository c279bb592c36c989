"""An episode that can be neither finished nor gone on with, left for the next writer."""

import numpy as np
from made_episodes import CONTRACT, frame

from armlet.datasets import Dataset, DatasetWriter, check


def test_what_is_kept_becomes_an_episode_when_the_dataset_is_opened_again(tmp_path):
    root = tmp_path / "dataset"
    writer = DatasetWriter(root, CONTRACT)
    writer.begin_episode("wave")
    for index in range(20):
        writer.add_frame(frame(index))
    writer.close(keep=True)
    assert Dataset(root).episodes == []
    with DatasetWriter(root, CONTRACT) as again:
        (recovered,) = again.recovered
        assert (recovered.episode, recovered.frames) == (0, 20)
        again.begin_episode("wave")
        for index in range(5):
            again.add_frame(frame(index, episode=1))
        again.finish_episode()
    assert [episode.length for episode in Dataset(root).episodes] == [20, 5]
    np.testing.assert_allclose(Dataset(root).episode(0).state[:, 0], np.arange(20))
    assert check(root) == []


def test_without_an_episode_there_is_nothing_to_keep(tmp_path):
    root = tmp_path / "dataset"
    DatasetWriter(root, CONTRACT).close(keep=True)
    with DatasetWriter(root, CONTRACT) as writer:
        assert writer.recovered == []
