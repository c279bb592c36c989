import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from armlet.motors import devices as d
from armlet.motors import discovery, registry
from armlet.motors.devices import SerialDevice
from armlet.motors.discovery import FoundServo, family_at, model_at, probe_each, read_memory
from armlet.motors.emulation import EmulatedBus
from armlet.motors.protocol import Alarm, NoReply

TIMEOUT_S = 0.05
HOLD = (
    "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(1, flush=True); input()"
)


def usb(path, **facts):
    """What pyserial tells of a USB adapter."""
    port = {
        "device": path,
        "name": Path(path).name,
        "description": "n/a",
        "product": "USB Single Serial",
        "vid": 0x1A86,
        "pid": 0x55D3,
        "serial_number": None,
        "location": None,
    }
    return SimpleNamespace(**{**port, **facts})


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """Makes ports and their links under a folder, as udev would."""
    by_id, by_path = tmp_path / "by-id", tmp_path / "by-path"
    by_id.mkdir()
    by_path.mkdir()
    monkeypatch.setattr(d, "_BY_ID", by_id)
    monkeypatch.setattr(d, "_BY_PATH", by_path)

    def plug(*ports, ids=None, paths=None):
        monkeypatch.setattr(d.list_ports, "comports", lambda: ports)
        for folder, links in ((by_id, ids), (by_path, paths)):
            for name, target in (links or {}).items():
                (folder / name).symlink_to(target)

    return plug


def test_adapters_are_listed_with_the_names_that_stay(plugged):
    plugged(
        usb("/dev/ttyACM1", serial_number="B", location="1-2"),
        usb("/dev/ttyACM0", serial_number="A", location="1-1"),
        ids={"usb-A": "/dev/ttyACM0", "usb-B": "/dev/ttyACM1"},
        paths={"pci-1": "/dev/ttyACM0"},
    )
    first, second = d.serial_devices()
    assert (first.path, second.path) == ("/dev/ttyACM0", "/dev/ttyACM1")
    assert first.address.endswith("/by-id/usb-A") and first.usb == "1a86:55d3"
    assert (second.serial_number, second.location) == ("B", "1-2")
    assert second.description == "USB Single Serial"


@pytest.mark.parametrize("serial_number", [None, "0001"])
def test_adapters_that_share_a_name_by_id_are_named_by_their_socket(plugged, serial_number):
    # udev gives both the same link, and the one plugged last has it.
    plugged(
        usb("/dev/ttyACM0", serial_number=serial_number),
        usb("/dev/ttyACM1", serial_number=serial_number),
        ids={"usb-same": "/dev/ttyACM1"},
        paths={"pci-1": "/dev/ttyACM0", "pci-2": "/dev/ttyACM1"},
    )
    names = [Path(each.address).name for each in d.serial_devices()]
    assert names == ["pci-1", "pci-2"]


def test_a_lone_adapter_without_serial_number_keeps_its_name_by_id(plugged):
    plugged(usb("/dev/ttyACM0"), ids={"usb": "/dev/ttyACM0"}, paths={"pci": "/dev/ttyACM0"})
    (device,) = d.serial_devices()
    assert Path(device.address).name == "usb"


def test_uarts_that_are_not_there_are_not_listed(plugged, tmp_path, monkeypatch):
    monkeypatch.setattr(d, "_TTYS", tmp_path / "tty")
    for name, kind in (("ttyS0", "4"), ("ttyS1", "0")):
        (tmp_path / "tty" / name).mkdir(parents=True)
        (tmp_path / "tty" / name / "type").write_text(kind)
    (tmp_path / "tty" / "ttyAMA0" / "device").mkdir(parents=True)
    names = ("ttyS0", "ttyS1", "ttyS2", "ttyAMA0", "ttyAMA1")
    plugged(*(usb(f"/dev/{name}", vid=None, pid=None) for name in names))
    assert [each.path for each in d.serial_devices()] == ["/dev/ttyAMA0", "/dev/ttyS0"]


def test_a_device_unplugged_while_it_is_listed_is_no_error(monkeypatch):
    answers = iter([TypeError("int() of None"), [usb("/dev/ttyACM3")]])

    def comports():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(d.list_ports, "comports", comports)
    assert [each.path for each in d.serial_devices()] == ["/dev/ttyACM3"]


