"""The emulated servo against a recording of a real SO-101: the same commands, the same motion?

The recording holds what the leader asked for and where the follower was, 30 times a second, over
four episodes. Load and friction of each joint are taken from the first three; the fourth is then
emulated from its commands alone and compared with what the real arm did.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from armlet.motors.emulation.dynamics import LAG_TIMES_P, NO_LOAD_SPEED
from armlet.motors.emulation.servo import EmulatedServo
from armlet.motors.feetech.registers import (
    ACCELERATION,
    GOAL_POSITION,
    P_COEFFICIENT,
    PRESENT_POSITION,
    TORQUE_ENABLE,
)

REAL_ARM = Path(__file__).parents[3] / "shared/data/so101_real/data/chunk-000/file-000.parquet"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
GRIPPER = 5
FRICTION = {0: 0.04, 1: 0.03, 2: 0.02, 3: 0.045, 4: 0.045, 5: 0.02}
"""Joint -> share of stall torque with which the emulated lag is the real one's."""

FPS = 30
P = 16
SETTLED = slice(30, None)
LOOP_S = 0.004
"""From reading the follower to writing its goal, in the loop that recorded."""

Vector = npt.NDArray[np.float64]


class Episode(NamedTuple):
    """One joint's commands and positions in ticks, and what gravity's pull may depend on."""

    command: Vector
    position: Vector
    pose: npt.NDArray[np.float64]


@cache
def recording() -> tuple[Vector, Vector, Vector, Vector]:
    """Commands, positions (frames, 6), episode of each frame; ticks per unit of each joint."""
    if not REAL_ARM.exists():
        pytest.skip("the recording of a real SO-101 (shared/data/so101_real) is not here")
    import pyarrow.parquet as parquet

    table = parquet.read_table(REAL_ARM, columns=["action", "observation.state", "episode_index"])
    command, position = (
        np.array(table[name].to_pylist(), float) for name in ("action", "observation.state")
    )
    steps = [np.diff(np.unique(column)) for column in position.T]
    ticks = np.array([1 / step[step > 1e-4].min() for step in steps])
    return command, position, np.array(table["episode_index"]), ticks


def episodes(joint: int) -> list[Episode]:
    command, position, index, ticks = recording()
    angles = position * ticks * 2 * np.pi / 4096
    # The angle of a link against the horizontal is a sum of joint angles.
    lift, elbow, wrist = angles[:, 1], angles[:, 1] + angles[:, 2], angles[:, 1:4].sum(axis=1)
    links = {1: (lift, elbow, wrist), 2: (elbow, wrist), 3: (wrist,)}.get(joint, ())
    waves = [wave(link) for link in links for wave in (np.sin, np.cos)]
    pose = np.stack([np.ones(len(index)), *waves], axis=1)
    zero = 300 if joint == GRIPPER else 2048
    return [
        Episode(
            np.trunc(command[frames, joint] * ticks[joint] + zero),
            np.round(position[frames, joint] * ticks[joint] + zero),
            pose[frames],
        )
        for frames in (index == number for number in range(4))
    ]


def emulate(episode: Episode, load: Vector | None = None, friction: float = 0.0) -> Vector:
    """Present_Position at each frame, ticks."""
    now_s = [0.0]
    servo = EmulatedServo(1, position=episode.position[0], clock=lambda: now_s[0])
    for register, value in (
        (P_COEFFICIENT, P),
        (ACCELERATION, 254),
        (GOAL_POSITION, int(episode.command[0])),
        (TORQUE_ENABLE, 1),
    ):
        servo.write(register.address, register.encode(value))
    frames_s = np.arange(len(episode.command)) / FPS
    if load is not None:
        servo.load = lambda _, time_s: float(np.interp(time_s, frames_s, load))
        servo.friction = friction
    positions = []
    for frame_s, goal in zip(frames_s, episode.command, strict=True):
        now_s[0] = float(frame_s)
        positions.append(servo.peek(PRESENT_POSITION))
        now_s[0] += LOOP_S
        servo.write(GOAL_POSITION.address, GOAL_POSITION.encode(int(goal)))
    return np.array(positions, float)


def find_loads(joint: int) -> list[Vector]:
    """Shares of stall torque over each episode's frames, found in the first three.

    The sag that an unloaded emulation lacks, over the error that asks for full duty, is the load.
    """
    recorded = episodes(joint)
    full_duty_ticks = NO_LOAD_SPEED * LAG_TIMES_P / P
    sags = [(emulate(e) - e.position)[SETTLED] / full_duty_ticks for e in recorded[:3]]
    poses = [e.pose[SETTLED] for e in recorded[:3]]
    weights = np.linalg.lstsq(np.concatenate(poses), np.concatenate(sags), rcond=None)[0]
    return [e.pose @ weights for e in recorded]


def lag(command: Vector, position: Vector) -> tuple[float, float]:
    """The delay in s of the command that explains the position best, and the rms of the rest."""
    frames_s = np.arange(len(command)) / FPS
    rests = []
    for delay_s in np.arange(0.0, 0.3, 0.002):
        rest = (position - np.interp(frames_s - delay_s, frames_s, command))[SETTLED]
        rests.append((float(np.std(rest)), float(delay_s)))
    rms, delay_s = min(rests)
    return delay_s, rms


@pytest.mark.representatives(2)
@pytest.mark.parametrize("joint", range(6), ids=JOINTS)
def test_the_emulated_follower_does_what_the_real_one_did(joint: int) -> None:
    unseen = episodes(joint)[3]
    emulated = emulate(unseen, find_loads(joint)[3], FRICTION[joint])
    real_lag_s, real_rms = lag(unseen.command, unseen.position)
    lag_s, rms = lag(unseen.command, emulated)
    assert lag_s == pytest.approx(real_lag_s, abs=0.02)
    if joint == GRIPPER:
        return  # It holds things in this recording, and what and when is not recorded.
    assert 0.5 < rms / real_rms < 1.5
    off = emulated - unseen.position
    moved = np.std(unseen.position)
    assert np.sqrt(np.mean(off[SETTLED] ** 2)) < 0.12 * moved


def test_a_real_servo_that_rests_shows_no_noise() -> None:
    """Why `noise_ticks` is 0 unless asked for."""
    changes = 0
    frames = 0
    for joint in range(6):
        for episode in episodes(joint):
            still = np.lib.stride_tricks.sliding_window_view(episode.command, 20)
            resting = np.flatnonzero(np.ptp(still, axis=1) == 0) + 20
            resting = resting[resting < len(episode.position)]
            changes += np.count_nonzero(np.diff(episode.position)[resting - 1])
            frames += len(resting)
    assert frames > 1000
    assert changes < 0.02 * frames
