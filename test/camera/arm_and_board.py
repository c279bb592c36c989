"""An SO-101, a camera and a ChArUco board whose places are known: poses, views and pictures.

The camera is on the gripper and the board on the table, or the other way round.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from painted_boards import SIZE, D, K, painted

from armlet.camera import Intrinsics, charuco
from armlet.camera.charuco import View
from armlet.camera.hand_eye import Station
from armlet.robots import SO101_JOINTS
from armlet.robots.description import describe, rotation_of
from armlet.robots.link_poses import LinkPoses
from armlet.robots.robot_model import find
from armlet.sim.calibrations import FOLLOWER

SQUARE_M = 0.03
INTRINSICS = Intrinsics(
    *SIZE,
    "plumb_bob",
    tuple(D),
    tuple(K.ravel()),
    (1.0, 0, 0, 0, 1, 0, 0, 0, 1),
    (*K[0], 0, *K[1], 0, *K[2], 0),
)
URDF = describe(find("so101"), FOLLOWER)
LINKS = LinkPoses(URDF)
CORNERS = np.asarray(charuco._board().getChessboardCorners())[:, :2]
BOARD = np.column_stack([(CORNERS - (4, 3)) * SQUARE_M, np.zeros(len(CORNERS))])
HAND, BASE = "gripper", "base_link"
REACH = np.array([0.9, 1.0, 1.0, 1.3, 1.4, 0.5])


def pose(xyz, rpy):
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = rotation_of(np.array(rpy)), xyz
    return made


@dataclass(frozen=True, eq=False)
class Scene:
    """camera: its optical frame in its link. board: its middle in the link that it is on."""

    link: str
    camera: np.ndarray
    board: np.ndarray

    def body(self, joints):
        """The camera's link in the board's (4, 4)."""
        hand = LINKS.pose(HAND, dict(zip(SO101_JOINTS, joints, strict=True)))
        return hand if self.link == HAND else np.linalg.inv(hand)

    def station(self, name, joints, view):
        angles = dict(zip(SO101_JOINTS, joints, strict=True))
        hand, slopes = LINKS.pose(HAND, angles), LINKS.slopes(HAND, angles)
        if self.link == HAND:
            return Station(name, hand, slopes, view)
        body = np.linalg.inv(hand)
        return Station(name, body, -body @ slopes @ body, view)

    def seen(self, joints):
        """The board in the camera (4, 4)."""
        return np.linalg.inv(self.camera) @ np.linalg.inv(self.body(joints)) @ self.board

    def corners(self, joints, noise=None):
        """The board's corners that are in the picture, (n, 2) px, and in squares."""
        seen = self.seen(joints)
        turn, _ = cv2.Rodrigues(seen[:3, :3])
        pixels = cv2.projectPoints(BOARD, turn, seen[:3, 3], K, D)[0].reshape(-1, 2)
        inside = ((pixels > 4) & (pixels < np.array(SIZE) - 4)).all(axis=1)
        off = 0 if noise is None else noise.normal(0, 0.1, pixels.shape)
        return (pixels + off)[inside], CORNERS[inside]

    def sees(self, joints):
        """Whether most of the board is well in the picture."""
        seen = self.seen(joints)
        facing, distance = seen[2, 2], seen[2, 3]
        return facing > 0.5 and 0.2 < distance < 0.7 and len(self.corners(joints)[0]) >= 24

    @functools.cache  # noqa: B019, for as long as the tests run
    def poses(self, count, seed=0):
        """Joints (count, 6), rad, from which most of the board is seen."""
        dice, found = np.random.default_rng(seed), []
        for _ in range(200_000):
            joints = dice.uniform(-REACH, REACH)
            if self.sees(joints):
                found.append(joints)
            if len(found) == count:
                return np.array(found)
        raise AssertionError(f"only {len(found)} poses see the board")

    def stations(self, joints, joint_noise=0.0, seed=0):
        """Views by calculation, of an arm that reports its joints inexactly."""
        dice = np.random.default_rng(seed)
        return [
            self.station(
                f"pose {number}",
                each + dice.normal(0, joint_noise, 6),
                View(SIZE, *(np.float32(part) for part in self.corners(each, dice))),
            )
            for number, each in enumerate(joints, 1)
        ]

    def seen_from(self, name, hand, dice):
        """The station of a hand at a place, of an arm whose joints are read exactly."""
        seen = np.linalg.inv(hand @ self.camera) @ self.board
        turn, _ = cv2.Rodrigues(seen[:3, :3])
        pixels = cv2.projectPoints(BOARD, turn, seen[:3, 3], K, D)[0].reshape(-1, 2)
        pixels += dice.normal(0, 0.1, pixels.shape)
        view = View(SIZE, np.float32(pixels), np.float32(CORNERS))
        return Station(name, hand, np.zeros((1, 4, 4)), view)

    def picture(self, joints):
        """uint8 (480, 640, 3)."""
        seen = self.seen(joints)
        return painted(cv2.Rodrigues(seen[:3, :3])[0].ravel(), seen[:3, 3] / SQUARE_M)


# The optical frame: z forward, x right.
OPTICAL = pose((0, 0, 0), (-np.pi / 2, 0, -np.pi / 2))
ON_TABLE = pose((0.27, 0.01, 0.0), (np.pi, 0, 0.1))
WRIST = Scene(HAND, pose((-0.04, 0.01, 0.06), (0.1, 0.25, -0.05)) @ OPTICAL, ON_TABLE)
IN_HAND = pose((0.12, 0.0, 0.01), (0, -np.pi / 2 + 0.2, 0)) @ pose((0, 0, 0), (0, 0, np.pi / 2))
OUTSIDE = Scene(BASE, pose((0.75, 0.1, 0.3), (0, 0.2, np.pi - 0.1)) @ OPTICAL, IN_HAND)


def off(found, truth):
    """How far a pose is from another, mm and degrees."""
    change = np.linalg.inv(truth) @ found
    turn = np.linalg.norm(cv2.Rodrigues(change[:3, :3])[0])
    return 1000 * np.linalg.norm(change[:3, 3]), np.degrees(turn)
