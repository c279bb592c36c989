import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal_session import ENTER, TerminalSession

from armlet.cli.arm import register_meanings as meanings
from armlet.cli.arm.registers import find_register
from armlet.cli.main import main
from armlet.motors import registry
from armlet.motors.emulation import EmulatedBus
from armlet.motors.feetech import REGISTERS, Bus, ErrorBit


@pytest.fixture
def bus(tmp_path):
    with EmulatedBus(range(1, 4), link=tmp_path / "arm") as bus:
        yield bus


@pytest.fixture
def registers(bus, capfd):
    """Runs `armlet registers`: (status, stdout, stderr)."""

    def run(*words):
        status = main(["registers", *map(str, words), "--port", bus.port])
        return (status, *capfd.readouterr())

    return run


def test_the_screen_shows_value_unit_and_meaning(bus):
    bus.servos[2].poke(REGISTERS["Homing_Offset"], -17)
    words = ("homing_offset", "PRESENT-VOLTAGE", "Baud_Rate", "Return_Delay_Time", "Lock")
    with TerminalSession("registers", "get", *words, "--port", bus.port, "--id", "2") as session:
        assert session.wait_end() == 0
        screen = session.screen()
    print("\n".join(screen))
    rows = {line.split()[2]: line for line in screen if line.startswith("  2")}
    assert "-17   -1.5°" in rows["Homing_Offset"]
    assert "74   7.4 V" in rows["Present_Voltage"] and "read only" in rows["Present_Voltage"]
    assert "0   1000000 baud" in rows["Baud_Rate"]
    assert "250   500 us" in rows["Return_Delay_Time"]
    assert "locked" in rows["Lock"]


def test_all_registers_fit_the_screen(bus):
    words = ("registers", "get", "--port", bus.port, "--id", "2")
    with TerminalSession(*words, columns=100, rows=80) as session:
        assert session.wait_end() == 0
        screen = session.screen()
    print("\n".join(screen))
    rows = [line.split() for line in screen if line.startswith("  2 ")]
    assert [(int(at), int(value)) for _, at, _, value, *_ in rows] == [
        (register.address, bus.servos[2].peek(register)) for register in REGISTERS.values()
    ]


def test_all_registers_of_all_servos_without_a_terminal(bus, registers):
    status, out, err = registers("get", "--id", "1-3")
    names, *rows = (line.split("\t") for line in out.splitlines())
    assert status == 0 and not err and names[:4] == ["id", "at", "register", "value"]
    assert {(int(row[0]), row[2]): int(row[3]) for row in rows} == {
        (id, name): bus.servos[id].peek(register)
        for id in (1, 2, 3)
        for name, register in REGISTERS.items()
    }
    assert all(row[6] for row in rows) and not bus.writes


@given(st.sampled_from(sorted(REGISTERS)), st.data())
def test_names_are_found_however_they_are_capitalised(name, data):
    flips = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    typed = "".join(c.upper() if up else c.lower() for c, up in zip(name, flips, strict=True))
    assert find_register(REGISTERS, typed).name == name
    assert find_register(REGISTERS, typed.replace("_", "-")).name == name


MODELS = [model for family in registry.families() for model in family.models.values()]
TABLES = [(model, register) for model in MODELS for register in model.registers.values()]


