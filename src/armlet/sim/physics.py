"""The arm and what lies about it as bodies: MuJoCo's model of them, stepped by whoever owns time.

The arm's model is made from the SO-101's URDF; to it come the servos' rotors and their gears'
play, the table, and a task's things. Nothing here knows a clock or a servo's registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from armlet.robots.kinematics import HOME
from armlet.robots.robot_model import SO101

from .domain import ORDINARY, Domain
from .task import Layout, Standing, State, Thing, bin_walls

Vector = NDArray[np.float64]

JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)

STEP_S = 0.002

ROTOR_KG_M2 = 0.028
"""Inertia of a servo's rotor and gears, seen at its shaft: identified for the STS3215 and published
with the arm's simulation models (SO-ARM100, Open Duck Mini)."""

_PLAY_DAMPING = 0.002
_STIFF = (0.004, 1.0)
"""Time constant, s, and damping ratio of joint stops and of contacts: two steps at least."""

_LIFT_M = 0.0005


class World:
    """An SO-101 on a table, among things.

    Joints are numbered as in JOINTS; angles are those of `kinematics`.

    Args:
        things: on the table, by name; where, `place` says.
        domain: friction, masses and backlash.
        step_s: length of a step.

    Attributes:
        step_s, domain: as given.
        model, data: MuJoCo's, to look at.
        shaft_angles, shaft_velocities: of the six joints, rad and rad/s, as an encoder on the
            output shaft has them.
        rotor_velocities: of the six motors, rad/s, seen at the shaft: the gears' play is between.
    """

    def __init__(
        self,
        things: Mapping[str, Thing] | None = None,
        domain: Domain = ORDINARY,
        step_s: float = STEP_S,
    ) -> None:
        self.step_s, self.domain = step_s, domain
        self._things = dict(things or {})
        self.model = _compiled(self._things, domain, step_s)
        self.data = mujoco.MjData(self.model)
        model = self.model
        names = [model.joint(index).name for index in range(model.njnt)]
        self._rotors = [model.joint(name).dofadr[0] for name in JOINTS]
        self._rotors_at = [model.joint(name).qposadr[0] for name in JOINTS]
        plays = [model.joint(_play(n)) if _play(n) in names else None for n in JOINTS]
        self._plays = [None if play is None else int(play.dofadr[0]) for play in plays]
        self._plays_at = [None if play is None else int(play.qposadr[0]) for play in plays]
        self._torques = self.data.qfrc_applied
        self.shaft_angles: list[float] = []
        self.shaft_velocities: list[float] = []
        self.rotor_velocities: list[float] = []
        self.set_joints(HOME)

    # --- the arm ----------------------------------------------------------------------------

    def set_torque(self, joint: int, newton_metres: float) -> None:
        """What the servo's motor gives from now on, at the shaft."""
        self._torques[self._rotors[joint]] = newton_metres

    def set_joint(self, joint: int, angle: float, velocity: float = 0.0) -> None:
        """Puts one joint there, whatever is in the way; rad, rad/s."""
        data = self.data
        data.qpos[self._rotors_at[joint]] = angle
        data.qvel[self._rotors[joint]] = velocity
        if self._plays[joint] is not None:
            data.qpos[self._plays_at[joint]] = 0.0
            data.qvel[self._plays[joint]] = 0.0
        self._read_shafts()

    def set_joints(self, angles: Vector) -> None:
        """Puts the arm there (6,), rad, at rest, whatever is in the way."""
        for joint, angle in enumerate(angles):
            self.set_joint(joint, float(angle))

    def _read_shafts(self) -> None:
        positions, velocities = self.data.qpos.tolist(), self.data.qvel.tolist()
        self.rotor_velocities = [velocities[at] for at in self._rotors]
        self.shaft_angles = [positions[at] for at in self._rotors_at]
        self.shaft_velocities = list(self.rotor_velocities)
        for joint, (at, dof) in enumerate(zip(self._plays_at, self._plays, strict=True)):
            if at is not None and dof is not None:
                self.shaft_angles[joint] += positions[at]
                self.shaft_velocities[joint] += velocities[dof]

    # --- things -----------------------------------------------------------------------------

    def place(self, layout: Layout) -> None:
        """Puts things there. Raises ValueError for one that is not in this world."""
        for name, standing in layout.items():
            if name not in self._things:
                raise ValueError(f"this world has {list(self._things)}, not {name!r}")
            if self._things[name].moves:
                joint = self.data.joint(name)
                joint.qpos[:3], joint.qpos[3:] = standing.position, standing.quaternion
                joint.qpos[2] += _LIFT_M
                joint.qvel[:3], joint.qvel[3:] = standing.velocity, 0.0
            else:
                mocap = self.model.body(name).mocapid[0]
                self.data.mocap_pos[mocap] = standing.position
                self.data.mocap_quat[mocap] = standing.quaternion
        # What the solver begins with must not depend on what was before.
        self.data.qacc_warmstart[:] = 0.0

    def state(self) -> State:
        """The arm and the things as they are now."""
        return State(
            np.array(self.shaft_angles), {name: self._standing(name) for name in self._things}
        )

    def _standing(self, name: str) -> Standing:
        if self._things[name].moves:
            joint = self.data.joint(name)
            return Standing(joint.qpos[:3].copy(), joint.qpos[3:].copy(), joint.qvel[:3].copy())
        mocap = self.model.body(name).mocapid[0]
        return Standing(
            self.data.mocap_pos[mocap].copy(), self.data.mocap_quat[mocap].copy(), np.zeros(3)
        )

    # --- time -------------------------------------------------------------------------------

    def step(self) -> None:
        """Lets one step of time pass."""
        mujoco.mj_step(self.model, self.data)
        self._read_shafts()

    def gear_torques(self) -> Vector:
        """What the last step's gravity, contacts and stops took from each shaft (6,), N m.

        At rest the motor gives as much, up to the gear's friction.
        """
        data = self.data
        friction = np.zeros(self.model.nv)
        kinds = data.efc_type[: data.nefc] == mujoco.mjtConstraint.mjCNSTR_FRICTION_DOF
        if data.nefc:
            forces = np.where(kinds, data.efc_force[: data.nefc], 0.0)
            mujoco.mj_mulJacTVec(self.model, data, friction, forces)
        taken = data.qfrc_bias - data.qfrc_passive - (data.qfrc_constraint - friction)
        return np.asarray(taken[self._rotors])


