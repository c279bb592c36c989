"""What the demo's report says of times and targets, in words and in the picture."""

import pytest

from armlet.client.measurements import Measurements
from armlet.demo import report
from armlet.demo.demo import Reach

REACHES = [Reach((0.2, 0.0), 0.002, 0.088, 0, 1), Reach((0.2, 0.1), 0.004, 0.060, 1, 2)]


@pytest.fixture
def seen():
    measurements = Measurements()
    measurements.latency([0.055, 0.05])
    return measurements


def test_a_declared_latency_is_not_given_out_as_measured(seen):
    assert report.latency_line(seen, simulated=False) == (
        "policy: inference 50 ms, observation to chunk 55 ms (median)"
    )
    assert "inference 50 ms of simulated time, as declared," in report.latency_line(seen, True)


def test_the_arm_that_does_not_look_has_the_name_it_has_at_each_target():
    said = report.reach_line(REACHES)
    assert "policy 3 mm (worst 4); without looking, always to the middle" in said
    assert said.endswith(" 74 mm (worst 88)")


def test_the_picture_counts_targets_as_the_report_does(seen):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    report._draw_errors(figure, seen, REACHES)
    bars = figure.axes[1]
    assert bars.get_xticks().tolist() == [1, 2]
    assert [round(bar.get_x() + bar.get_width()) for bar in bars.patches[:2]] == [1, 2]
