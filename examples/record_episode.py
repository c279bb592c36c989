"""Record one demonstration on the emulated bench as a LeRobot dataset.

python examples/record_episode.py DATASET
"""

import sys

from armlet import start


def main(root: str) -> None:
    bench = {"teleop": "true", "policy": "false", "real_time_factor": "0"}
    with start("sim", root=root, task="touch the red target", **bench) as graph:
        graph.wait_for("frames", lambda: graph.seen.count("observation/state") > 5, 60.0)
        graph.wait_for("commands", lambda: graph.seen.count("applied_joint_commands") > 5, 60.0)
        # A scripted hand moves the leader; both services say how long that takes.
        graph.let_pass(float(graph.trigger("sim_bench/reset")) + 0.6)
        graph.trigger("recorder/start_recording")
        graph.let_pass(float(graph.trigger("sim_bench/demonstrate")) + 0.6)
        print(graph.trigger("recorder/stop_recording"))


if __name__ == "__main__":
    main(sys.argv[1])