@given(st.sampled_from(TABLES), st.integers(-40_000, 70_000))
def test_a_value_that_is_let_through_can_be_written_and_said(entry, value):
    model, register = entry
    try:
        meanings.check_value(model, register, value)
    except ValueError as error:
        assert register.name in str(error)
    else:
        assert register.access == "rw"
        assert register.decode(register.encode(value)) == value
        assert isinstance(meanings.physical(model, register, value), str)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_register_has_a_meaning(model):
    assert all(model.note(register).meaning for register in model.registers.values())
    assert set(model.notes) == set(model.registers)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "Homming_Offset", "--id", 1), "did you mean Homing_Offset"),
        (("get", "temperature", "--id", 1), "Present_Temperature"),
        (("get", "xyzzy", "--id", 1), "shows all names"),
        (("get", "ID", "--id", "all"), "--id: expected ids"),
        (("get", "ID", "--id", 1, "--baud", "all"), "expected one speed"),
        (("set", "Present_Position", 5, "--id", 1), "read only"),
        (("set", "Goal_Position", 40000, "--id", 1), "takes -32767..32767, found 40000"),
        (("set", "P_Coefficient", 16, "--id", 1), "add --eeprom"),
        (("set", "Maximum_Acceleration", 16, "--id", 1), "outlives a power cycle (factory)"),
        (("set", "ID", 5, "--id", 1), "add --eeprom"),
        (("set", "ID", 2, "--id", 1, "--eeprom"), "another servo's already"),
        (("set", "ID", 253, "--id", 1, "--eeprom"), "takes 0..252"),
        (("set", "ID", 9, "--id", "1,2", "--eeprom"), "expected one servo"),
        (("set", "Baud_Rate", 7, "--id", 1, "--eeprom"), "4 = 115200 baud"),
        (("set", "Torque_Enable", 128, "--id", 1), "takes 0..1 (0 = off, 1 = on)"),
        (("restore", "/no/such/file"), "No such file or directory; name what dump wrote"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(bus, registers, words, message):
    status, out, err = registers(*words)
    assert status == 2 and message in err and err.count("\n") == 1 and not out
    assert not bus.writes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get", "ID", "--id", 9), "servo 9: no intact reply"),
        (("dump", "--id", "8"), "servo 8"),
    ],
)
def test_a_servo_that_fails_is_one_line_and_status_1(bus, registers, words, message):
    status, out, err = registers(*words)
    assert status == 1 and message in err and err.count("\n") == 1 and not out
    assert not bus.writes


def test_a_ram_register_is_set_and_read_back(bus, registers):
    status, out, _ = registers("set", "torque_limit", 400, "--id", "1,3")
    assert status == 0 and "servo 3: Torque_Limit 1000 -> 400, read back" in out
    assert [bus.servos[id].peek(REGISTERS["Torque_Limit"]) for id in (1, 2, 3)] == [400, 1000, 400]
    assert {write.address for write in bus.writes} == {48}


def test_a_kept_register_outlives_a_power_cycle_and_is_locked_again(bus, registers):
    assert registers("set", "P_Coefficient", 16, "--id", 2, "--eeprom")[0] == 0
    bus.servos[2].power_cycle()
    assert bus.servos[2].peek(REGISTERS["P_Coefficient"]) == 16
    assert [(write.address, *write.data) for write in bus.writes] == [(55, 0), (21, 16), (55, 1)]


def test_a_cell_that_holds_the_value_is_not_written(bus, registers):
    status, out, _ = registers("set", "P_Coefficient", 32, "--id", 2, "--eeprom")
    assert status == 0 and "as it was" in out and not bus.writes


def test_an_open_lock_stays_open(bus, registers):
    bus.servos[1].poke(REGISTERS["Lock"], 0)
    registers("set", "P_Coefficient", 16, "--id", 1, "--eeprom")
    assert bus.servos[1].peek(REGISTERS["Lock"]) == 0


def test_kept_registers_need_torque_off_and_the_fix_is_named(bus, registers):
    bus.servos[1].poke(REGISTERS["Torque_Enable"], 1)
    for name, value in (("P_Coefficient", 16), ("ID", 9), ("Baud_Rate", 1)):
        status, _, err = registers("set", name, value, "--id", 1, "--eeprom")
        assert status == 2
        assert f"armlet registers set Torque_Enable 0 --port {bus.port} --id 1" in err
    assert not bus.writes
    assert registers("set", "Torque_Enable", 0, "--id", 1)[0] == 0
    assert registers("set", "P_Coefficient", 16, "--id", 1, "--eeprom")[0] == 0


