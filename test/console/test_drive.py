"""What the page of a driving policy shows and computes, without its library and without ROS."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from armlet.client.driving import (
    Chunk,
    Driving,
    Fitness,
    Heard,
    Measured,
    Slots,
    Who,
    driving,
)
from armlet.client.sight import Heard as SightHeard
from armlet.client.sight import Positions, Status, sight
from armlet.console.drive import plots, tables
from armlet.console.drive.checkpoints import Facts, Listed, Shelf
from armlet.console.drive.fits import Fit, Fits, Order, Standing, arguments, result
from armlet.console.drive.workbench import Workbench
from armlet.console.review.library import LibraryError
from armlet.console.words import Language, Words
from armlet.contract import Contract
from armlet.contract.provenance import Provenance
from armlet.findings import Code, as_json, compared, text

HOSTILE = "<img src=x onerror=alert(1)>"
SAY, ZH = Words(Language.EN), Words(Language.ZH)
GUARD_S = 120.0
POLICY = Provenance(
    checkpoint="a" * 64,
    name="reach",
    policy="act",
    strategy="latest_only",
    backend="torch",
    precision="float32",
    device="cpu",
    inference_latency_s="measured",
    statistics="b" * 64,
)
WRONG = compared(Code.CONTRACT_RATE, "fps", 30, HOSTILE, "set it")
RIGHT = compared(Code.CONTRACT_RATE, "fps", 30, 30, "set it")
SECOND = 1_000_000_000


def heard_of(values=None, source="hold", stamp_ns=SECOND, level="good", **others):
    statuses = {
        "servo_bus: bus": Status("servo_bus: bus", "good", "holding", {"rate_hz": "100"}, SECOND),
        "policy: inference": Status(
            "policy: inference", level, "running", {"state": "running", **(values or {})}, stamp_ns
        ),
        **{name: Status(name, *rest) for name, rest in others.items()},
    }
    positions = {
        "joint_states": Positions({"pan": 0.0}),
        "applied_joint_commands": Positions({"pan": 0.0}, source),
    }
    return sight(SightHeard(statuses, positions)), statuses


def seen(values=None, heard=None, source="hold", **given):
    return driving(*heard_of(values, source, **given), heard or Heard())


# --- what is heard, in order ----------------------------------------------------------------------


def test_without_a_policy_there_is_none():
    looked, statuses = heard_of()
    del statuses["policy: inference"]
    found = driving(looked, statuses, Heard())
    assert (found.node, found.running, found.fitness) == ("", False, Fitness.UNDECIDED)
    assert "armlet up policy" in tables.policy(found, SAY)


@pytest.mark.parametrize(
    ("state", "fit", "fitness"),
    [
        ("running", (RIGHT,), Fitness.MAY_RUN),
        ("paused", (RIGHT,), Fitness.MAY_RUN),
        ("checking", (RIGHT,), Fitness.UNDECIDED),
        ("warming", (), Fitness.UNDECIDED),
        ("refused", (RIGHT,), Fitness.REFUSED),
        ("checking", (RIGHT, WRONG), Fitness.REFUSED),
        ("", (), Fitness.UNDECIDED),
    ],
)
def test_what_was_not_seen_to_fit_may_not_run(state, fit, fitness):
    assert seen({"state": state}, Heard(fit=fit)).fitness is fitness


@pytest.mark.parametrize(
    ("source", "who"),
    [
        ("hold", Who.HOLD),
        ("joint_commands", Who.PERSON),
        (f"joint_trajectory/{POLICY.mark()}", Who.POLICY),
        ("joint_trajectory/0123456789abcdef", Who.PROGRAM),
        ("joint_trajectory", Who.PROGRAM),
        (HOSTILE, Who.UNKNOWN),
        ("", Who.UNKNOWN),
    ],
)
def test_who_commands_is_what_the_driver_says(source, who):
    found = seen(heard=Heard(provenance=POLICY), source=source)
    assert [(one.arm, one.who) for one in found.commands] == [("servo_bus", who)]


def test_a_leader_is_commanded_by_nobody_and_has_no_plan():
    looked, statuses = heard_of()
    statuses["left/leader/servo_bus: bus"] = Status("left/leader/servo_bus: bus", "good", "")
    looked = sight(SightHeard(statuses))
    assert [one.arm for one in driving(looked, statuses, Heard()).commands] == ["servo_bus"]


def test_a_policy_that_is_silent_is_not_running():
    found = seen(stamp_ns=SECOND - 4 * SECOND)
    assert found.silent and not found.running
    assert 'data-level="bad"' in tables.policy(found, SAY)


def test_drift_has_a_line_for_each_feature_and_kind():
    values = {
        "state sigma": "1.5",
        "state out_of_range_rate": "0.25",
        "state sigma shoulder_pan": "1.5",
        "camera front R mean": "0.4",
        "camera front divergence": "0.12",
        "state lag_s": "0.08",
        "state trained_lag_s": "0.05",
        "actions sigma gripper": "nan",
        "codes": "x",
    }
    drift = {"policy: drift": ("attention", "far", values, SECOND)}
    found = seen(**drift)
    assert [(d.feature, d.kind, d.value, d.trained) for d in found.drift] == [
        ("state", "outside", 0.25, None),
        ("state shoulder_pan", "sigma", 1.5, None),
        ("camera front", "divergence", 0.12, None),
        ("state", "lag", 0.08, 0.05),
    ]
    shown = tables.drift(found, SAY)
    for said in ("25% beyond", "1.5 σ", "0.08 s behind its commands (0.05 s in training)", "far"):
        assert said in shown


def test_only_the_policys_own_findings_are_shown_with_their_fix():
    codes = {"codes": str(Code.COMPUTER_CLOCK_OFFSET)}
    found = seen(codes, level="bad", **{"camera: front": ("bad", "gone", {}, SECOND)})
    assert [t.subject for t in found.troubles] == ["policy: inference"]
    assert Code.COMPUTER_CLOCK_OFFSET.remedy[:20] in tables.troubles(found, SAY)


# --- plan and measurement -------------------------------------------------------------------------


def measured(times_s, values):
    return [
        Measured(round(at * SECOND), {"pan": value})
        for at, value in zip(times_s, values, strict=True)
    ]


def chunk(at_s, rows, joints=("pan",), step_s=0.1):
    times_s = np.arange(len(rows)) * step_s
    return Chunk(round(at_s * SECOND), joints, times_s, np.array(rows, float).reshape(-1, 1))


def tracked(chunks, positions):
    return seen(heard=Heard({"servo_bus": chunks}, {"servo_bus": positions})).tracks


def test_a_measurement_is_compared_with_the_plan_of_its_time():
    """The first plan ends before the second begins: between them nothing is compared."""
    chunks = [chunk(10.0, [0.0, 0.1, 0.2]), chunk(11.0, [1.0, 1.0])]
    (track,) = tracked(chunks, measured([9.0, 10.05, 10.15, 10.5, 11.05], [9, 0.05, 0.15, 9, 1.3]))
    assert track.apart_rad == pytest.approx(math.sqrt(0.3**2 / 3))
    assert track.measured[-1] == (0.0, 1.3)
    assert track.plans[-1][0] == (pytest.approx(-0.05), 1.0)


def test_what_is_old_or_of_other_joints_or_not_finite_is_left_out():
    chunks = [
        chunk(1.0, [5.0, 5.0]),
        chunk(20.0, [5.0, 5.0], joints=("other",)),
        chunk(20.0, [math.nan, 5.0]),
        chunk(20.0, []),
    ]
    (track,) = tracked(chunks, measured([2.0, 18.0, 19.0, 20.0], [7.0, 1e300, math.inf, 0.5]))
    assert (track.plans, track.apart_rad, track.measured) == ((), None, ((0.0, 0.5),))


def test_no_message_makes_a_plot_that_is_no_svg_or_a_large_one():
    rows = np.sin(np.arange(2000))
    chunks = [chunk(10.0 - 0.2 * k, rows, ("pan",), 0.01) for k in range(30)]
    positions = measured(10 - 0.06 * np.arange(99)[::-1], np.full(99, 900.0))
    (track,) = tracked(chunks, positions)
    drawn = plots.plots([dataclasses.replace(track, joint=HOSTILE)], SAY)
    assert len(drawn) < 8_000 and "<img" not in drawn
    svg = ElementTree.fromstring(drawn)
    assert svg.find("svg").get("aria-label").startswith(HOSTILE)
    kinds = [line.get("class") for line in svg.iter("polyline")]
    assert kinds.count("measured") == 1 and kinds.count("plan newest") == 1
    numbers = re.findall(r"[\d.]+", " ".join(line.get("points") for line in svg.iter("polyline")))
    assert all(math.isfinite(float(number)) for number in numbers)


def test_the_newest_of_what_comes_often_is_kept():
    slots = Slots(0.1, 3)
    for number in range(60):
        slots.add(number, number * 0.01)
    assert slots.items()[-1] == 59 and len(slots.items()) == 3
    slots.add(60, 0.591)
    assert slots.items()[-1] == 60 and len(slots.items()) == 3
    for now_s in (0.0, 0.2):  # a clock that was set back
        slots.add(now_s, now_s)
    assert slots.items() == (60, 0.0, 0.2)


# --- as HTML --------------------------------------------------------------------------------------


def test_the_lines_of_the_fit_are_those_of_the_command():
    shown = tables.fit((RIGHT, WRONG), SAY)
    assert HOSTILE not in shown
    lines = [item.text for item in ElementTree.fromstring(shown).iter("code")]
    assert lines == [text(RIGHT), text(WRONG)]
    assert re.findall('data-level="(.*?)"', shown) == ["good", "bad"]


@pytest.mark.parametrize(
    ("took", "covers", "level"), [(0.1, 0.6, "good"), (0.4, 0.6, "attention"), (0.7, 0.6, "bad")]
)
def test_latency_is_judged_by_how_long_a_chunk_lasts(took, covers, level):
    found = Driving("policy", "running", latency={"observation_to_chunk_s": took}, covers_s=covers)
    shown = tables.latency(dataclasses.replace(found, counts={"chunks": "3"}), SAY)
    assert f'data-level="{level}"' in shown and f"{took / covers:.0%}" in shown


@pytest.mark.parametrize("say", [SAY, ZH])
def test_nothing_that_a_stranger_named_becomes_html(say):
    provenance = dataclasses.replace(POLICY, name=HOSTILE)
    drift = {"policy: drift": ("bad", HOSTILE, {f"camera {HOSTILE} divergence": "1"}, SECOND)}
    teleop = {"teleop: leader": ("good", "", {"engaged": "True"}, SECOND)}
    found = seen(
        {"strategy": HOSTILE}, Heard(provenance=provenance, fit=(WRONG,)), **drift, **teleop
    )
    found = dataclasses.replace(found, node=HOSTILE, state=HOSTILE, said=HOSTILE, counts={})
    facts = Facts(HOSTILE, ((HOSTILE, 1, 2),), tasks=(HOSTILE,), datasets=(HOSTILE,), base=HOSTILE)
    one = Listed(HOSTILE, HOSTILE, Path(HOSTILE), facts)
    fits = [None, *(Fit(s, (WRONG, RIGHT), HOSTILE) for s in Standing)]
    shown = [
        tables.policy(found, say),
        tables.commanders(found, say),
        tables.drift(found, say),
        tables.fit(found.fit, say),
        *(tables.checkpoint(one, fit, say) for fit in fits),
        *(tables.summary(one, fit, say) for fit in fits),
        tables.checkpoint(dataclasses.replace(one, problem=HOSTILE), None, say),
    ]
    assert "<img" not in "".join(shown)
    for html in shown:
        ElementTree.fromstring(f"<div>{html}</div>")


# --- checkpoints ----------------------------------------------------------------------------------


def saved(folder, contract=None, card="", **config):
    folder.mkdir(parents=True)
    camera = {"type": "VISUAL", "shape": [3, 48, 64]}
    features = {"observation.state": {"shape": [6]}, "observation.images.front": camera}
    given = {"type": "act", "input_features": features, "chunk_size": 20, "n_action_steps": 10}
    (folder / "config.json").write_text(json.dumps(given | config))
    (folder / "model.safetensors").touch()
    if contract is not None:
        contract.save(folder / "armlet_contract.json")
    if card:
        (folder / "README.md").write_text(card)
    return folder


CONTRACT = Contract(
    fps=30, cameras=(), state_names=("pan.pos",), action_names=("pan.pos",), tasks=("reach",)
)


def test_checkpoints_are_found_where_training_puts_them_with_their_facts(tmp_path):
    card = "---\ndatasets:\n- me/cube\nbase_model: you/base\n---\n# text\n"
    place = saved(tmp_path / "run/checkpoints/000100/pretrained_model", CONTRACT, card)
    (tmp_path / "run/checkpoints/last").symlink_to("000100")
    saved(tmp_path / ".hidden")
    (tmp_path / "no").mkdir()
    (one,), whole = Shelf([tmp_path]).listed()
    assert (one.name, one.path, whole) == ("run/checkpoints/000100/pretrained_model", place, True)
    assert one.facts == Facts(
        policy="act",
        cameras=(("front", 64, 48),),
        chunk_size=20,
        action_steps=10,
        fps=30,
        joints=("pan",),
        tasks=("reach",),
        contract=CONTRACT.signature(),
        datasets=("me/cube",),
        base="you/base",
    )
    shown = tables.checkpoint(one, None, SAY)
    for said in ("front 64x48", "20, of which 10 are played", "me/cube", "30 fps", "not stated"):
        assert said in shown


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"type": 3, "input_features": [], "chunk_size": true}'),
        ("armlet_contract.json", "{}"),
        ("README.md", "---\n- [\n---\n"),
        ("README.md", "---\ndatasets: 3\n---\n"),
    ],
)
def test_a_damaged_one_is_in_the_list_and_hides_no_other(tmp_path, name, content):
    saved(tmp_path / "a")
    (saved(tmp_path / "b") / name).write_text(content)
    listed, _ = Shelf([tmp_path]).listed()
    assert [one.name for one in listed] == ["a", "b"] and not listed[0].problem
    assert bool(listed[1].problem) is (name != "README.md" and "type" not in content)


def test_what_is_no_folder_is_said(tmp_path):
    with pytest.raises(LibraryError, match="found nothing"):
        Shelf([tmp_path / "none"])
    assert "found nothing" in Workbench.of([tmp_path / "none"]).problem


# --- their checks ---------------------------------------------------------------------------------


def test_a_check_is_the_commands_with_the_policys_own_parameters(tmp_path):
    settings = {
        "calibration_file": "left_=a.json,right_=b.json",
        "joint_units": "",
        "calibration_tolerance_deg": 0.5,
        "fit_limits": "blind=0.01, far=3",
        "task": "-pick",
    }
    assert arguments(Path("/c"), "cell", settings) == (
        *(
            "policy",
            "check",
            "--checkpoint=/c",
            "--live=2",
            "--wait=60",
            "--json",
            "--namespace=cell",
        ),
        *("--calibration=left_=a.json,right_=b.json", "--calibration-tolerance-deg=0.5"),
        *("--task=-pick", "--limit=blind=0.01", "--limit=far=3"),
    )
    from armlet.cli.main import make_parser

    given = make_parser().parse_args(arguments(Path("/c"), "cell", settings))
    assert (given.task, given.limit, given.live) == ("-pick", ["blind=0.01", "far=3"], 2.0)
    assert arguments(Path("/c"), "", {})[-1] == "--json"


class Graph:
    """A graph of which some nodes have parameters."""

    namespace = ""

    def __init__(self, **nodes):
        self.nodes = nodes

    def settings_of(self, node, names):
        return {k: v for k, v in self.nodes.get(node, {}).items() if k in names}


def test_without_a_policy_the_drivers_calibration_counts(tmp_path):
    place = saved(tmp_path / "c")
    (one,), _ = Shelf([place]).listed()
    bench = Workbench(Shelf([place]), Fits((sys.executable, "-c", SAYS_ARGUMENTS)))
    bench.check(one, Graph(servo_bus={"calibration_file": "f.json", "port": "p"}), "")
    assert bench.fits.wait(lambda: bench.fits.get(one.key).is_over, GUARD_S)
    assert bench.fits.get(one.key).error.endswith("--calibration=f.json")


SAYS_ARGUMENTS = "import sys; print(*sys.argv[1:], file=sys.stderr); sys.exit(2)"
SAYS_ITEMS = """
import sys
print(sys.argv[1])
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("status", "standing"), [(0, Standing.FITS), (1, Standing.REFUSED), (2, Standing.FAILED)]
)
def test_what_the_command_says_is_what_is_known(status, standing):
    fits = Fits((sys.executable, "-c", SAYS_ITEMS))
    items = json.dumps({"items": [as_json(RIGHT), as_json(WRONG)]})
    fits.begin(Order("key", (items, str(status))))
    assert fits.wait(lambda: fits.get("key").is_over, GUARD_S)
    found = fits.get("key")
    assert found.standing is standing
    lines = [text(one) for one in found.findings]
    assert lines == ([text(RIGHT), text(WRONG)] if status < 2 else [])
    fits.close()


@pytest.mark.parametrize("output", ["", "[]", '{"items": 3}', '{"items": [{"code": "no"}]}'])
def test_an_output_that_is_none_is_a_check_that_failed(output):
    found = result(0, output, "Traceback\narmlet policy check: no room\n")
    assert (found.standing, found.error) == (Standing.FAILED, "armlet policy check: no room")
    assert "ended with -9" in result(-9, output, "").error


def test_a_check_that_hangs_ends_with_the_console():
    fits = Fits((sys.executable, "-c", "input() if False else __import__('signal').pause()"))
    fits.begin(Order("hangs", ()))
    fits.begin(Order("waits", ()))
    assert fits.wait(lambda: fits.get("hangs").standing is Standing.RUNNING, GUARD_S)
    assert fits.get("waits").standing is Standing.WAITING
    thread = fits._thread
    fits.close()
    assert not thread.is_alive() and fits.get("hangs").standing is Standing.FAILED


def test_every_standing_and_state_has_words():
    for say in (SAY, ZH):
        for standing in ("unchecked", *Standing):
            assert say(f"drive.standing.{standing}")
        for who in Who:
            assert say(f"drive.who.{who}")
        for fitness in Fitness:
            assert say(f"drive.fitness.{fitness}")
