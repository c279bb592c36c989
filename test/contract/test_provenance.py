"""What a policy says of itself: one canonical text, its mark, and nothing else is read."""

import dataclasses
import json

import pytest

from armlet.contract.provenance import Provenance, ProvenanceError, parse

PROVENANCE = Provenance(
    checkpoint="1" * 64,
    name="reach",
    policy="act",
    strategy="latest_only",
    backend="torch",
    precision="float32",
    device="cpu",
    inference_latency_s="measured",
    statistics="2" * 64,
    contract="3" * 64,
)


def test_what_is_written_is_read_and_its_mark_is_of_every_field():
    assert parse(PROVENANCE.canonical()) == PROVENANCE
    others = [
        dataclasses.replace(PROVENANCE, **{field.name: "4" * 64})
        for field in dataclasses.fields(PROVENANCE)
    ]
    marks = {each.mark() for each in [PROVENANCE, *others]}
    assert len(marks) == 1 + len(others)
    assert all(len(mark) == 16 and int(mark, 16) for mark in marks)


def test_a_checkpoint_without_a_contract_has_none():
    bare = dataclasses.replace(PROVENANCE, contract=None)
    assert parse(bare.canonical()) == bare


def changed(**fields):
    return json.dumps({**json.loads(PROVENANCE.canonical()), **fields})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        "x" * 10_000,
        "[" * 5000,
        changed(version=2),
        changed(version=None),
        changed(more=1),
        changed(name=1),
        changed(name=""),
        changed(name="two\nlines"),
        changed(name="\x1b[2J"),
        changed(name="\ud800"),
        changed(strategy="x" * 201),
        changed(checkpoint="A" * 64),
        changed(checkpoint="1" * 63),
        changed(contract=""),
    ],
)
def test_what_is_no_provenance_is_refused(text):
    with pytest.raises(ProvenanceError) as caught:
        parse(text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