@pytest.mark.parametrize("level", [0, 1])
def test_id_and_speed_move_the_servo(bus, registers, level):
    bus.servos[1].poke(REGISTERS["Response_Status_Level"], level)
    servo = bus.servos[1]
    assert registers("set", "ID", 9, "--id", 1, "--eeprom")[0] == 0
    assert registers("set", "Baud_Rate", 1, "--id", 9, "--eeprom")[0] == 0
    servo.power_cycle()
    assert (servo.id, servo.baudrate, servo.peek(REGISTERS["Lock"])) == (9, 500_000, 1)
    status, out, _ = registers("get", "ID", "--id", 9, "--baud", 500_000)
    assert status == 0 and "\t9\t" in out


def test_several_servos_change_speed_one_after_the_other(bus, registers):
    assert registers("set", "Baud_Rate", 1, "--id", "1-3", "--eeprom")[0] == 0
    assert {servo.baudrate for servo in bus.servos.values()} == {500_000}


def test_writes_survive_lost_replies(bus, registers):
    bus.faults.seed = 5
    bus.faults.drop_probability = 0.15
    assert registers("set", "ID", 9, "--id", 1, "--eeprom")[0] == 0
    assert registers("set", "D_Coefficient", 7, "--id", 9, "--eeprom")[0] == 0
    servo = bus.servos[9]
    assert (servo.peek(REGISTERS["D_Coefficient"]), servo.peek(REGISTERS["Lock"])) == (7, 1)


def test_torque_is_not_switched_on_with_the_goal_elsewhere(bus, registers):
    bus.servos[1].poke(REGISTERS["Goal_Position"], 1000)
    status, _, err = registers("set", "Torque_Enable", 1, "--id", 1)
    assert status == 2 and "Goal_Position 2047" in err and not bus.servos[1].torque_on
    assert registers("set", "Goal_Position", 2047, "--id", 1)[0] == 0
    assert registers("set", "Torque_Enable", 1, "--id", 1)[0] == 0
    assert bus.servos[1].torque_on


def test_a_value_that_does_not_hold_is_an_error(bus, registers):
    write = bus.servos[1].write
    bus.servos[1].write = lambda at, data: None if at == 21 else write(at, data)
    status, _, err = registers("set", "P_Coefficient", 16, "--id", 1, "--eeprom")
    assert status == 1 and "was set to 16, it holds 32" in err
    assert bus.servos[1].peek(REGISTERS["Lock"]) == 1


def test_a_port_in_use_is_refused(bus, registers):
    with Bus(bus.port):
        status, _, err = registers("get", "--id", 1)
    assert status == 2 and bus.port in err and err.count("\n") == 1


def test_a_dump_holds_everything(bus, registers, tmp_path):
    bus.faults.errors[2] = ErrorBit.OVERLOAD
    file, other = tmp_path / "arm.json", tmp_path / "arm.json.new"
    other.write_text("a person's")
    status, out, _ = registers("dump", file)
    assert status == 0 and "3 servos (1, 2, 3)" in out
    assert other.read_text() == "a person's"
    servos = json.loads(file.read_text())["servos"]
    assert servos["3"] == {
        "model": 777,
        "firmware": "3.10",
        "registers": {name: bus.servos[3].peek(each) for name, each in REGISTERS.items()},
    }
    assert registers("dump", "--id", 3)[1].count('"model"') == 1
    before = file.read_text()
    assert "file.bak" not in out and str(file) in registers("dump", file)[1]
    file.write_text("the only copy")
    assert f"{file}.bak" in registers("dump", file)[1]
    assert "the only copy" in {f.read_text() for f in file.parent.glob(f"{file.name}.bak*")}
    assert file.read_text() == before
    assert not bus.writes


@pytest.fixture
def koch(tmp_path):
    """Two Dynamixels of different models."""
    with EmulatedBus((2, 3), link=tmp_path / "koch", motors=("xl430-w250", "xl330-m288")) as bus:
        yield bus


@pytest.fixture
def on_koch(koch, capfd):
    def run(*words):
        status = main(["registers", *map(str, words), "--port", koch.port])
        return (status, *capfd.readouterr())

    return run


def peek(bus, id, name):
    return bus.servos[id].peek(MODEL[id].registers[name])


MODEL = {2: registry.family("xl430-w250").models["xl430-w250"]}
MODEL[3] = registry.family("xl330-m288").models["xl330-m288"]


