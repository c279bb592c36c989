"""The contract: canonical, signed, compared line by line."""

import dataclasses
import json

import pytest

from armlet.contract import Camera, Contract, ContractError, Preprocessing, Stream, fit, load, parse

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


def test_an_altered_document_is_refused(tmp_path):
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
def test_each_difference_is_one_line_that_says_how_to_mend_it(item, found):
    wrong = [verdict for verdict in fit(CONTRACT, found) if not verdict.ok]
    assert len(wrong) == 1
    assert wrong[0].item.startswith(item)
    line = str(wrong[0])
    assert "expected" in line
    assert "found" in line
    assert wrong[0].mend in line


def test_what_a_document_does_not_state_is_no_fault():
    plain = dataclasses.replace(CONTRACT, joint_units=None, calibration=None, alignment=())
    assert all(verdict.ok for verdict in fit(plain, CONTRACT))
    extra = dataclasses.replace(CONTRACT, cameras=(*CONTRACT.cameras, Camera("top", 1, 1)))
    assert all(verdict.ok for verdict in fit(CONTRACT, extra))
