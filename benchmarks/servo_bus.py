"""Read+write cycles of six servos: armlet beside LeRobot, rustypot and a bare reader.

    python benchmarks/servo_bus.py [--seconds 2] [--rounds 5] [--rustypot DIRECTORY]

A cycle is one SYNC_WRITE of Goal_Position and one SYNC_READ of Present_Position. Its 88 bytes take
0.88 ms at 1 Mbaud, so no client can do more than 1136 cycles/s on a wire. The servos are emulated,
by one process for all, with and without the time that bytes take on a wire; their return delay is
0. Each client is a process of its own and measures its own CPU time. The clients take turns, round
by round, and the medians over the rounds are given, because a machine is never quite quiet.

LeRobot runs in its own environment: DIRECTORY/v04/bin/python, where DIRECTORY is ARMLET_ORACLE or
.oracle in the repository. rustypot is imported where this runs, or from --rustypot, a directory
made with `pip install --target`. The table goes to stderr, one line of JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

IDS = (1, 2, 3, 4, 5, 6)
GOAL = 2047
BYTES_PER_CYCLE = (8 + 6 * 3) + (8 + 6) + 6 * 8
WIRE_LIMIT = 1_000_000 / 10 / BYTES_PER_CYCLE
REPOSITORY = Path(__file__).resolve().parent.parent
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
WARM_UP_CYCLES = 20

Cycle = Callable[[], int]
"""One cycle; returns the number of servos that answered."""


@contextmanager
def armlet_client(port: str) -> Any:
    """Command and request in one write."""
    from armlet.motors.feetech import Bus
    from armlet.motors.feetech.registers import GOAL_POSITION, PRESENT_POSITION

    goals, registers = dict.fromkeys(IDS, GOAL), [PRESENT_POSITION]
    with Bus(port) as bus:
        yield lambda: len(bus.sync_write_read(GOAL_POSITION, goals, registers, IDS).values)


@contextmanager
def armlet_separate_client(port: str) -> Any:
    """The same in two calls, as the others do it."""
    from armlet.motors.feetech import Bus
    from armlet.motors.feetech.registers import GOAL_POSITION, PRESENT_POSITION

    goals, registers = dict.fromkeys(IDS, GOAL), [PRESENT_POSITION]

    def cycle() -> int:
        answered = len(bus.sync_read(registers, IDS).values)
        bus.sync_write(GOAL_POSITION, goals)
        return answered

    with Bus(port) as bus:
        yield cycle


@contextmanager
def lerobot_client(port: str) -> Any:
    """LeRobot's own calls, without its conversion of units."""
    from lerobot.motors import Motor, MotorNormMode
    from lerobot.motors.feetech import FeetechMotorsBus

    norm = MotorNormMode.RANGE_M100_100
    bus = FeetechMotorsBus(port, {f"joint_{id}": Motor(id, "sts3215", norm) for id in IDS})
    goals = dict.fromkeys(bus.motors, GOAL)

    def cycle() -> int:
        try:
            answered = len(bus.sync_read("Present_Position", normalize=False))
        except ConnectionError:
            answered = 0
        bus.sync_write("Goal_Position", goals, normalize=False)
        return answered

    bus.connect(handshake=False)
    try:
        yield cycle
    finally:
        bus.disconnect(disable_torque=False)


@contextmanager
def rustypot_client(port: str) -> Any:
    """rustypot's calls, without its conversion of units."""
    import rustypot

    ids, goals = list(IDS), [GOAL] * len(IDS)
    bus = rustypot.Sts3215PyController(serial_port=port, baudrate=1_000_000, timeout=0.1)

    def cycle() -> int:
        try:
            answered = len(bus.sync_read_raw_present_position(ids))
        except (RuntimeError, OSError):
            answered = 0
        bus.sync_write_raw_goal_position(ids, goals)
        return answered

    yield cycle