def test_each_dynamixel_has_the_registers_of_its_own_model(koch, on_koch):
    status, out, err = on_koch("get", "--id", "2,3")
    rows = [line.split("\t") for line in out.splitlines()[1:]]
    assert status == 0 and not err
    assert {(int(row[0]), row[2]): int(row[3]) for row in rows} == {
        (id, name): peek(koch, id, name) for id, model in MODEL.items() for name in model.registers
    }
    said = {(row[0], row[2]): row[4] for row in rows}
    assert said["3", "Model_Number"] == "XL330-M288" and said["2", "Operating_Mode"] == "position"
    assert said["2", "Baud_Rate"] == "1000000 baud" and said["3", "Bus_Watchdog"] == "off"
    assert all(row[6] for row in rows) and not koch.writes
    assert on_koch("get", "Goal_Current", "--id", 3)[0] == 0
    status, _, err = on_koch("get", "Goal_Current", "--id", 2)
    assert status == 2 and "no register 'Goal_Current'" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Operating_Mode", 5, "--id", 2, "--eeprom"), "takes 1..16 (1 = velocity, 3 = position"),
        (("Operating_Mode", 4, "--id", 2), "add --eeprom"),
        (("Protocol_Type", 20, "--id", 3, "--eeprom"), "2 = Protocol 2.0"),
        (("Drive_Mode", 8, "--id", 3, "--eeprom"), "0 = normal, 1 = reversed"),
        (("Homing_Offset", 1_044_480, "--id", 3, "--eeprom"), "takes -1044479..1044479"),
        (("Present_Position", 5, "--id", 3), "read only"),
        (("ID", 2, "--id", 3, "--eeprom"), "another servo's already"),
    ],
)
def test_what_a_dynamixel_does_not_take_is_not_written(koch, on_koch, words, message):
    status, out, err = on_koch("set", *words)
    assert status == 2 and message in err and err.count("\n") == 1 and not out
    assert not koch.writes


def test_a_dynamixel_keeps_id_and_speed_and_has_no_lock(koch, on_koch):
    servo = koch.servos[3]
    assert on_koch("set", "Homing_Offset", 3000, "--id", 3, "--eeprom")[0] == 0
    assert on_koch("set", "ID", 9, "--id", 3, "--eeprom")[0] == 0
    assert on_koch("set", "Baud_Rate", 1, "--id", 9, "--eeprom")[0] == 0
    servo.power_cycle()
    assert (servo.id, servo.baudrate) == (9, 57_600)
    status, out, _ = on_koch("get", "Homing_Offset", "--id", 9, "--baud", 57_600)
    assert status == 0 and "\t3000\t" in out


def test_a_dynamixels_torque(koch, on_koch):
    assert on_koch("set", "Goal_Position", 1000, "--id", 3)[0] == 0
    status, _, err = on_koch("set", "Torque_Enable", 1, "--id", 3)
    assert status == 2 and "Goal_Position 2047" in err and not koch.servos[3].torque_on
    assert on_koch("set", "Goal_Position", 2047, "--id", 3)[0] == 0
    assert on_koch("set", "Torque_Enable", 1, "--id", 3)[0] == 0
    status, _, err = on_koch("set", "PWM_Limit", 400, "--id", 3, "--eeprom")
    assert status == 2 and "set Torque_Enable 0" in err


def test_a_dump_of_dynamixels_is_restored(koch, on_koch, tmp_path):
    file = tmp_path / "koch.json"
    status, out, _ = on_koch("dump", file)
    assert status == 0 and "2 servos (2, 3)" in out
    before = {id: koch.servos[id].peek(MODEL[id].homing_offset) for id in MODEL}
    koch.servos[2].poke(MODEL[2].homing_offset, -70_000)
    koch.servos[3].poke(MODEL[3].registers["Position_P_Gain"], 7)
    assert on_koch("restore", file, "--yes")[0] == 0
    assert before == {id: koch.servos[id].peek(MODEL[id].homing_offset) for id in MODEL}
    assert peek(koch, 3, "Position_P_Gain") == 7
    edited(file, lambda d: d["servos"].update({"2": d["servos"]["3"]}))
    status, _, err = on_koch("restore", file, "--yes")
    assert status == 2 and "model 1200 (XL330-M288), this is model 1060 (XL430-W250)" in err


