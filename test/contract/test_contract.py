"""The contract: canonical, signed, compared line by line."""

import dataclasses
import json

import pytest

from armlet.contract import (
    Camera,
    Contract,
    ContractError,
    Detail,
    JointUnit,
    Lag,
    Preprocessing,
    Stream,
    fit,
    load,
    parse,
)

CONTRACT = Contract(
    fps=30,
    cameras=(Camera("front", 480, 640), Camera("wrist", 480, 640)),
    state_names=("a.pos", "b.pos"),
    action_names=("a.pos", "b.pos"),
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.05),),
    calibration="f" * 64,
    preprocessing=Preprocessing("none", "0..1", {"STATE": "MEAN_STD"}, "0" * 64),
)


def test_round_trip_keeps_the_signature(tmp_path):
    assert parse(CONTRACT.canonical()) == CONTRACT
    path = tmp_path / "contract.json"
    CONTRACT.save(path)
    assert load(path).signature() == CONTRACT.signature()
    named = dataclasses.replace(CONTRACT, state_names=("größe", "手"), preprocessing=None)
    named.save(path)
    assert load(path) == named


def test_how_fine_pictures_are_is_signed_where_it_is_stated():
    detail = dataclasses.replace(CONTRACT, detail=(Detail("front", 0.61),))
    assert parse(detail.canonical()) == detail
    assert detail.signature() != CONTRACT.signature()
    assert "detail" not in json.loads(CONTRACT.canonical())  # documents of before keep theirs


def test_how_far_joints_are_behind_is_signed_where_it_is_stated():
    lag = dataclasses.replace(CONTRACT, lag=Lag(0.1, 0.004))
    assert parse(lag.canonical()) == lag
    assert lag.signature() != CONTRACT.signature()
    assert "lag" not in json.loads(CONTRACT.canonical())  # documents of before keep theirs


def test_an_altered_contract_is_refused(tmp_path):
    path = tmp_path / "contract.json"
    CONTRACT.save(path)
    document = json.loads(path.read_text())
    document["fps"] = 15
    path.write_text(json.dumps(document))
    with pytest.raises(ContractError, match=r"altered.*"):
        load(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 99}', '{"version": 1, "fps": 30}'])
def test_what_is_no_contract_is_refused(text):
    with pytest.raises(ContractError):
        parse(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), True),
        (("fps",), "30"),
        (("fps",), True),
        (("fps",), 30.0),
        (("state_names",), "ab"),
        (("state_names",), ["a", 1]),
        (("state_names",), None),
        (("joint_units",), 5),
        (("cameras",), {}),
        (("cameras", 0), "front"),
        (("cameras", 0, "height"), True),
        (("cameras", 0, "depth"), 3),
        (("alignment", 0, "tolerance_s"), "0.05"),
        (("alignment", 0, "tolerance_s"), float("nan")),
        (("preprocessing", "normalization"), [["STATE", "MEAN_STD"]]),
        (("preprocessing", "normalization", "STATE"), 1),
        (("preprocessing", "statistics"), None),
        (("calibration",), ["f"]),
        (("calibration",), "\ud800"),
        (("unknown",), 1),
    ],
)
def test_a_value_of_another_kind_is_refused(path, value):
    document = json.loads(CONTRACT.canonical())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ContractError):
        parse(json.dumps(document))


def test_a_file_needs_a_signature_a_topic_does_not(tmp_path):
    path = tmp_path / "contract.json"
    path.write_text(CONTRACT.canonical())
    assert parse(path.read_text()) == CONTRACT
    with pytest.raises(ContractError, match=r"contract\.json: no signature"):
        load(path)


def test_a_file_that_is_no_text_is_a_contract_error(tmp_path):
    (tmp_path / "contract.json").write_bytes(b"\xff\xfe{}")
    for path in (tmp_path, tmp_path / "contract.json"):
        with pytest.raises(ContractError, match=str(path)):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")


