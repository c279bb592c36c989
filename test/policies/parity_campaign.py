"""Parity with stock LeRobot over configurations at random: one line of JSON a run, a summary last.

ARMLET_ORACLE=... python test/policies/parity_campaign.py --runs 100 --seed 1
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from lerobot_oracle import LeRobot, missing
from parity_matrix import (
    BACKENDS,
    ERAS,
    KINDS,
    LIMITS,
    deviate,
    draw,
    exchange,
    flat,
    measure,
)


def run(case, lerobot, backends, out):
    """Lines for one case on every backend; the names of those that fail."""
    failed, results = [], []
    with tempfile.TemporaryDirectory() as place:
        try:
            arrays = exchange(case, lerobot, Path(place))
        except RuntimeError:
            describe(case, "lerobot", out)
            return ["lerobot"], []
        for backend in backends:
            if case.kind == "smolvla" and not backend.startswith("torch"):
                continue
            try:
                deviation = deviate(case, arrays, Path(place), backend)
            except Exception:
                describe(case, backend, out)
                failed.append(backend)
                continue
            print(flat(case, deviation, backend), file=out, flush=True)
            results.append((backend, deviation))
            if not measure(case.kind, backend, deviation) <= LIMITS[case.kind]:
                failed.append(backend)
    return failed, results


def describe(case, backend, out):
    """A line for what could not be compared, and its reason."""
    head = {"seed": case.seed, "era": case.era, "kind": case.kind, "backend": backend}
    error = traceback.format_exc()[-2000:]
    print(json.dumps({**head, "error": error, **case.describe()}), file=out, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="the first run's; the others follow")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--era", choices=ERAS, action="append")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    arguments = parser.parse_args()
    eras, kinds = arguments.era or ERAS, arguments.kind or KINDS
    backends = arguments.backend or ["torch"]
    if missing(*eras):
        parser.error(missing(*eras))
    torch.set_num_threads(1)
    started, worst, runs, failures = time.monotonic(), {}, 0, []
    with ExitStack() as stack:
        oracles = {era: stack.enter_context(LeRobot(era)) for era in eras}
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            era = eras[seed % len(eras)]
            kind = kinds[seed // len(eras) % len(kinds)]
            failed, results = run(draw(seed, era, kind), oracles[era], backends, sys.stdout)
            failures += [f"{seed} {era} {kind} {backend}" for backend in failed]
            runs += 1
            for backend, deviation in results:
                entry = worst.setdefault(f"{kind} {era} {backend}", {"runs": 0})
                entry["runs"] += 1
                for name, value in vars(deviation).items():
                    if name == "moved":
                        entry[name] = min(entry.get(name, value), value)
                    else:
                        entry[name] = max(entry.get(name, 0.0), value)
    summary = {"runs": runs, "seconds": round(time.monotonic() - started), "failed": failures}
    summary["limits"] = LIMITS
    summary["worst"] = {
        key: {name: float(f"{value:.3g}") for name, value in entry.items()}
        for key, entry in sorted(worst.items())
    }
    print(json.dumps(summary))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
