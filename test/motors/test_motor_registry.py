"""Motor families by name, armlet's own and those of other packages, broken ones among them."""

import subprocess
import sys
from pathlib import Path

import pytest

from armlet.control import Arm
from armlet.motors import registry
from armlet.motors.emulation import EmulatedBus
from armlet.motors.registry import MotorError
from armlet.robots import JointCalibration

EXAMPLE = Path(__file__).parents[2] / "examples" / "armlet_motors_example"
JOINTS = ("shoulder_pan", "gripper")


def plugin(folder, name, entry, code, monkeypatch):
    """A package of somebody else's, installed in a folder of its own."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[armlet.motors]\n{entry} = {name}:FAMILY\n")
    (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("model", ["sts3215", "xl330-m077", "xl330-m288", "xl430-w250"])
def test_armlets_own_models_are_there(model):
    family = registry.family(model)
    assert family.models[model].name == model
    assert registry.load(family.origin) is family
    assert model in registry.models()


def test_joints_of_several_models_share_a_bus():
    family, models = registry.choose("xl430-w250, xl330-m288", JOINTS)
    assert (family.name, [model.number for model in models]) == ("dynamixel", [1060, 1200])
    by_name = "gripper = xl330-m288, shoulder_pan=xl430-w250"
    assert [model.number for model in registry.choose(by_name, JOINTS)[1]] == [1060, 1200]
    _, models = registry.choose("sts3215", JOINTS)
    assert [model.name for model in models] == ["sts3215"] * 2


@pytest.mark.parametrize(
    ("motors", "said"),
    [
        ("sts3125", "did you mean sts3215.*motors must be one of"),
        ("sts3215,xl330-m288", "dynamixel and feetech speak different protocols"),
        ("shoulder_pan=sts3215", "name each of shoulder_pan, gripper once"),
        ("shoulder_pan=sts3215,jaw=sts3215", "name each of shoulder_pan, gripper once"),
        ("sts3215,sts3215,sts3215", "one for each of shoulder_pan, gripper; found 3"),
    ],
)
def test_what_cannot_be_is_refused(motors, said):
    with pytest.raises(MotorError, match=said):
        registry.choose(motors, JOINTS)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("raise SystemError('of its own')", "SystemError: of its own"),
        ("", "AttributeError"),
        ("FAMILY = 7", "expected a MotorFamily, found int"),
        (
            "from armlet.motors.feetech.family import FAMILY",
            "has no model of that name, only sts3215",
        ),
    ],
)
def test_a_broken_package_is_named_and_blocks_nothing(tmp_path, monkeypatch, code, said):
    plugin(tmp_path, "broken_motors", "hopeless", code, monkeypatch)
    monkeypatch.delitem(sys.modules, "broken_motors", raising=False)
    with pytest.raises(MotorError, match=r"'hopeless' of the package broken_motors.*") as error:
        registry.family("hopeless")
    assert said in str(error.value)
    assert "hopeless" in registry.models()
    assert registry.family("xl330-m288").name == "dynamixel"


def test_a_package_cannot_take_the_place_of_armlets_own(tmp_path, monkeypatch):
    plugin(tmp_path, "greedy_motors", "sts3215", "FAMILY = 7", monkeypatch)
    assert registry.family("sts3215").name == "feetech"


@pytest.mark.thorough
def test_the_example_is_installed_offline_and_drives_servos(tmp_path):
    """By pip, as a person would, in a folder of its own; in a process that finds it there."""
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check"),
            *("--target", str(site), str(copied(EXAMPLE, tmp_path / "example"))),
        ],
        check=True,
    )
    with EmulatedBus((1, 2)) as emulated:
        for servo in emulated.servos.values():
            servo.poke(emulated.model.model_number, 2825)
        script = USE.format(site=str(site), port=emulated.port)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["sts3250", "STS3250", "[1,", "1]"]
        assert [servo.torque_on for servo in emulated.servos.values()] == [False, False]


USE = """
import sys
sys.path.insert(0, {site!r})
from armlet.control import Arm
from armlet.motors.registry import choose, models
from armlet.motors.torque_watchdog import cut_torque
from armlet.robots import JointCalibration
assert "sts3250" in models()
joints = {{name: JointCalibration(id, 0, 0, 1000, 3000) for name, id in (("a", 1), ("b", 2))}}
family, chosen = choose("sts3250", tuple(joints))
arm = Arm(family.make_bus({port!r}), joints, chosen)
arm.write_calibration()
arm.connect()
arm.configure()
arm.torque_on()
torque = [values["Torque_Enable"] for values in arm.servos.read(["Torque_Enable"]).values()]
print(family.name, chosen[0].label, torque)
arm.close()
assert cut_torque({port!r}, 1_000_000, (1, 2), 5.0, family) == []
"""


def copied(folder, where):
    """Building writes beside the sources; the repository's stay as they are."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml"):
            target = where / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return where


def test_another_familys_servo_is_refused_by_its_number():
    with EmulatedBus((1,), motors="xl430-w250") as emulated:
        family, models = registry.choose("xl330-m288", ("gripper",))
        arm = Arm(
            family.make_bus(emulated.port), {"gripper": JointCalibration(1, 0, 0, 1, 4000)}, models
        )
        with pytest.raises(Exception, match=r"expected XL330-M288 servos .* found model 1060"):
            arm.connect()
        arm.close()