def test_another_codec_is_reported_and_not_refused():
    live = dataclasses.replace(
        CONTRACT, cameras=(Camera("front", 480, 640, codec="raw"), CONTRACT.cameras[1])
    )
    verdicts = fit(CONTRACT, live)
    assert all(verdict.ok for verdict in verdicts)
    assert ["raw where jpeg" in str(v) for v in verdicts if v.subject.startswith("camera")] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ("fps", dataclasses.replace(CONTRACT, fps=15)),
        ("state names", dataclasses.replace(CONTRACT, state_names=("b.pos", "a.pos"))),
        ("action names", dataclasses.replace(CONTRACT, action_names=("a.pos",))),
        ("joint units", dataclasses.replace(CONTRACT, joint_units="range_m100_100")),
        ("calibration", dataclasses.replace(CONTRACT, calibration="0" * 64)),
        ("camera wrist", dataclasses.replace(CONTRACT, cameras=CONTRACT.cameras[:1])),
        (
            "camera front",
            dataclasses.replace(CONTRACT, cameras=(Camera("front", 240, 320), CONTRACT.cameras[1])),
        ),
        (
            "camera front",
            dataclasses.replace(
                CONTRACT, cameras=(Camera("front", 480, 640, "bgr"), CONTRACT.cameras[1])
            ),
        ),
        (
            "alignment of state",
            dataclasses.replace(CONTRACT, alignment=(Stream("state", "previous", 0.05),)),
        ),
    ],
)
def test_each_difference_is_one_line_that_says_how_to_fix_it(item, found):
    wrong = [verdict for verdict in fit(CONTRACT, found) if not verdict.ok]
    assert len(wrong) == 1
    assert wrong[0].subject.startswith(item)
    line = str(wrong[0])
    assert "expected" in line
    assert "found" in line
    assert wrong[0].fix in line


def test_what_a_contract_does_not_state_is_no_fault():
    plain = dataclasses.replace(CONTRACT, joint_units=None, calibration=None, alignment=())
    assert all(verdict.ok for verdict in fit(plain, CONTRACT))
    extra = dataclasses.replace(CONTRACT, cameras=(*CONTRACT.cameras, Camera("top", 1, 1)))
    assert all(verdict.ok for verdict in fit(CONTRACT, extra))


NAMES = ("left_a.pos", "left_gripper.pos")
UNITS = (JointUnit("left_a.pos", "degrees"), JointUnit("left_gripper.pos", "range_0_100"))
OLD = dataclasses.replace(CONTRACT, state_names=NAMES, action_names=NAMES)
NEW = dataclasses.replace(OLD, units=UNITS)


def test_contracts_of_version_1_keep_their_bytes_and_their_signature():
    assert CONTRACT.signature() == (
        "4566117550de7126224283f5210a0030840c6a63841ab9fd8675938cb854134d"
    )
    document = json.loads(CONTRACT.canonical())
    assert document["version"] == 1 and "units" not in document


def test_units_and_order_of_the_joints_are_signed(tmp_path):
    names = tuple(reversed(NAMES))
    others = [
        OLD,
        dataclasses.replace(OLD, state_names=names, action_names=names),
        dataclasses.replace(
            NEW, state_names=names, action_names=names, units=tuple(reversed(UNITS))
        ),
        dataclasses.replace(NEW, units=(UNITS[0], JointUnit("left_gripper.pos", "degrees"))),
        dataclasses.replace(NEW, joint_units="range_m100_100"),
    ]
    assert len({contract.signature() for contract in (NEW, *others)}) == 1 + len(others)
    NEW.save(tmp_path / "contract.json")
    assert load(tmp_path / "contract.json") == NEW
    assert json.loads(NEW.canonical())["version"] == 2


def test_units_that_are_not_those_of_the_vectors_are_refused():
    with pytest.raises(ContractError, match="in this order"):
        dataclasses.replace(NEW, units=tuple(reversed(UNITS)))
    document = json.loads(NEW.canonical())
    with pytest.raises(ContractError, match="version 1, but its units"):
        parse(json.dumps({**document, "version": 1}))
    with pytest.raises(ContractError, match="in this order"):
        parse(json.dumps({**document, "units": document["units"][:1]}))


def test_a_joint_of_another_unit_does_not_fit():
    """Version 1 is of a time when left_gripper was converted as a body joint."""
    (line,) = (verdict for verdict in fit(OLD, NEW) if not verdict.ok)
    assert (line.subject, line.expected, line.found) == (
        "unit of left_gripper.pos",
        "degrees",
        "range_0_100",
    )
    names = ("a.pos", "gripper.pos")
    old = dataclasses.replace(CONTRACT, state_names=names, action_names=names)
    units = (JointUnit("a.pos", "degrees"), JointUnit("gripper.pos", "range_0_100"))
    assert all(verdict.ok for verdict in fit(old, dataclasses.replace(old, units=units)))
