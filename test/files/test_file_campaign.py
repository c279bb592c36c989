"""A small share of the file campaign; the large one is `python test/files/file_campaign.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("rosbags", reason="bags are among the files (pip install 'armlet[bag]')")
CAMPAIGN = Path(__file__).with_name("file_campaign.py")


def test_a_share_of_the_campaign():
    """In a process of its own: every case is a fork of it."""
    words = ("--cases", "60", "--seed", "7000", "--stop-after-s", "6")
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 with something wrong" in done.stdout
