"""Calibrations of the emulated arms, as different from each other as two real SO-101 are.

Radian zero is the middle of each range on both arms. The follower's gripper range is the 1.8 rad
the kinematics gives it; the leader's trigger travels about two thirds of that, as on real arms.
"""

from __future__ import annotations

from armlet.robots.calibration import Calibration, JointCalibration

FOLLOWER: Calibration = {
    "shoulder_pan": JointCalibration(1, 0, -1083, 793, 3297),
    "shoulder_lift": JointCalibration(2, 0, 842, 897, 3169),
    "elbow_flex": JointCalibration(3, 0, -1291, 884, 3078),
    "wrist_flex": JointCalibration(4, 0, 673, 861, 3013),
    "wrist_roll": JointCalibration(5, 0, 1507, 0, 4095),
    "gripper": JointCalibration(6, 0, -338, 2023, 3197),
}

LEADER: Calibration = {
    "shoulder_pan": JointCalibration(1, 0, 406, 771, 3325),
    "shoulder_lift": JointCalibration(2, 0, -1725, 846, 3130),
    "elbow_flex": JointCalibration(3, 0, 918, 898, 3096),
    "wrist_flex": JointCalibration(4, 0, 1264, 839, 2999),
    "wrist_roll": JointCalibration(5, 0, -592, 0, 4095),
    "gripper": JointCalibration(6, 0, 1130, 1861, 2690),
}