@contextmanager
def bare_client(port: str) -> Any:
    """The yardstick: the same bytes, poll(2) for each piece, and not a look at what they say."""
    request = b"\xff\xff\xfe\x16\x83\x2a\x02" + b"".join(bytes((id, 255, 7)) for id in IDS)
    request += bytes((~sum(request[2:]) & 255,))
    request += b"\xff\xff\xfe\x0a\x82\x38\x02" + bytes(IDS)
    request += bytes((~sum(request[request.rindex(b"\xff\xff") + 2 :]) & 255,))
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(fd)
    settings = termios.tcgetattr(fd)
    settings[4] = settings[5] = termios.B1000000
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    poller = select.poll()
    poller.register(fd, select.POLLIN)

    def cycle() -> int:
        os.write(fd, request)
        due = 8 * len(IDS)
        while due > 0 and poller.poll(100):
            due -= len(os.read(fd, 4096))
        return len(IDS) - max(0, due) // 8

    try:
        yield cycle
    finally:
        os.close(fd)


CLIENTS: dict[str, Callable[[str], AbstractContextManager[Cycle]]] = {
    "armlet": armlet_client,
    "armlet, separate": armlet_separate_client,
    "lerobot": lerobot_client,
    "rustypot": rustypot_client,
    "bare poll": bare_client,
}
NEEDS = {"lerobot": "lerobot.motors.feetech", "rustypot": "rustypot"}


def serve_client(name: str) -> None:
    """A client's process: one round for each line of stdin, its figures on stdout."""
    __import__(NEEDS.get(name, "armlet.motors.feetech") if name != "bare poll" else "os")
    print(json.dumps({"ready": name}), flush=True)
    for line in sys.stdin:
        port, seconds = json.loads(line)
        with CLIENTS[name](port) as cycle:
            figures = measure(cycle, seconds)
        del cycle  # rustypot closes its port when nobody holds it any more
        print(json.dumps(figures), flush=True)


