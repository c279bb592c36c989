"""Mutated files through every command that reads them: no traceback, no hang, no gigabyte, no harm.

    python test/files/file_campaign.py --cases 2000 --seed 0

Each case copies a set of sound files, damages one to three of them, and runs one command in a
process of its own. Judged: its exit status and output (no traceback, no control character), its
time (10 s of work, 60 s of waiting) and memory (1 GB), and a hash of every file around what it
may change.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
for room in ("datasets", "policies", "files", "."):
    sys.path.insert(0, str(HERE.parent / room))

from campaign_bench import ARMS, Driver, emulated_arms  # noqa: E402
from domains import own_domain  # noqa: E402
from file_mutations import mutate  # noqa: E402

# A computer that others use too: a command that works is judged by the processor's time, one that
# waits for something by the clock, without the time in which it waited for a processor.
LIMIT_S, WAIT_S = 10.0, 60.0
LIMIT_BYTES = 1 << 30
_KILL_AT = 30
CRASHED = 70


@dataclass(frozen=True)
class Verb:
    """A command. reads: which of the sound sets it is given, the first is damaged most often.

    changes: what it may change, below the case's folder. fits: the sound files are no reason to
    refuse. live: it needs the driver.
    """

    name: str
    reads: tuple[str, ...]
    run: Callable[[Path], int]
    changes: tuple[str, ...] = ()
    fits: bool = True
    live: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a case; wrong is empty if nothing is."""

    seed: int
    verb: str
    damage: str
    status: int
    seconds: float
    peak_bytes: int
    wrong: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.verb}; {self.damage}; status {self.status}, "
            f"{self.seconds:.1f} s, {self.peak_bytes / 1e6:.0f} MB"
            + "".join(f"\n    {line}" for line in self.wrong)
        )


# --- the commands -----------------------------------------------------------------------------


def command(*words: str) -> Callable[[Path], int]:
    """An armlet command; CASE/ in a word stands for the case's folder."""

    def run(case: Path) -> int:
        from armlet.cli.main import main

        return main([word.replace("CASE/", f"{case}/") for word in words])

    return run


def on_arms(*words: str) -> Callable[[Path], int]:
    """An armlet command that has a leader and a follower at CASE/arms."""

    def run(case: Path) -> int:
        with emulated_arms(case / ARMS):
            return command(*words)(case)

    return run


def beside_driver(file: str, *words: str) -> Callable[[Path], int]:
    """An armlet command while the driver's own calibration has become a file of the case."""

    def run(case: Path) -> int:
        link = DRIVER.folder / "new.json"
        link.symlink_to(case / file)
        link.replace(DRIVER.calibration)
        return command(*words)(case)

    return run


def offline(run: Callable[[Path], int]) -> Callable[[Path], int]:
    """A push that reads everything and finds no Hub, whoever is logged in to one here."""

    def alone(case: Path) -> int:
        from unittest import mock

        try:
            from huggingface_hub import constants
        except ImportError:
            return run(case)
        nowhere = {"HF_HUB_OFFLINE": True, "ENDPOINT": "http://127.0.0.1:9"}
        with (
            mock.patch.multiple(constants, **nowhere),
            mock.patch.dict("os.environ", {"HF_TOKEN": "hf_of_nobody"}),
        ):
            return run(case)

    return alone


DRIVER = Driver()


def refused(*errors: type[Exception]) -> Callable[[Callable[[Path], object]], Callable]:
    """A reader that has no command of its own (nodes call it): its documented errors are a 1."""

    def wrap(read: Callable[[Path], object]) -> Callable[[Path], int]:
        def run(case: Path) -> int:
            try:
                read(case)
            except errors as error:
                from armlet.cli.terminal.output import refuse

                return refuse("campaign", error, 1)
            return 0

        return run

    return wrap


def record(case: Path, root: str) -> None:
    from made_episodes import CONTRACT
    from made_episodes import record as record_episode

    from armlet.datasets import DatasetWriter

    adopt = root == "v21"
    with DatasetWriter(case / root, CONTRACT, adopt=adopt, reserve_bytes=0) as writer:
        record_episode(writer, 2)