def _play(joint: str) -> str:
    return f"{joint}_play"


def _compiled(things: Mapping[str, Thing], domain: Domain, step_s: float) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_file(SO101.urdf)
    spec.option.timestep = step_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    # Without it, dry friction lets everything creep: arms sag for minutes, a grip slips.
    spec.option.noslip_iterations = 3
    _complete_arm(spec, domain)
    table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE)
    table.size = [1.0, 1.0, 0.1]
    for name, thing in things.items():
        _add_thing(spec, name, thing, domain)
    for geom in spec.geoms:
        geom.friction = [domain.friction, 0.005, 0.0001]
        geom.condim = 4
        geom.solref = _STIFF
    return spec.compile()


def _complete_arm(spec: mujoco.MjSpec, domain: Domain) -> None:
    """The rotors and the gears' play; a fixed base touches the first link, and would push it."""
    spec.add_exclude(bodyname1="world", bodyname2="pan")
    half = math.radians(domain.backlash_deg) / 2
    for name in JOINTS:
        joint = spec.joint(name)
        joint.armature = ROTOR_KG_M2
        joint.solref_limit = _STIFF
        if half:
            play = joint.parent.add_joint(name=_play(name), type=mujoco.mjtJoint.mjJNT_HINGE)
            play.axis, play.pos = joint.axis, joint.pos
            play.limited, play.range = mujoco.mjtLimited.mjLIMITED_TRUE, [-half, half]
            play.damping, play.solref_limit = [_PLAY_DAMPING, 0.0, 0.0], _STIFF
    for body in spec.bodies:
        body.mass *= domain.arm_mass
        body.inertia = domain.arm_mass * body.inertia
        body.fullinertia = domain.arm_mass * body.fullinertia


def _add_thing(spec: mujoco.MjSpec, name: str, thing: Thing, domain: Domain) -> None:
    body = spec.worldbody.add_body(name=name)
    half = np.array(thing.size_m) / 2
    if thing.moves:
        body.add_freejoint(name=name)
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=half,
            mass=thing.mass_kg * domain.object_mass,
        )
        return
    body.mocap = True
    if thing.shape == "mark":
        return
    for index, (centre, size) in enumerate(bin_walls(thing.size_m)):
        body.add_geom(
            name=f"{name}{index}", type=mujoco.mjtGeom.mjGEOM_BOX, size=size / 2, pos=centre
        )
