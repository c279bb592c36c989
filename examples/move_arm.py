"""Move the emulated arm: to a pose by commands, then along a trajectory, as a policy does.

python examples/move_arm.py
"""

import numpy as np

from armlet import start

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
HOME = np.zeros(6)  # rad; zero is the middle of each joint's calibrated range
SECONDS = 2.0


def main() -> None:
    with start("follower", emulated="true") as arm:
        arm.wait_for("joint states", lambda: arm.seen.count("joint_states") > 0, 30.0)
        arm.drive_to(JOINTS, HOME)
        print("at home")
        # While commands are fresh they come before a trajectory (command_timeout_s).
        arm.let_pass(1.0)
        swing = np.zeros((61, 6))
        swing[:, 0] = 0.5 * np.sin(np.linspace(0.0, np.pi, len(swing)))
        arm.follow(JOINTS, SECONDS, swing)
        arm.let_pass(SECONDS / 2)
        print(f"half way: shoulder_pan at {arm.seen.latest('joint_states')[0]:+.2f} rad")
        arm.let_pass(SECONDS / 2 + 0.5)
        print(f"back: shoulder_pan at {arm.seen.latest('joint_states')[0]:+.2f} rad")
        print(arm.stop())


if __name__ == "__main__":
    main()