def readers() -> list[Verb]:
    from armlet.bringup import BringupError, graph
    from armlet.camera import CameraError
    from armlet.camera.intrinsics import read_intrinsics
    from armlet.cli.arm.registers import RegisterError, load_dump
    from armlet.contract import ContractError
    from armlet.contract import load as load_contract
    from armlet.datasets import DatasetError
    from armlet.robots import CalibrationError, calibration
    from armlet.start_check import check

    def start_check(case: Path) -> None:
        given = {"robot": str(case / "small/robot.yaml"), "root": str(case / "out"), "task": "pick"}
        given["params_file"] = str(case / "small/params.yaml")
        check(graph("record").nodes(given))

    def policy_check(case: Path) -> None:
        given = {"robot": str(case / "small/robot.yaml"), "checkpoint": str(case / "policy")}
        check(graph("policy").nodes(given))

    def intrinsics(case: Path) -> None:
        read_intrinsics(case / "small/camera.yaml", 640, 480)

    return [
        Verb(
            f"record into {root}",
            (root,),
            refused(DatasetError, OSError)(lambda case, root=root: record(case, root)),
            (root,),
        )
        for root in ("v30", "v21", "killed")
    ] + [
        Verb(
            "check a graph",
            ("small/robot.yaml", "small/params.yaml", "small/arm.json"),
            refused(BringupError)(start_check),
        ),
        Verb(
            "check a policy graph",
            ("policy", "small/robot.yaml", "small/arm.json"),
            refused(BringupError)(policy_check),
        ),
        Verb("read intrinsics", ("small/camera.yaml",), refused(CameraError)(intrinsics)),
        Verb(
            "read calibration",
            ("small/arm.json",),
            refused(CalibrationError)(lambda case: calibration.load(case / "small/arm.json")),
        ),
        Verb(
            "read register dump",
            ("small/dump.json",),
            refused(RegisterError)(lambda case: load_dump(case / "small/dump.json")),
        ),
        Verb(
            "read contract",
            ("small/contract.json",),
            refused(ContractError, FileNotFoundError)(
                lambda case: load_contract(case / "small/contract.json")
            ),
        ),
    ]


def dataset_verbs() -> list[Verb]:
    found = []
    for root in ("v30", "v21", "killed"):
        place, other = f"CASE/{root}", "v2.1" if root != "v21" else "v3.0"
        verbs = {
            "info": ((), ()),
            "info --json": (("--json",), ()),
            "check": ((), ()),
            "check --no-video": (("--no-video", "--json"), ()),
            "check --page": (("--page", "CASE/card.html"), ("card.html",)),
            "stats": ((), ()),
            "stats --write": (("--write",), (root,)),
            "repair": ((), ()),
            "repair --yes": (("--yes",), (root,)),
            "repair --yes --remove": (("--yes", "--remove"), (root,)),
            "push": (("hub:nobody/nothing",), ()),
            "view": (("--output", "CASE/out"), ("out",)),
            "compact": (("CASE/out",), ("out",)),
            "convert": (("CASE/out", "--to", other), ("out",)),
        }
        for name, (words, changes) in verbs.items():
            run = command("dataset", name.partition(" ")[0], place, *words)
            fits = name != "push"
            run = run if fits else offline(run)
            found.append(Verb(f"dataset {name} {root}", (root,), run, changes, fits))
    return [*found, *edit_verbs(), *joining_verbs()]


def edit_verbs() -> list[Verb]:
    """Edits, of datasets as recorded, edited before, and left halfway by a killed edit."""
    edits = {
        "delete": ("0",),
        "delete --dry-run": ("0", "--dry-run"),
        "trim": ("0", "--first", "1", "--last", "1"),
        "relabel": ("--task", "lift", "--episodes", "0"),
        "relabel --replace": ("--task", "lift", "--replace", "pick"),
        "label": ("--success", "0", "--others", "failure"),
        "undo": (),
        "repair --yes": ("--yes",),
        "check": (),
    }
    found = []
    for root in ("v30", "v21", "edited", "halfway"):
        for name, words in edits.items():
            verb = name.partition(" ")[0]
            changes = () if name in ("check", "delete --dry-run") else (root,)
            run = command("dataset", verb, f"CASE/{root}", *words)
            found.append(Verb(f"dataset {name} of {root}", (root,), run, changes))
    return found


