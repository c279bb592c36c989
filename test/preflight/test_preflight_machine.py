"""Checks of the computer, its ports and its ROS environment, on made-up computers."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from armlet.findings import Code, Finding, Severity
from armlet.lateness import of_turns
from armlet.motors.devices import SerialDevice
from armlet.preflight import Check, examine, machine, ports, ros


def levels(findings):
    return [finding.severity for finding in findings]


def test_a_check_that_raises_is_reported_and_ends_nothing():
    def broken():
        yield Finding(Code.COMPUTER_ARMLET, Severity.OK, "first", found="fine")
        raise KeyError("surprise")

    fine = Check(
        "B", "b", lambda: [Finding(Code.COMPUTER_ARMLET, Severity.OK, "second", found="fine")]
    )
    report = list(examine([Check("A", "a", broken), fine]))
    assert levels(finding for _, finding in report) == [Severity.OK, Severity.ERROR, Severity.OK]
    failed = report[1][1]
    assert failed.subject == "a" and "KeyError" in failed.found and "surprise" in failed.found


def test_an_old_python_is_an_error(monkeypatch):
    assert levels(machine.python()) == [Severity.OK, Severity.OK]
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    finding = next(machine.python())
    assert finding.severity == Severity.ERROR and "3.9.2, needed 3.11" in finding.found


def test_absent_packages_name_their_extra(monkeypatch):
    def version(name):
        if name in ("av", "torch"):
            raise machine.metadata.PackageNotFoundError
        return "1.2"

    monkeypatch.setattr(machine.metadata, "version", version)
    found = {finding.subject: finding for finding in machine.packages()}
    torch, av = found.pop("torch"), found.pop("av")
    assert torch.severity == Severity.NOTE and torch.fix == "pip install 'armlet[policy]'"
    assert av.severity == Severity.ERROR and av.fix == "pip install av"
    assert {finding.severity for finding in found.values()} == {Severity.OK}


@pytest.mark.parametrize(
    ("late_ms", "realtime", "level", "fix"),
    [
        (0.1, 20, Severity.OK, ""),
        (1.5, 0, Severity.OK, ""),
        (14.7, 0, Severity.NOTE, "rtprio 20"),
        (14.7, 20, Severity.NOTE, "close other programs"),
    ],
)
def test_the_lateness_beside_busy_programs_decides(monkeypatch, late_ms, realtime, level, fix):
    plain = of_turns([0.0140])
    raised = of_turns([late_ms / 1000], realtime)
    monkeypatch.setattr(machine.lateness, "compare", lambda: (plain, raised))
    (finding,) = machine.priority()
    assert finding.severity == level
    assert f"{late_ms} ms late" in finding.found and "14.0 ms without" in finding.found
    assert fix in finding.fix and bool(finding.fix) == bool(fix)


@pytest.mark.parametrize(
    ("free", "level"), [(1e8, Severity.ERROR), (3e9, Severity.WARNING), (1e11, Severity.OK)]
)
def test_disk_space_of_a_folder_that_is_still_to_be_made(tmp_path, monkeypatch, free, level):
    asked = []
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda at: asked.append(at) or usage)
    (finding,) = machine.disk(tmp_path / "to" / "come")
    assert finding.severity == level and asked == [tmp_path]
    assert bool(finding.fix) == (level != Severity.OK)


@pytest.mark.parametrize(
    ("said", "found"), [("yes\n", [Severity.OK]), ("no\n", [Severity.NOTE]), ("", [])]
)
def test_the_clock(monkeypatch, said, found):
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    answer = SimpleNamespace(stdout=said)
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: answer)
    assert levels(machine.clock()) == found


def test_programs_that_meddle_with_ports_are_named(tmp_path, monkeypatch):
    for pid, name in (("7", "bash"), ("9", "ModemManager")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(name + "\n")
    (tmp_path / "11").mkdir()  # ended meanwhile
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    (finding,) = machine.meddlers()
    assert finding.subject == "ModemManager" and finding.fix.startswith("sudo systemctl")


ADAPTER = SerialDevice("/dev/ttyACM0", None, "Single Serial", 0x1A86, 0x55D3)


def test_ports_without_a_name_that_stays():
    (none,) = ports.present([])
    assert none.severity == Severity.WARNING and "armlet find-port" in none.fix
    assert levels(ports.present([ADAPTER])) == [Severity.NOTE]
    other = SerialDevice("/dev/ttyACM1", "/dev/serial/by-id/x", "", 0x1A86, 0x55D3)
    assert levels(ports.present([ADAPTER, other])) == [Severity.WARNING, Severity.OK]


@pytest.mark.parametrize(
    ("group", "members", "mode", "fix"),
    [
        ("dialout", [], 0o660, "sudo usermod -aG dialout ann, then log in again"),
        ("dialout", ["ann"], 0o660, "log out and in again, or: newgrp dialout"),
        ("root", [], 0o600, 'ATTRS{idVendor}=="1a86"'),
    ],
)
def test_a_port_this_user_may_not_use(tmp_path, monkeypatch, group, members, mode, fix):
    port = tmp_path / "ttyACM0"
    port.touch()
    port.chmod(mode)
    entry = SimpleNamespace(gr_name=group, gr_mem=members)
    monkeypatch.setattr(ports.os, "access", lambda *_: False)
    monkeypatch.setattr(ports.grp, "getgrgid", lambda _: entry)
    monkeypatch.setattr(ports.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ann"))
    (finding,) = ports.usable(SerialDevice(str(port), vendor=0x1A86, product=0x55D3))
    assert finding.severity == Severity.ERROR and fix in finding.fix
    assert f"group {group}, mode {mode:o}" in finding.found


@pytest.mark.parametrize(("ms", "level"), [("16", Severity.WARNING), ("1", Severity.OK)])
def test_the_latency_timer_of_ftdi_adapters(tmp_path, monkeypatch, ms, level):
    monkeypatch.setattr(ports, "_SYS", tmp_path)
    assert list(ports.latency(ADAPTER)) == []
    timer = tmp_path / "ttyACM0" / "device" / "latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text(ms + "\n")
    (finding,) = ports.latency(ADAPTER)
    assert finding.severity == level and f"{ms} ms" in finding.found


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, [Severity.OK, Severity.NOTE]),
        ({"ROS_DOMAIN_ID": "42", "ROS_LOCALHOST_ONLY": "1"}, [Severity.OK, Severity.OK]),
        ({"ROS_DOMAIN_ID": "233"}, [Severity.ERROR, Severity.NOTE]),
        ({"ROS_DOMAIN_ID": "-1"}, [Severity.ERROR, Severity.NOTE]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, [Severity.OK, Severity.OK]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, [Severity.OK, Severity.ERROR]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "MOON"}, [Severity.OK, Severity.ERROR]),
    ],
)
def test_who_the_nodes_will_see(environment, found):
    assert levels(ros.discovery(environment)) == found


def test_where_ros2_looks_for_packages(tmp_path):
    (absent,) = ros.packages({})
    assert absent.severity == Severity.NOTE
    (stale,) = ros.packages({"AMENT_PREFIX_PATH": f"{tmp_path}/gone"})
    assert stale.severity == Severity.WARNING and f"{tmp_path}/gone" in stale.found
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    assert levels(ros.packages({"AMENT_PREFIX_PATH": str(tmp_path)})) == [Severity.NOTE]
    (index / "armlet").touch()
    assert levels(ros.packages({"AMENT_PREFIX_PATH": str(tmp_path)})) == [Severity.OK]


@pytest.mark.parametrize(
    ("program", "environment", "level", "words"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'rclpy'\")",
            "",
            Severity.WARNING,
            "not inst",
        ),
        ("raise ImportError('librcl.so: no such file')", "", Severity.ERROR, "librcl.so"),
        ("raise RuntimeError('rmw_x could not load')", "rmw_x", Severity.ERROR, "RMW_IMPL"),
        ("import sys; sys.exit(3)", "", Severity.ERROR, "exit status 3"),
    ],
)
def test_ros_that_cannot_be_imported(monkeypatch, program, environment, level, words):
    monkeypatch.setenv("RMW_IMPLEMENTATION", environment)
    monkeypatch.setattr(ros, "_PROGRAM", program)
    (finding,) = ros.client()
    assert finding.severity == level and words in finding.found and finding.fix


def test_ros_that_can_be_imported():
    pytest.importorskip("rclpy")
    client, middleware = ros.client()
    assert client.severity == middleware.severity == Severity.OK
    assert client.found[0].isdigit() and middleware.found.startswith("rmw_")


def test_what_dead_nodes_left_in_shared_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(ros, "_SHM", tmp_path)
    monkeypatch.setattr(ros, "_PROC", tmp_path / "proc")
    (tmp_path / "proc" / "7").mkdir(parents=True)
    long_ago = time.time() - 3 * 86_400
    for name in ("fastdds_1", "sem.fastdds_2", "fastdds_mapped", "other"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / "fastdds_new").touch()
    (tmp_path / "proc" / "7" / "maps").write_text(
        f"7f00-7f01 rw-s 0 0 9 {tmp_path}/fastdds_mapped\n"
    )
    names = sorted(path.name for path in ros.stale_segments(time.time()))
    assert names == ["fastdds_1", "sem.fastdds_2"]
    *_, finding = ros.shared_memory()
    assert finding.severity == Severity.WARNING and finding.found.startswith("2 files")
    assert "fastdds" in finding.fix


def test_little_shared_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(ros, "_SHM", tmp_path)
    usage = SimpleNamespace(free=10e6, total=64e6)
    monkeypatch.setattr(ros.shutil, "disk_usage", lambda _: usage)
    (finding,) = ros.shared_memory()
    assert finding.severity == Severity.WARNING and "--shm-size" in finding.fix
