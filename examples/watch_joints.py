"""Watch where the arm's joints are.

python examples/watch_joints.py            an emulated arm
python examples/watch_joints.py real       the arm of your robot file (~/.config/armlet/robot.yaml)
"""

import sys

from armlet import start


def main(arguments: list[str]) -> None:
    emulated = "false" if arguments == ["real"] else "true"
    with start("follower", emulated=emulated) as arm:
        arm.wait_for("joint states", lambda: arm.seen.count("joint_states") > 0, 30.0)
        for _ in range(5):
            arm.let_pass(0.2)
            positions = arm.seen.latest("joint_states")  # rad, in the order of the joint_states
            print("  ".join(f"{position:+.3f}" for position in positions), "rad")
        print(f"{arm.seen.rate_hz('joint_states'):.0f} readings a second")


if __name__ == "__main__":
    main(sys.argv[1:])