def change(bus):
    bus.servos[1].poke(REGISTERS["P_Coefficient"], 5)
    bus.servos[3].poke(REGISTERS["Homing_Offset"], -99)
    bus.servos[3].poke(REGISTERS["Torque_Limit"], 1)


def test_restoring_shows_what_differs_asks_and_writes_that_only(bus, registers, tmp_path):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    words = ("registers", "restore", str(file), "--port", bus.port)
    with TerminalSession(*words) as session:
        session.wait_for("Write these 2 registers? Type yes:")
        rows = [line.split() for line in session.screen()]
        assert ["1", "P_Coefficient", "5", "32"] in rows
        assert ["3", "Homing_Offset", "-99", "0"] in rows
        session.send("no" + ENTER)
        assert session.wait_end() == 1
        assert not bus.writes
    with TerminalSession(*words) as session:
        session.wait_for("Type yes:")
        session.send("yes" + ENTER)
        assert session.wait_end() == 0
        print("\n".join(session.screen()))
    assert bus.servos[1].peek(REGISTERS["P_Coefficient"]) == 32
    assert bus.servos[3].peek(REGISTERS["Homing_Offset"]) == 0
    assert bus.servos[3].peek(REGISTERS["Torque_Limit"]) == 1
    assert {write.address for write in bus.writes} == {21, 31, 55}
    assert "nothing to write" in registers("restore", file)[1]


def test_ctrl_c_at_the_question_writes_nothing(bus, registers, tmp_path):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    with TerminalSession("registers", "restore", str(file), "--port", bus.port) as session:
        session.wait_for("Type yes:")
        assert session.interrupt() == 130
    assert not bus.writes


def test_without_a_terminal_restoring_needs_a_yes(bus, registers, tmp_path):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    status, out, err = registers("restore", file)
    assert status == 2 and "add --yes" in err and "3\tHoming_Offset\t-99\t0" in out
    assert not bus.writes
    assert registers("restore", file, "--yes", "--id", 3)[0] == 0
    assert bus.servos[3].peek(REGISTERS["Homing_Offset"]) == 0
    assert bus.servos[1].peek(REGISTERS["P_Coefficient"]) == 5


def edited(file, edit):
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["servos"]["2"].update(model=1284), "the file is of model 1284 (SCS0009)"),
        (lambda d: d.update(format="yaml"), 'expected "format"'),
        (lambda d: d.update(servos={}), "expected servos by id"),
        (lambda d: d["servos"]["1"].pop("firmware"), "servo 1: expected"),
        (lambda d: d["servos"]["1"]["registers"].update(Wings=2), "no register 'Wings'"),
        (lambda d: d["servos"]["1"]["registers"].update(Phase="12"), "expected a number"),
        (lambda d: d["servos"]["1"]["registers"].update(Phase=300), "not to be trusted"),
    ],
)
def test_a_dump_that_does_not_fit_is_refused_before_anything_is_written(
    bus, registers, tmp_path, edit, message
):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    edited(file, edit)
    status, _, err = registers("restore", file, "--yes")
    assert status == 2 and message in err and err.count("\n") == 1
    assert not bus.writes


def test_a_dump_with_a_servo_that_is_not_there_is_not_written(bus, registers, tmp_path):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    bus.writes.clear()
    edited(file, lambda d: d["servos"].update({"9": d["servos"]["1"]}))
    status, _, err = registers("restore", file, "--yes")
    assert status == 1 and "servo 9: no intact reply" in err and err.count("\n") == 1
    assert not bus.writes


def test_restoring_with_torque_on_writes_to_no_servo(bus, registers, tmp_path):
    file = tmp_path / "arm.json"
    registers("dump", file)
    change(bus)
    bus.servos[3].poke(REGISTERS["Torque_Enable"], 1)
    status, _, err = registers("restore", file, "--yes")
    assert status == 2 and "torque on" in err and not bus.writes
