"""Answers questions about a calibration file with stock LeRobot 0.4.4, inside its own environment.

Started once by a test; a JSON object a line comes in on stdin, a JSON object a line goes out. The
file is loaded by LeRobot's own SO-101 class, the way LeRobot loads it; all else is its own bus's.
  normalize    {"folder", "degrees", "ticks": [[one per joint], ...]} -> {"values": [[...], ...]}
  unnormalize  {"folder", "degrees", "values": [[...], ...]}          -> {"ticks": [[...], ...]}
  connect      {"folder", "degrees", "port"} -> {"is_calibrated", "ticks": [...], "values": [...]}
`folder` holds arm.json.
"""

import json
import sys
from pathlib import Path

from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig


def robot(job):
    return SO101Follower(
        SO101FollowerConfig(
            port=job.get("port", "none"),
            id="arm",
            calibration_dir=Path(job["folder"]),
            use_degrees=job["degrees"],
        )
    )


def normalize(job):
    bus = robot(job).bus
    ids = [motor.id for motor in bus.motors.values()]
    rows = [bus._normalize(dict(zip(ids, row, strict=True))) for row in job["ticks"]]
    return {"values": [[row[id] for id in ids] for row in rows]}


def unnormalize(job):
    bus = robot(job).bus
    ids = [motor.id for motor in bus.motors.values()]
    rows = [bus._unnormalize(dict(zip(ids, row, strict=True))) for row in job["values"]]
    return {"ticks": [[row[id] for id in ids] for row in rows]}


def connect(job):
    bus = robot(job).bus
    bus.connect()
    try:
        ticks = bus.sync_read("Present_Position", normalize=False)
        values = bus.sync_read("Present_Position")
        return {
            "is_calibrated": bus.is_calibrated,
            "ticks": [ticks[motor] for motor in bus.motors],
            "values": [values[motor] for motor in bus.motors],
        }
    finally:
        bus.disconnect(disable_torque=False)


DO = {"normalize": normalize, "unnormalize": unnormalize, "connect": connect}

if __name__ == "__main__":
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(DO[job["do"]](job)), flush=True)
