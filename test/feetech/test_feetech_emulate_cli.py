import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from armlet.cli import emulate
from armlet.feetech import Bus

COMMAND = """
import argparse, sys
from armlet.cli import emulate
parser = argparse.ArgumentParser()
emulate.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    link = tmp_path / "arm"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "emulate", "--link", str(link), "--ids", "3,9"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"serving servos 3,9 on {link} at 1000000 baud\n"
        with Bus(str(link), timeout_s=2.0) as bus:
            assert [bus.ping(id) for id in (3, 9)] == [777, 777]
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""
        assert not link.is_symlink()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("ids", ["", "1,1", "1,x", "253"])
def test_senseless_ids_are_refused(ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    emulate.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["emulate", "--link", "x", "--ids", ids])
    assert "expected" in capsys.readouterr().err
