"""Kinds of arms as data: armlet's own, a person's, another package's; and what is refused."""

import pytest

from armlet.files import FileError
from armlet.robots import SO101_JOINTS
from armlet.robots.robot_model import find, names


def test_the_so101_is_lerobots():
    kind = find("so101")
    assert kind.ids == {
        "shoulder_pan": 1,
        "shoulder_lift": 2,
        "elbow_flex": 3,
        "wrist_flex": 4,
        "wrist_roll": 5,
        "gripper": 6,
    }
    assert kind.full_turn == ("wrist_roll",) and set(kind.servos) == {"sts3215"}
    assert tuple(kind.joints) == SO101_JOINTS
    assert names()[0] == "so101"


@pytest.mark.parametrize(
    ("name", "servos"),
    [
        ("koch", ("xl430-w250",) * 2 + ("xl330-m288",) * 4),
        ("koch_leader", ("xl330-m077",) * 6),
    ],
)
def test_the_koch_is_lerobots(name, servos):
    kind = find(name)
    assert tuple(kind.joints) == SO101_JOINTS and kind.servos == servos
    assert tuple(kind.ids.values()) == (1, 2, 3, 4, 5, 6)
    assert kind.full_turn == ("shoulder_pan", "wrist_roll")
    assert name in names()


def test_an_unknown_name_is_answered_with_what_may_be_meant():
    with pytest.raises(FileError, match=r"did you mean so101\? .*found 'so11'"):
        find("so11")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected joints at the top"),
        ("joints: {}", "expected 1 to 64 joints"),
        ("joints: {Lift: {id: 1}}", "small letters"),
        ("joints: {lift: {}}", "joints.lift: expected id"),
        ("joints: {lift: {id: 300}}", "joints.lift.id: expected a whole number of 0 to 252"),
        ("joints: {lift: {id: 1, role: foot}}", "role: expected body or gripper, found 'foot'"),
        ("joints: {jaw: {id: 1, role: gripper}}", "a gripper if its name ends so"),
        ("joints: {gripper: {id: 1}}", "a gripper if its name ends so"),
        ("joints: {a: {id: 1}, b: {id: 1}}", r"expected different ids, found \[1, 1\]"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "arm.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as refused:
        find(str(path))
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match=r"no robot model .*gone\.yaml"):
        find(str(tmp_path / "gone.yaml"))