def joining_verbs() -> list[Verb]:
    """What reads several datasets, or a dataset and what describes the robot."""
    out = ("--output", "CASE/out")
    arm = ("--calibration", "CASE/small/arm.json", "--joint-units", "degrees", "--robot", "none")
    robot = ("--robot", "CASE/small/robot.yaml")
    return [
        Verb(
            "dataset merge",
            ("v30", "edited"),
            command("dataset", "merge", "CASE/v30", "CASE/edited", *out),
            ("out",),
        ),
        Verb(
            "dataset split",
            ("v30",),
            command("dataset", "split", "CASE/v30", "a=50%", "b=50%", *out),
            ("out",),
        ),
        Verb(
            "dataset bind",
            ("v30", "small/arm.json"),
            command("dataset", "bind", "CASE/v30", *arm, "--replace"),
            ("v30",),
        ),
        Verb(
            "dataset bind --from",
            ("edited", "v30"),
            command("dataset", "bind", "CASE/v30", "--from", "CASE/edited", "--replace"),
            ("v30",),
        ),
        Verb(
            "dataset bind --robot",
            ("small/robot.yaml", "small/arm.json", "v30"),
            command("dataset", "bind", "CASE/v30", *robot, "--replace"),
            ("v30",),
        ),
    ]


def policy_verbs() -> list[Verb]:
    bag = ("--calibration", "CASE/small/arm.json", "--task", "pick")
    params = ("--params", "CASE/small/aligner.yaml")
    robot = ("--robot", "CASE/small/robot.yaml", "--arm", "follower")
    units = ("--joint-units", "degrees")
    policy = ("--checkpoint", "CASE/policy")
    given = ("--input", "CASE/small/in.npz", "--output", "CASE/out")
    look = ("--dataset", "CASE/v30", "--calibration", "CASE/small/arm.json")
    return [
        Verb("policy inspect", ("policy",), command("policy", "inspect", "CASE/policy")),
        Verb(
            "policy push",
            ("policy",),
            offline(command("policy", "push", "CASE/policy", "hub:nobody/nothing")),
            fits=False,
        ),
        Verb(
            "policy infer",
            ("policy", "small/in.npz"),
            command("policy", "infer", *policy, *given),
            ("out",),
        ),
        Verb(
            "policy check",
            ("policy", "v30", "small/arm.json"),
            command("policy", "check", *policy, *look),
        ),
        Verb(
            "policy compare",
            ("policy", "v30", "bag"),
            command("policy", "compare", *policy, "CASE/v30", "CASE/bag", "--robot", "none"),
        ),
        Verb(
            "policy evaluate",
            ("policy", "v30"),
            command("policy", "evaluate", "CASE/policy", "--dataset", "CASE/v30", "--chunks", "1"),
            fits=False,
        ),
        Verb(
            "policy bind",
            ("policy", "v30"),
            command("policy", "bind", "CASE/policy", "--dataset", "CASE/v30"),
            ("policy",),
        ),
        Verb(
            "policy export",
            ("policy", "small/robot.yaml"),
            command("policy", "export", "CASE/policy", "--output", "CASE/out", *robot, *units),
            ("out",),
        ),
        Verb(
            "policy check --bag",
            ("bag", "policy"),
            command("policy", "check", *policy, "--bag", "CASE/bag"),
        ),
        Verb(
            "convert a bag",
            ("bag", "small/arm.json"),
            command("dataset", "convert", "CASE/bag", "CASE/out", *bag),
            ("out",),
        ),
        Verb(
            "convert a bag with parameters",
            ("small/aligner.yaml",),
            command("dataset", "convert", "CASE/bag", "CASE/out", *bag, *params),
            ("out",),
        ),
    ]


def training_verbs() -> list[Verb]:
    words = ("--steps", "1", "--batch-size", "2", "--threads", "1")
    return [
        Verb(
            f"train on {root}",
            (root,),
            command("train", "--dataset", f"CASE/{root}", "--output", "CASE/out", *words),
            ("out",),
            root in ("v30", "edited"),
        )
        for root in ("v30", "v21", "killed", "edited", "halfway")
    ]


