"""Parameters of servo_bus."""

from __future__ import annotations

from armlet.robots.joints import GRIPPER

from .setting import AT_START, Change, Fixed, Setting

GRAPH = "graph"
BUS = Fixed("the bus is opened, and its servos are checked, with it")
CYCLE = Fixed("the control cycle is made with it, and goes on while the arm holds")
PROTECTION = Fixed("what protects the servos is not changed while they may need it")
ACTIVATION = Fixed("it is about activation only; ~/set_torque switches torque now")
DESCRIBED = Fixed("who plans with the model takes it to stay the same")
BEYOND = Fixed("programs that command the arm count on it")

# As armlet.control has them, which needs numpy: whoever starts nodes reads this first.
_ACTIONS = "warn, relax, release"
MAX_VELOCITY, MAX_ACCELERATION = 5.0, 100.0
GRIPPER_PUSH_RAD = 0.1

# What an arm can mean, the same for all joints and for one.
# rad/s: 7 ticks of an encoder in a second; no servo of a follower is faster without any load (103
# rpm, XL330-M288; 61 rpm, XL430-W250; 46 rpm, STS3215).
VELOCITIES = (0.01, 10.0)
# rad/s^2: below the least that servos' own profiles have (0.15, STS3215; 0.37, XL330), an arm
# that has to hold goes on for radians; at rest to the highest velocity within one cycle of 10 ms.
ACCELERATIONS = (0.1, 1e3)


SETTINGS = (
    Setting(
        "port", "", "Serial port of the bus; best its stable path in /dev/serial/by-id.", change=BUS
    ),
    Setting("baudrate", 1_000_000, "Baud rate of the bus.", 9600, 4_000_000, change=BUS),
    Setting(
        "motors",
        "sts3215",
        "Model of the servos, or one model for each joint, comma separated.",
        change=BUS,
    ),
    Setting("calibration_file", "", "LeRobot calibration JSON of this arm.", change=BUS),
    Setting(
        "other_calibrations",
        [""],
        "NAME=FILE of the robot's other arms, to name the arm whose calibration these servos hold.",
        change=BUS,
    ),
    Setting(
        "commanders",
        [""],
        "Full names of the nodes that may publish joint_commands and joint_trajectory; others are "
        "followed too, and reported. Empty: anybody.",
        change=AT_START,
    ),
    Setting(
        "write_calibration",
        False,
        "Write the calibration to the servos when the node is configured.",
        change=BUS,
    ),
    Setting(
        "mode",
        "follower",
        "follower (accepts commands) or leader (torque off, only reads).",
        change=BUS,
    ),
    Setting(
        "robot_description",
        "",
        "URDF of this arm, published latched on robot_description. Empty: publish none.",
        change=DESCRIBED,
    ),
    Setting(
        GRAPH,
        "",
        "Namespace of the graph that this arm is a side of, / for none: keys of `armlet session` "
        "there arm it. Empty: the node's own namespace.",
        change=AT_START,
    ),
    Setting(
        "rate_hz",
        100.0,
        "Rate of the control cycle and of joint_states (Hz).",
        1.0,
        400.0,
        change=CYCLE,
    ),
    Setting(
        "feedback",
        "state",
        "What each cycle reads: state (position and velocity) or full (also voltage, "
        "temperature, load, current and errors).",
        change=CYCLE,
    ),
    Setting(
        "telemetry_hz",
        2.0,
        "How often each servo's voltage, temperature and load are read (Hz); heat is seen by it, "
        "and a servo that lost its power.",
        0.1,
        20.0,
        change=Change.HIGHER,
    ),
    Setting(
        "torque_on_activate",
        True,
        "Switch torque on and hold the arm when the node is activated.",
        change=ACTIVATION,
        respawned=False,
    ),
    Setting(
        "max_velocity_rad_s",
        MAX_VELOCITY,
        "Upper limit of commanded velocities (rad/s).",
        *VELOCITIES,
        change=Change.LOWER,
    ),
    Setting(
        "max_acceleration_rad_s2",
        MAX_ACCELERATION,
        "Upper limit of commanded accelerations (rad/s^2).",
        *ACCELERATIONS,
        change=Change.LOWER,
    ),
    Setting(
        "beyond_limits",
        "clamp",
        "What to do with commands outside the calibrated range: clamp or refuse them.",
        change=BEYOND,
    ),
    Setting(
        "ramp_velocity_rad_s",
        1.0,
        "When a new source takes over, the arm approaches it at no more than this (rad/s).",
        *VELOCITIES,
        change=Change.LOWER,
    ),
    Setting(
        "command_timeout_s",
        0.5,
        "Hold the arm when no command has arrived for this long (s).",
        0.1,  # three commands at 30 Hz: else a policy gets in between those of a person
        10.0,
        change=Change.LOWER,
    ),
    Setting(
        "command_delay_s",
        0.02,
        "Execute commands this long after their stamp (s), so that they can be interpolated.",
        0.0,
        0.2,
        change=CYCLE,
    ),
    Setting(
        "blend_s",
        0.1,
        "Duration of the transition from the current trajectory to a newer one (s).",
        0.0,
        2.0,
        change=Change.FREE,
    ),
    Setting(
        "on_overload", "relax", f"Reaction to an overloaded joint: {_ACTIONS}.", change=PROTECTION
    ),
    Setting(
        "on_hot", "relax", f"Reaction to a joint at hot_c or above: {_ACTIONS}.", change=PROTECTION
    ),
    Setting(
        "on_voltage",
        "warn",
        f"Reaction to a supply voltage outside its limits: {_ACTIONS}.",
        change=PROTECTION,
    ),
    Setting(
        "hot_c",
        65.0,
        "Temperature from which a joint counts as hot (°C). Servos switch off by themselves at 70.",
        30.0,
        90.0,
        change=Change.LOWER,
    ),
    Setting(
        "low_voltage_v",
        4.5,
        "Supply voltage below which it counts as too low (V).",
        0.0,
        24.0,
        change=Change.HIGHER,
    ),
    Setting(
        "relaxed_torque",
        0.2,
        "Torque limit of a relaxed joint, as a share of full torque.",
        0.05,
        1.0,
        change=Change.LOWER,
    ),
    Setting(
        "nice", -10, "Niceness of the process, where the system permits it.", -20, 0, change=CYCLE
    ),
)


