"""A small share of the file campaign; the large one is `python test/files/file_campaign.py`."""

import argparse
import subprocess
import sys
from pathlib import Path

import file_campaign
import pytest

from armlet.cli.main import make_parser

pytestmark = pytest.mark.thorough

pytest.importorskip("rclpy", reason="replay needs ROS 2 (pip install 'armlet[ros]')")
pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rosbags", reason="bags are among the files (pip install 'armlet[bag]')")
CAMPAIGN = Path(__file__).with_name("file_campaign.py")


# Commands that read no file of others, or leave it to one that is in the campaign.
ELSEWHERE = {
    "up": "check a graph",
    "session": "check a graph",
    "demo": "check a graph",
    "eval": "check a graph",  # what it wrote itself: test_trials
    "emulate": "read calibration",
    # Its pictures: test_calibrate_camera_cli.
    "calibrate-camera": "calibrate --arm follower --check",
    "find-port": "",
    "jog": "",
    # Its pages: test/console.
    "console": "",
    "security policy": "check a graph",
    "registers get": "scan",
    "registers set": "scan",
    "registers dump": "scan",
}


def test_every_verb_is_in_it():
    offered = set(_offered(make_parser()))
    assert {"dataset undo", "train", "registers restore"} <= offered
    tried = [verb.name for verb in file_campaign.all_verbs()]
    assert {name for name in ELSEWHERE.values() if name} <= set(tried)
    left = {
        name for name in offered if not any(f"{verb} ".startswith(f"{name} ") for verb in tried)
    }
    assert left == set(ELSEWHERE)


def _offered(parser):
    """Commands, or where a command has verbs these: train, dataset undo."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                verbs = list(_offered(inner))
                yield from (f"{name} {verb}" for verb in verbs) if verbs else (name,)


def test_a_share_of_the_campaign():
    """In a process of its own: every case is a fork of it."""
    words = ("--cases", "60", "--seed", "7000", "--stop-after-s", "6")
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 with something wrong" in done.stdout