def test_patterns_find_emulated_ports_and_no_dead_links(tmp_path):
    (tmp_path / "arm-gone").symlink_to("/dev/pts/no-such-terminal")
    (tmp_path / "arm-file").write_text("no device")
    with EmulatedBus((1,), link=tmp_path / "arm") as bus:
        (device,) = d.serial_devices([f"{tmp_path}/arm*", f"{tmp_path}/a*"])
        assert device == d.serial_device(bus.port)
        assert device.path == os.path.realpath(bus.port)
        assert device.address == bus.port
        assert device.description == "pseudo-terminal"
    assert d.serial_devices([f"{tmp_path}/arm*"]) == []


DEVICES = st.builds(
    SerialDevice,
    path=st.sampled_from(["/dev/a", "/dev/b", "/dev/c"]),
    vendor=st.sampled_from([None, 1, 2]),
    product=st.sampled_from([None, 1]),
    serial_number=st.sampled_from([None, "A", "B"]),
    location=st.sampled_from([None, "1-1", "1-2"]),
)


@given(DEVICES, st.lists(DEVICES))
def test_what_may_be_the_device_plugged_in_again(device, others):
    found = d.same_kind(device, others)
    alike = [
        each for each in others if (each.vendor, each.product) == (device.vendor, device.product)
    ]
    itself = [
        each
        for each in alike
        if device.serial_number and each.serial_number == device.serial_number
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, itself or alike))
    places = [each.location == device.location for each in found]
    assert places == sorted(places, reverse=True)


def test_a_device_that_moved_is_still_of_its_kind():
    device = SerialDevice("/dev/ttyACM0", None, "", 1, 2, "A", "1-1")
    moved = replace(device, path="/dev/ttyACM4", location="1-3")
    assert d.same_kind(device, [SerialDevice("/dev/ttyUSB0", None, "", 3, 4), moved]) == [moved]


@pytest.fixture(params=FAMILIES)
def motors(request):
    return request.param


@pytest.fixture
def family(motors):
    return registry.family(motors)


@pytest.fixture
def model(family, motors):
    return family.models[motors]


@pytest.fixture
def emulated(motors):
    """Makes a bus of such servos."""
    return lambda ids: EmulatedBus(ids, motors=motors)


@pytest.fixture
def probe(family):
    return lambda path, *which, **how: discovery.probe(path, family, *which, **how)


def test_probing_finds_every_servo_at_every_speed_and_writes_nothing(
    emulated, probe, family, model
):
    firmware = {"feetech": "3.10", "dynamixel": "45"}[family.name]
    other = family.baudrates[2]
    with emulated((1, 6, 200)) as bus:
        code = next(code for code, speed in model.baud_codes.items() if speed == other)
        bus.servos[6].poke(model.baud_rate, code)
        tried = []
        answer = probe(bus.port, None, family.baudrates, timeout_s=TIMEOUT_S, watch=tried.append)
        assert answer.servos == (
            FoundServo(1, 1_000_000, family, model.number, firmware),
            FoundServo(200, 1_000_000, family, model.number, firmware),
            FoundServo(6, other, family, model.number, firmware),
        )
        assert tried == list(family.baudrates) and not answer.problem
        assert not bus.writes


def test_a_family_is_asked_at_its_arms_speed_first_and_then_at_its_factorys(family):
    first = {"feetech": (1_000_000, 500_000), "dynamixel": (1_000_000, 57_600)}[family.name]
    assert family.baudrates[:2] == first
    assert len(set(family.baudrates)) == len(family.baudrates)


def test_only_the_ids_asked_for_are_asked(emulated, probe):
    with emulated((1, 2, 9)) as bus:
        assert [servo.id for servo in probe(bus.port, [9, 3]).servos] == [9]


def test_servos_that_report_errors_are_found(emulated, probe, model):
    with emulated((1, 2)) as bus:
        bus.faults.errors[2] = Alarm.OVERLOAD
        servos = probe(bus.port, timeout_s=TIMEOUT_S).servos
        assert [(servo.id, servo.model, servo.shared) for servo in servos] == [
            (1, model.number, False),
            (2, model.number, False),
        ]


def test_two_servos_with_one_id_are_distinguished_from_one(emulated, probe):
    with emulated((1, 4, 4)) as bus:
        found = {servo.id: servo.shared for servo in probe(bus.port, range(1, 7)).servos}
    assert found == {1: False, 4: True}