def joint_settings(joint: str) -> tuple[Setting, ...]:
    """The parameters that one joint has of its own."""
    push_rad = GRIPPER_PUSH_RAD if joint == GRIPPER else 0.0
    common = "; empty: as the common parameter"
    return (
        Setting(
            f"{joint}.max_velocity_rad_s",
            0.0,
            f"Velocity limit of {joint} (rad/s). 0: the common limit.",
            *VELOCITIES,
            change=Change.LOWER,
            common="max_velocity_rad_s",
        ),
        Setting(
            f"{joint}.max_acceleration_rad_s2",
            0.0,
            f"Acceleration limit of {joint} (rad/s^2). 0: the common limit.",
            *ACCELERATIONS,
            change=Change.LOWER,
            common="max_acceleration_rad_s2",
        ),
        Setting(f"{joint}.on_overload", "", f"{_ACTIONS}{common}", change=PROTECTION),
        Setting(f"{joint}.on_hot", "", f"{_ACTIONS}{common}", change=PROTECTION),
        Setting(f"{joint}.on_voltage", "", f"{_ACTIONS}{common}", change=PROTECTION),
        Setting(
            f"{joint}.relaxed_push_rad",
            push_rad,
            f"How far beyond its position {joint} may still push when relaxed (rad), so that "
            "a gripper holds on.",
            0.0,
            1.0,
            change=PROTECTION,
        ),
    )


REPEATED = ("joint", joint_settings)
