"""A robot on this computer and its brain as if on another, over a link that a test impairs."""

import os
from contextlib import contextmanager

from bench_policies import save_random
from domains import free_domain
from driver_timeouts import with_timeouts
from forked_nodes import Popen
from impaired_link import link, on_another_computer
from node_processes import CALIBRATION, follower, running
from published_frames import RADIANS, PublishedFrames, contract

from armlet.bringup import NodeSpec
from armlet.sim import Bench

STATUS, BUS = "policy: inference", "servo_bus: bus"
# Longer than a busy computer delays frames, so that this is about the link alone.
AGE_S = 3.0
FOLLOWING = "following joint_trajectory"


class Apart:
    """A robot here, its brain there: the graph of both, the frames, and the link."""

    def __init__(self, graph, frames, link):
        self.graph, self.frames, self.link = graph, frames, link

    def bus(self):
        return self.graph.seen.messages().get(BUS, "")

    def wait_for_policy(self, *texts):
        self.frames.forget()
        return self.frames.wait(STATUS, *texts)

    def wait_for_bus(self, text):
        self.graph.wait(f"an arm that is {text}", lambda: text in self.bus())


@contextmanager
def apart(folder, offset_s=0.0):
    """Both, the brain's clock ahead by offset_s; folder: for its checkpoint and the arm's port."""
    # Chunks of five seconds: longer than a busy computer takes for one.
    checkpoint = save_random(folder / "checkpoint", chunk_size=150, n_action_steps=150)
    parameters = {
        "checkpoint": str(checkpoint),
        "calibration_file": str(CALIBRATION / "emulated_follower.json"),
        "joint_units": "degrees",
        "threads": 1,
        "max_observation_age_s": AGE_S,
        "inference_limit_s": 60.0,
    }
    driver = with_timeouts()

    def popen(line, **given):
        if "policy" in line[line.index("-m") + 1 :][1]:
            return Popen(on_another_computer(line, offset_s), **given)
        return driver(line, **given)

    with free_domain() as brain_domain, Bench(paced=False, links=folder):
        brain = {"ROS_DOMAIN_ID": str(brain_domain)}
        policy = NodeSpec("policy", "policy", parameters, environment=brain)
        with (
            link(int(os.environ["ROS_DOMAIN_ID"]), brain_domain) as between,
            PublishedFrames(contract(cameras=("front", "wrist")), RADIANS) as frames,
            running([follower(folder / "follower"), policy], popen=popen) as graph,
        ):
            graph.wait_for_status(BUS, "")
            yield Apart(graph, frames, between)