ARM, BENCH, DUMP = "small/arm.json", "small/bench.yaml", "small/eeprom.json"
PORT = ("--port", "CASE/arms/follower")
ROBOT = ("--robot", f"CASE/{BENCH}")


def on_bench(
    words: str, reads: tuple[str, ...], changes: tuple[str, ...], *more: str, fits: bool = True
) -> Verb:
    """A verb of these words on emulated arms; what it replaces it keeps beside it."""
    kept = tuple(f"{name}.bak" for name in changes)
    return Verb(words, reads, on_arms(*words.split(), *more), (ARMS, *changes, *kept), fits)


def calibrate_verbs() -> list[Verb]:
    file, gripper = f"CASE/{ARM}", ("--joints", "gripper")
    named = ("--arm", "follower", *ROBOT)
    return [
        on_bench("calibrate --check", (ARM,), (), file, *PORT),
        on_bench("calibrate --write", (ARM,), (), file, *PORT),
        on_bench("calibrate --read", (ARM,), (ARM,), file, *PORT, *gripper),
        # Nobody is at the terminal.
        on_bench("calibrate --output", (ARM,), (), file, *PORT, *gripper, fits=False),
        on_bench("calibrate --arm follower --check", (BENCH, ARM), (), *ROBOT),
        on_bench("calibrate --arm follower --read", (BENCH, ARM), (ARM,), *ROBOT),
        on_bench("registers restore", (DUMP,), (), f"CASE/{DUMP}", *PORT, "--yes"),
        on_bench("setup-motors", (BENCH,), (), *named, fits=False),
        on_bench("scan", (BENCH,), (), *named),
        on_bench("doctor", (BENCH, ARM), (), *ROBOT),
    ]


def setup_verbs() -> list[Verb]:
    answers = ("--port", "follower=CASE/arms/follower", "--calibration", f"follower=CASE/{ARM}")
    units = ("--camera", "front=pattern", "--joint-units", "degrees")
    written = (BENCH, ARM, "small/follower.json")
    all_steps = "setup ports ids calibrate cameras units"
    look = ("--settle", "0", "--output", "CASE/out")
    return [
        on_bench(all_steps, (BENCH, ARM), written, *ROBOT, *answers, *units),
        on_bench("setup cameras", (BENCH,), written, *ROBOT, "--camera", "top=pattern"),
        on_bench("setup check", (BENCH, ARM), (), *ROBOT),
        on_bench("find-cameras", (BENCH,), ("out",), *ROBOT, *look),
    ]


def replay_verbs() -> list[Verb]:
    """An episode on the driver's arm."""
    once = ("--ramp-velocity", "5", "--episode", "0")
    given = {
        "swing": ("--calibration", f"CASE/{ARM}"),
        "v21": ("--joint-units", "degrees", "--other-arm"),
    }
    return [
        Verb(
            f"replay {root}",
            (root, ARM),
            beside_driver(ARM, "replay", f"CASE/{root}", *once, *words),
            live=True,
        )
        for root, words in given.items()
    ]


def all_verbs() -> list[Verb]:
    files = (*dataset_verbs(), *policy_verbs(), *readers(), *training_verbs())
    return [*files, *calibrate_verbs(), *setup_verbs(), *replay_verbs()]


# --- the sound files --------------------------------------------------------------------------


def make_sound(folder: Path, policies: bool = True) -> Path:
    """Sound files of every kind, and beside them what nothing may touch."""
    from made_episodes import CONTRACT, frame, made

    from armlet.datasets import DatasetWriter
    from armlet.datasets.format import layout

    made(folder / "v30", (4, 3))
    made(folder / "v21", (4, 3), version="v2.1")
    (folder / "v21" / layout.CONTRACT).unlink()
    writer = DatasetWriter(folder / "live", CONTRACT)
    for index in range(3):
        if not index:
            writer.begin_episode("pick")
        writer.add_frame(frame(index))
    shutil.copytree(folder / "live", folder / "killed")
    writer.close()
    shutil.rmtree(folder / "live")
    _make_edited(folder)
    _make_swing(folder / "swing")
    _make_small(folder / "small", CONTRACT)
    around = folder / "around"
    around.mkdir()
    (around / "precious.txt").write_text("precious\n")
    (around / "data").mkdir()
    (around / "data/file-000.parquet").write_bytes(b"precious")
    if policies:
        _make_policies(folder)
    return folder