def test_two_servos_with_one_id_are_found_by_calling_all(emulated, probe):
    with emulated((1, 240, 240)) as bus:
        found = {servo.id: servo.shared for servo in probe(bus.port, timeout_s=TIMEOUT_S).servos}
    assert found == {1: False, 240: True}


def test_a_lost_reply_makes_no_servo_double(emulated, probe):
    with emulated((1,)) as bus:
        bus.faults.seed = 3
        bus.faults.drop_probability = 0.1
        shared = [s.shared for _ in range(10) for s in probe(bus.port, [1]).servos]
    assert shared and not any(shared)


def test_each_family_is_asked_until_servos_answer(emulated, family):
    with emulated((1, 6)) as bus:
        found = probe_each(bus.port, registry.families(), timeout_s=TIMEOUT_S).servos
        assert [(servo.id, servo.family.name) for servo in found] == [
            (1, family.name),
            (6, family.name),
        ]
        assert family_at(bus.port, registry.families(), 1_000_000, [3, 6]) is family
        assert family_at(bus.port, registry.families(), 1_000_000, [3]) is None
        assert not bus.writes


def test_a_servo_is_read_by_the_table_of_its_own_model(emulated, family, model):
    with emulated((1, 2)) as bus, family.make_bus(bus.port) as wire:
        relative, label = next(iter(family.relatives.items()))
        bus.servos[2].poke(model.model_number, relative)
        assert model_at(wire, family, 1) is model
        assert model_at(wire, family, 2) is wire.usual_model
        assert (family.label_of(relative), family.label_of(4)) == (label, "model 4")


def test_a_port_another_program_has_is_left_alone(emulated, probe, family, model):
    with emulated((1,)) as bus, family.make_bus(bus.port, timeout_s=60.0) as mine:
        answer = probe(bus.port, [1])
        assert answer.in_use and not answer.servos and "in use" in answer.problem
        assert mine.ping(1) == model.number


@pytest.fixture
def feetech():
    return registry.family("sts3215")


def test_the_program_that_has_a_port_is_named(feetech):
    with EmulatedBus((1,)) as bus:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, bus.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            holder.stdout.readline()
            (user,) = d.users(bus.port)
            assert user.pid == holder.pid and "python" in user.command
            # It has no lock, as programs built on pyserial's defaults have none.
            answer = discovery.probe(bus.port, feetech, [1])
            assert answer.in_use and str(holder.pid) in answer.problem
        finally:
            holder.communicate(b"\n")
        assert d.users(bus.port) == []


def test_whoever_serves_a_pseudo_terminal_is_not_its_user(tmp_path, feetech):
    link = tmp_path / "arm"
    command = [
        sys.executable,
        "-m",
        "armlet.cli.main",
        "emulate",
        "--link",
        str(link),
        "--ids",
        "5",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        assert d.users(str(link)) == []
        assert [servo.id for servo in discovery.probe(str(link), feetech, [5]).servos] == [5]
    finally:
        server.terminate()
        server.communicate()


def test_a_port_that_is_not_there_is_a_problem_not_an_error(tmp_path, feetech):
    answer = discovery.probe(str(tmp_path / "none"), feetech, [1])
    assert not answer.in_use and "No such file" in answer.problem


def test_memory_is_all_a_servo_holds_whatever_it_reports(emulated, family, model):
    with emulated((3,)) as bus, family.make_bus(bus.port) as wire:
        bus.servos[3].poke(model.homing_offset, -1234)
        bus.faults.errors[3] = Alarm.OVERLOAD
        memory = read_memory(wire, model, 3)
        assert memory.errors & ~Alarm.ALERT == Alarm.OVERLOAD
        assert memory.values == {
            name: bus.servos[3].peek(register) for name, register in model.registers.items()
        }


def test_memory_is_asked_for_again_and_its_lack_is_said(emulated, family, model):
    with emulated((3,)) as bus, family.make_bus(bus.port, timeout_s=0.01) as wire:
        bus.faults.drop_next = 2
        number = model.model_number
        assert read_memory(wire, model, 3, [number]).values == {number.name: model.number}
        with pytest.raises(NoReply, match=r"servo 9: no intact reply.*armlet scan --port"):
            read_memory(wire, model, 9)
