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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ids", ""], "expected numbers"),
        (["--ids", "1,1"], "expected different ids"),
        (["--ids", "1,x"], "expected numbers"),
        (["--ids", "253"], "expected different ids"),
        (["--ids=-1"], "expected different ids"),
        (["--baud", "9600"], "servos speak at"),
        (["--baud", "fast"], "expected a number"),
        (["--link", "{folder}/none/arm"], "none/arm: No such file"),
        (["--link", "{folder}"], "no symbolic link"),
        (["--link", "{folder}/file"], "no symbolic link"),
        (["--link", "{folder}/file/arm"], "file/arm: Not a directory"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    parser = argparse.ArgumentParser()
    emulate.add_parser(parser.add_subparsers())
    given = [option.format(folder=tmp_path) for option in options]
    args = parser.parse_args(["emulate", "--link", str(tmp_path / "arm"), *given])
    assert args.run(args) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