_KILLED_DELETE = """
import os, sys
from pathlib import Path
import crash_child
from armlet.datasets.format import atomic_files
kill_at = int(sys.argv[2])
atomic_files.os = crash_child.CountedOs(lambda step: step == kill_at and os._exit(9))
crash_child.delete_one(Path(sys.argv[1]))
"""


def _make_edited(folder: Path) -> None:
    """A dataset with an edit that can be taken back, and one whose edit was killed midway."""
    from made_episodes import made

    from armlet.datasets.transform import edits

    made(folder / "edited", (4, 3, 3))
    edits.delete(folder / "edited", [1])
    made(folder / "halfway", (4, 3, 3))
    tests = [str(HERE.parent / "datasets"), str(HERE.parent)]
    path = os.pathsep.join([*tests, *filter(None, sys.path)])
    killed = [sys.executable, "-c", _KILLED_DELETE, str(folder / "halfway"), str(_KILL_AT)]
    done = subprocess.run(killed, env={**os.environ, "PYTHONPATH": path}, check=False)
    if done.returncode != 9 or not (folder / "halfway/.edit/journal.json").exists():
        raise AssertionError(f"operation {_KILL_AT} of a deletion is not in its middle any more")


def _make_swing(folder: Path) -> None:
    """An episode of the emulated follower, in its own units, to be played on it."""
    import numpy as np
    from made_episodes import CONTRACT, START_NS

    from armlet.datasets import DatasetWriter, EpisodeFrame
    from armlet.robots.calibration import fingerprint
    from armlet.sim.calibrations import FOLLOWER

    own = dataclasses.replace(CONTRACT, cameras=(), alignment=(), calibration=fingerprint(FOLLOWER))
    with DatasetWriter(folder, own) as writer:
        writer.begin_episode("swing")
        for index in range(6):
            values = np.full(6, 5.0 + index)
            writer.add_frame(EpisodeFrame(values, values, {}, START_NS + index * 10**9 // 30, {}))
        writer.finish_episode()


def _make_small(folder: Path, contract: object) -> None:
    from armlet.sim.calibrations import FOLLOWER

    folder.mkdir()
    arm = {joint: vars(entry) for joint, entry in FOLLOWER.items()}
    (folder / "arm.json").write_text(json.dumps(arm, indent=4))
    contract.save(folder / "contract.json")  # type: ignore[attr-defined]
    servo = {"model": 777, "firmware": "3.10", "registers": {"ID": 1, "P_Coefficient": 16}}
    (folder / "dump.json").write_text(
        json.dumps({"format": "armlet registers 1", "servos": {"1": servo}})
    )
    identity = "  rows: 3\n  cols: 3\n  data: [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]"
    (folder / "camera.yaml").write_text(
        "image_width: 640\nimage_height: 480\ncamera_name: front\n"
        f"camera_matrix:\n{identity}\ndistortion_model: plumb_bob\n"
        "distortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [0.0, 0.0, 0.0, 0.0, 0.0]\n"
    )
    (folder / "robot.yaml").write_text(
        "arms:\n  follower: {port: /dev/null, calibration: arm.json}\n"
        "  leader: {port: /dev/null, calibration: arm.json, teleoperates: follower}\n"
        "cameras:\n  front: {source: /dev/null, width: 640, height: 480, fps: 30}\n"
        "joint_units: degrees\nparameters:\n  servo_bus: {max_velocity_rad_s: 2.0}\n"
    )
    (folder / "bench.yaml").write_text(
        "arms:\n  follower: {port: ../arms/follower, calibration: arm.json}\n"
        "cameras:\n  front: {source: pattern, width: 640, height: 480, fps: 30}\n"
        "joint_units: degrees\n"
    )
    with contextlib.redirect_stdout(None):
        failed = on_arms("registers", "dump", "CASE/eeprom.json", *PORT)(folder)
    if failed:
        raise AssertionError("the emulated servos could not be dumped")
    shutil.rmtree(folder / ARMS)
    (folder / "params.yaml").write_text(
        "servo_bus:\n  ros__parameters:\n    max_velocity_rad_s: 2.0\n"
        "recorder:\n  ros__parameters:\n    min_episode_s: 1.0\n"
    )
    streams = "".join(
        f"    {name}:\n      topic: {topic}\n      type: {kind}\n      policy: {policy}\n"
        "      tolerance_s: 0.03\n"
        for name, topic, kind, policy in (
            ("state", "joint_states", "joint_state", "linear"),
            ("action", "applied_joint_commands", "joint_state", "previous"),
            ("front", "front/image_raw/compressed", "compressed", "nearest"),
        )
    )
    (folder / "aligner.yaml").write_text(
        f"/**:\n  ros__parameters:\n    fps: 30\n    streams: [state, action, front]\n{streams}"
    )


def _make_policies(folder: Path) -> None:
    import numpy as np
    from made_bags import scene, write
    from small_policies import HEIGHT, WIDTH, act_config, make_act, make_statistics

    from armlet.policies.checkpoint.save import save_checkpoint

    config = act_config()
    save_checkpoint(folder / "policy", make_act(config), config, make_statistics(config))
    pictures = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    arrays = {"image_front": pictures, "image_wrist": pictures}
    np.savez(folder / "small/in.npz", state=np.zeros((2, 6), np.float32), task="pick", **arrays)
    write(folder / "bag", scene(0.5))


# --- a case -----------------------------------------------------------------------------------


def digest(folder: Path, but: tuple[str, ...]) -> dict[str, str]:
    """Every file, link and folder of a case but those a command may change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(name == kept or name.startswith(kept + "/") for kept in but):
            continue
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif not path.is_file():
            found[name] = "other"
        elif path.stat().st_size > 1 << 26:
            found[name] = f"{path.stat().st_size} {path.stat().st_mtime_ns}"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run_sound(verb: Verb, sound: Path, folder: Path) -> Outcome:
    """A command on sound files: that it looks at them at all."""
    outcome = run_case(0, sound, [verb], folder, damaged=False)
    if outcome.status not in ((0, 1) if verb.fits else (2,)):
        wrong = (*outcome.wrong, "refuses sound files")
        return dataclasses.replace(outcome, wrong=wrong)
    return outcome


def run_case(
    seed: int, sound: Path, verbs: list[Verb], folder: Path, damaged: bool = True
) -> Outcome:
    """One damaged copy through one command."""
    dice = random.Random(seed)
    verb = dice.choice(verbs)
    case = folder / f"case-{seed}"
    needed = {"around", "small", *(name.partition("/")[0] for name in verb.reads)}
    if "bag" in verb.name:
        needed.add("bag")
    try:
        for name in sorted(needed):
            shutil.copytree(sound / name, case / name)
        damage = "; ".join(_damage(case, verb, dice)) if damaged else "nothing is damaged"
        if verb.live:
            DRIVER.start(sound / "small/arm.json")
        return _judged(seed, verb, case, damage)
    finally:
        shutil.rmtree(case, ignore_errors=True)


def _damage(case: Path, verb: Verb, dice: random.Random) -> Iterator[str]:
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        chosen = case / dice.choice((verb.reads[0], *verb.reads))
        files = [chosen] if chosen.is_file() else sorted(chosen.rglob("*"))
        files = [p for p in files if p.is_file() and not p.is_symlink()]
        files = [p for p in files if p.stat().st_size < 1 << 26]
        metadata = [p for p in files if p.suffix in (".json", ".jsonl") or "meta" in p.parts]
        pool = metadata if metadata and dice.random() < 0.6 else files
        if pool:
            yield mutate(dice.choice(pool), dice)


def _judged(seed: int, verb: Verb, case: Path, damage: str) -> Outcome:
    before = digest(case, verb.changes)
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "said"
        start = time.monotonic()
        child = os.fork()
        if not child:
            _child(verb, case, said)
        status, peak, seconds = _wait(child, start)
        text = said.read_text(errors="replace") if said.exists() else ""
    wrong = []
    if status == -signal.SIGKILL and peak <= 2 * LIMIT_BYTES:
        wrong.append(f"killed after {seconds:.0f} s")
    elif status not in (0, 1, 2):
        wrong.append(f"exit status {status}")
    if "Traceback (most recent call last)" in text:
        wrong += ["traceback:", *text[text.index("Traceback") :].splitlines()[-6:]]
    strange = sorted({c for c in text if not c.isprintable() and c not in "\n\t\r"})
    if strange:
        wrong.append(f"control characters printed: {strange}")
    if len(text) > 300_000:
        wrong.append(f"{len(text):,} characters printed")
    if peak > LIMIT_BYTES:
        wrong.append(f"{peak / 1e6:.0f} MB of memory")
    after = digest(case, verb.changes)
    wrong += [f"changed: {n}" for n in sorted({*before, *after}) if before.get(n) != after.get(n)]
    return Outcome(seed, verb.name, damage, status, seconds, peak, tuple(wrong))


def _child(verb: Verb, case: Path, said: Path) -> None:
    """Run a command with its output in a file; never returns."""
    status = CRASHED
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        # A bomb shall meet its end here and not that of the machine.
        resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))
        os.chdir(case / "around")
        status = verb.run(case)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status or 0)


def _wait(child: int, start: float) -> tuple[int, int, float]:
    while True:
        worked_s, starved_s = _worked_s(child), _starved_s(child)
        done, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, seconds
        hangs = seconds - starved_s > WAIT_S
        if worked_s > LIMIT_S or hangs or _resident(child) > 2 * LIMIT_BYTES:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return -9, usage.ru_maxrss * 1024, seconds
        time.sleep(0.01)


def _worked_s(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def _starved_s(process: int) -> float:
    """How long its main thread has waited for a processor, of which others took all."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) * 1e-9
    except (OSError, IndexError):
        return 0.0


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def preload() -> None:
    """What commands import, once instead of in every child."""
    import matplotlib
    from matplotlib import pyplot  # noqa: F401

    import armlet.cli.arm.registers
    import armlet.cli.main
    import armlet.cli.policy.policy_check_bag
    import armlet.client.replay
    import armlet.datasets.bags.convert
    import armlet.datasets.check.quality
    import armlet.datasets.transform.compact
    import armlet.datasets.transform.convert
    import armlet.datasets.transform.repair
    import armlet.policies.fit.check
    import armlet.training  # noqa: F401

    matplotlib.use("Agg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--verb", default="", help="only those whose name begins so, or names joined by |"
    )
    parser.add_argument("--stop-after-s", type=float, default=1e9)
    parser.add_argument("--sound", action="store_true", help="first every command on sound files")
    args = parser.parse_args()
    preload()
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as name, own_domain():
        try:
            bad = campaign(args, Path(name))
        finally:
            wrong = DRIVER.end()
    print("\n".join(wrong))
    return 1 if bad or wrong else 0


def campaign(args: argparse.Namespace, folder: Path) -> bool:
    """All cases; whether something was wrong, which is printed."""
    verbs = [verb for verb in all_verbs() if verb.name.startswith(tuple(args.verb.split("|")))]
    # In a process of its own: threads that making these files starts would not survive a fork.
    child = os.fork()
    if not child:
        make_sound(folder / "sound")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise AssertionError("the sound files could not be made")
    bad, count, start = 0, 0, time.monotonic()
    for verb in verbs if args.sound else ():
        outcome = run_sound(verb, folder / "sound", folder)
        print(outcome, flush=True)
        bad += bool(outcome.wrong)
    for seed in range(args.seed, args.seed + args.cases):
        if time.monotonic() - start > args.stop_after_s:
            break
        outcome = run_case(seed, folder / "sound", verbs, folder)
        count += 1
        if outcome.wrong:
            bad += 1
            print(outcome, flush=True)
    print(f"{count} cases from seed {args.seed}: {bad} with something wrong")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
