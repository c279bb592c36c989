"""A small share of the file campaign; the large one is `python test/files/file_campaign.py`."""

import argparse
import subprocess
import sys
from pathlib import Path

import file_campaign
import pytest

from armlet.cli.data import dataset
from armlet.cli.policy import policy

pytestmark = pytest.mark.thorough

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rosbags", reason="bags are among the files (pip install 'armlet[bag]')")
CAMPAIGN = Path(__file__).with_name("file_campaign.py")


def test_every_verb_is_in_it():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    dataset.add_parser(commands)
    policy.add_parser(commands)
    offered = {
        f"{name} {verb}"
        for name, command in commands.choices.items()
        for action in command._actions
        if isinstance(action, argparse._SubParsersAction)
        for verb in action.choices
    }
    assert "dataset undo" in offered
    tried = {" ".join(verb.name.split()[:2]) for verb in file_campaign.all_verbs()}
    assert offered <= tried


def test_a_share_of_the_campaign():
    """In a process of its own: every case is a fork of it."""
    words = ("--cases", "60", "--seed", "7000", "--stop-after-s", "6")
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 with something wrong" in done.stdout