def measure(cycle: Cycle, seconds: float) -> dict[str, float]:
    """Runs cycles for that long."""
    for _ in range(WARM_UP_CYCLES):
        cycle()
    took_s: list[float] = []
    missing = 0
    cpu_s, start_s = time.process_time(), time.perf_counter()
    now_s = start_s
    while now_s - start_s < seconds:
        begun_s = now_s
        missing += len(IDS) - cycle()
        now_s = time.perf_counter()
        took_s.append(now_s - begun_s)
    cpu_s = time.process_time() - cpu_s
    took_s.sort()
    return {
        "cycles_per_s": len(took_s) / (now_s - start_s),
        "p50_ms": 1e3 * took_s[len(took_s) // 2],
        "p99_ms": 1e3 * took_s[len(took_s) * 99 // 100],
        "cpu_ms_per_cycle": 1e3 * cpu_s / len(took_s),
        "missing_replies": missing,
    }


def serve_servos(folder: str) -> None:
    """The servos' process: a bus for each pacing, until stdin ends."""
    from armlet.motors.emulation import EmulatedBus
    from armlet.motors.feetech.registers import RETURN_DELAY_TIME

    with ExitStack() as stack:
        for pacing in ("paced", "unpaced"):
            bus = EmulatedBus(IDS, link=Path(folder, pacing), paced=pacing == "paced")
            stack.enter_context(bus)
            for servo in bus.servos.values():
                servo.poke(RETURN_DELAY_TIME, 0)
        print("ready", flush=True)
        sys.stdin.read()


class Peer:
    """A client's process, seen from here.

    Raises:
        RuntimeError: it could not import what it needs.
    """

    def __init__(self, name: str, python: str, path: str | None) -> None:
        environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, __file__, "--client", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self._answer()

    def run(self, port: str, seconds: float) -> dict[str, float]:
        """One round. Raises RuntimeError: the client failed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([port, seconds]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["ended without a word"])[-1]
            raise RuntimeError(last)
        answer: dict[str, float] = json.loads(line)
        return answer


def start_peers(rustypot: str | None) -> tuple[list[Peer], dict[str, str]]:
    """The clients that there are, and why the others are not."""
    peers, absent = [], {}
    for name in CLIENTS:
        python = str(ORACLE) if name == "lerobot" else sys.executable
        if not Path(python).exists():
            absent[name] = "no LeRobot environment there: set ARMLET_ORACLE to its directory"
            continue
        try:
            peers.append(Peer(name, python, rustypot if name == "rustypot" else None))
        except RuntimeError as error:
            absent[name] = str(error)
    return peers, absent


def run(seconds: float, rounds: int, rustypot: str | None) -> dict[str, Any]:
    """All clients, both pacings, round by round."""
    peers, absent = start_peers(rustypot)
    figures: dict[str, dict[str, list[dict[str, float]]]] = {"paced": {}, "unpaced": {}}
    with tempfile.TemporaryDirectory() as folder:
        servos = subprocess.Popen(
            [sys.executable, __file__, "--servos", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert servos.stdout is not None
        servos.stdout.readline()
        try:
            for _ in range(rounds):
                for pacing, found in figures.items():
                    for peer in peers:
                        figure = peer.run(str(Path(folder, pacing)), seconds)
                        found.setdefault(peer.name, []).append(figure)
        finally:
            servos.communicate()
            for peer in peers:
                peer.close()
    return {
        "bytes_per_cycle": BYTES_PER_CYCLE,
        "wire_limit_cycles_per_s": round(WIRE_LIMIT, 1),
        "rounds": rounds,
        "seconds_per_round": seconds,
        **{
            pacing: {name: summarize(found, pacing) for name, found in by_name.items()}
            for pacing, by_name in figures.items()
        },
        "absent": absent,
    }


def summarize(rounds: list[dict[str, float]], pacing: str) -> dict[str, float]:
    """Medians over the rounds, and the replies missing in all of them."""
    result = {
        key: round(statistics.median(figure[key] for figure in rounds), 4)
        for key in ("cycles_per_s", "p50_ms", "p99_ms", "cpu_ms_per_cycle")
    }
    if pacing == "paced":
        result["share_of_wire"] = round(result["cycles_per_s"] / WIRE_LIMIT, 3)
    result["best_round_cycles_per_s"] = round(max(figure["cycles_per_s"] for figure in rounds), 1)
    result["missing_replies"] = sum(figure["missing_replies"] for figure in rounds)
    return result


def compare(result: dict[str, Any]) -> dict[str, float]:
    """What armlet takes of LeRobot's CPU time, and its rate relative to LeRobot's, paced."""
    ours, theirs = result["paced"].get("armlet"), result["paced"].get("lerobot")
    if not ours or not theirs:
        return {}
    return {
        "cpu_of_lerobots": round(ours["cpu_ms_per_cycle"] / theirs["cpu_ms_per_cycle"], 4),
        "rate_of_lerobots": round(ours["cycles_per_s"] / theirs["cycles_per_s"], 3),
    }


def show(result: dict[str, Any]) -> None:
    """The table, on stderr."""
    for pacing, title in (("paced", "at 1 Mbaud"), ("unpaced", "no wire, as fast as it goes")):
        print(f"\n{title:28}cycles/s  of wire   p50 ms   p99 ms  CPU ms  missing", file=sys.stderr)
        for name, row in result[pacing].items():
            share = f"{100 * row['share_of_wire']:.1f} %" if "share_of_wire" in row else ""
            print(
                f"  {name:24}{row['cycles_per_s']:10.0f}{share:>9}{row['p50_ms']:9.3f}"
                f"{row['p99_ms']:9.3f}{row['cpu_ms_per_cycle']:8.3f}{row['missing_replies']:9.0f}",
                file=sys.stderr,
            )
    for name, why in result["absent"].items():
        print(f"  {name:24}not measured: {why}", file=sys.stderr)
    if "cpu_of_lerobots" in result:
        print(
            f"\narmlet takes 1/{1 / result['cpu_of_lerobots']:.1f} of LeRobot's CPU time per "
            f"cycle, at {result['rate_of_lerobots']:.2f} times its rate",
            file=sys.stderr,
        )


def main() -> None:
    """Measures, and says what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="per client, pacing and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rustypot", help="directory to import rustypot from")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--servos", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        serve_client(arguments.client)
    elif arguments.servos:
        serve_servos(arguments.servos)
    else:
        result = run(arguments.seconds, arguments.rounds, arguments.rustypot)
        result.update(compare(result))
        show(result)
        print(json.dumps(result))


if __name__ == "__main__":
    main()
