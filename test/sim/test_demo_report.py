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


@pytest.fixture
def axis():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    return figure.subplots()


def test_the_picture_counts_targets_as_the_report_does(axis):
    report._draw_errors(axis, REACHES)
    assert axis.get_xticks().tolist() == [1, 2]
    assert [round(bar.get_x() + bar.get_width()) for bar in axis.patches[:2]] == [1, 2]


def test_a_bar_that_is_too_low_to_see_has_its_number_and_the_legend_covers_none(axis):
    report._draw_errors(axis, REACHES)
    assert [text.get_text() for text in axis.texts] == ["2", "4", "88", "60"]
    axis.figure.draw_without_rendering()
    legend = axis.get_legend().get_window_extent()
    highest = max(bar.get_window_extent().y1 for bar in axis.patches)
    assert legend.y0 > highest


def test_one_and_the_same_latency_every_time_is_seen(axis, seen):
    report._draw_latency(axis, seen, simulated=True)
    rest, inference = axis.patches
    assert (rest.get_x(), rest.get_width()) == pytest.approx((0, 5))
    assert (inference.get_x(), inference.get_width()) == pytest.approx((5, 50))
    low, high = axis.get_xlim()
    assert low == 0 and high > 55
    words = [text.get_text().strip() for text in axis.texts]
    assert words == ["making the frame, messages: 5 ms", "the network, as declared: 50 ms"]
