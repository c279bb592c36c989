"""Read+write cycles of six servos against the emulator: how fast, and at what cost in CPU time.

Prints one line of JSON. The emulator runs in a process of its own, so that the CPU figures are the
client's. A cycle is one sync_read of Present_Position and one sync_write of Goal_Position; at
1 Mbaud its 88 bytes take 0.88 ms on the wire.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from armlet.feetech import Bus
from armlet.feetech.registers import GOAL_POSITION, PRESENT_POSITION, RETURN_DELAY_TIME

IDS = (1, 2, 3, 4, 5, 6)
SERVE = (
    "import sys, time; from armlet.feetech import EmulatedBus\n"
    "with EmulatedBus(link=sys.argv[1], paced=sys.argv[2] == 'paced') as bus:\n"
    "    print('ready', flush=True); sys.stdin.read()"
)


def measure(pacing: str, seconds: float, rate_hz: float | None = None) -> dict[str, float]:
    """Cycles per second, wall and client CPU milliseconds per cycle, lost replies."""
    with tempfile.TemporaryDirectory() as folder:
        link = str(Path(folder) / "bus")
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, link, pacing],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert server.stdin is not None and server.stdout is not None
        server.stdout.readline()
        try:
            with Bus(link) as bus:
                return _run_cycles(bus, seconds, rate_hz)
        finally:
            server.stdin.close()
            server.wait()


def _run_cycles(bus: Bus, seconds: float, rate_hz: float | None) -> dict[str, float]:
    for id in IDS:
        bus.write(id, RETURN_DELAY_TIME, 0)
    registers, goals = [PRESENT_POSITION], dict.fromkeys(IDS, 2048)
    cycles = missing = 0
    busy_s = 0.0
    start_s, cpu_s = time.perf_counter(), time.process_time()
    while (begun_s := time.perf_counter()) - start_s < seconds:
        missing += len(bus.sync_read(registers, IDS).missing)
        bus.sync_write(GOAL_POSITION, goals)
        cycles += 1
        busy_s += time.perf_counter() - begun_s
        if rate_hz is not None:
            time.sleep(max(0.0, start_s + cycles / rate_hz - time.perf_counter()))
    wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    return {
        "cycles_per_s": round(cycles / wall_s, 1),
        "ms_per_cycle": round(1e3 * busy_s / cycles, 3),
        "cpu_ms_per_cycle": round(1e3 * cpu_s / cycles, 3),
        "cpu_percent": round(100 * cpu_s / wall_s, 1),
        "missing_replies": missing,
    }


def main() -> None:
    """Measures unpaced, wire-paced, and wire-paced at 100 Hz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per case")
    seconds = parser.parse_args().seconds
    result = {
        "unpaced": measure("unpaced", seconds),
        "paced": measure("paced", seconds),
        "paced_100_hz": measure("paced", seconds, 100.0),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
