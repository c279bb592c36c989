"""Small policies that fit the emulated bench, and a bench on which one after the other is started.

Needs torch.
"""

import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from forked_nodes import Popen
from node_processes import SLOW_HZ, STANDSTILL_S, running, simulated_nodes

from armlet.bringup import NodeSpec, command
from armlet.client.graph import GraphError
from armlet.contract import Camera, Contract, Stream
from armlet.policies import Act, ActConfig, Feature, Observation, load_policy, save_checkpoint
from armlet.robots import SO101_JOINTS
from armlet.robots import calibration as calibrations
from armlet.robots.joints import feature_names
from armlet.robots.units import own_converter
from armlet.sim import FOLLOWER

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

HEIGHT, WIDTH = 48, 64
# What inference takes of simulated time.
LATENCY_S = 0.15
NAMES = feature_names(SO101_JOINTS)
CONTRACT = Contract(
    fps=30,
    cameras=(Camera("front", HEIGHT, WIDTH), Camera("wrist", HEIGHT, WIDTH)),
    state_names=NAMES,
    action_names=NAMES,
    joint_units="degrees",
    alignment=(Stream("state", "linear", 0.05),),
    calibration=calibrations.fingerprint(FOLLOWER),
)


# Dataset units of the pose between the limits of every joint.
MIDDLE = np.array([0, 0, 0, 0, 0, 50.0])


def statistics_of(config, spread=5.0, goal=MIDDLE):
    """Such as the bench's poses and pictures may belong to; actions stay near a goal.

    goal: (6,) of one arm, or (12,) of two, in dataset units.
    """
    arms = len(goal) // len(MIDDLE)
    middle = np.tile(MIDDLE, arms)
    picture = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
    statistics = dict.fromkeys(config.image_features, picture)
    # The arm at home is two spreads from the middle.
    wide = np.tile([30, 30, 30, 30, 30, 20.0], arms)
    statistics |= {"observation.state": {"mean": middle, "std": wide}}
    return statistics | {"action": {"mean": goal, "std": np.full(len(goal), spread)}}


def save_random(
    path,
    contract=None,
    width=WIDTH,
    height=HEIGHT,
    cameras=("front", "wrist"),
    goal=MIDDLE,
    **settings,
):
    """A small policy of random weights whose actions stay near a goal, as of `statistics_of`."""
    torch.manual_seed(0)
    camera = Feature("VISUAL", (3, height, width))
    config = ActConfig(
        input_features={
            "observation.state": Feature("STATE", goal.shape),
            **{f"observation.images.{name}": camera for name in cameras},
        },
        output_features={"action": Feature("ACTION", goal.shape)},
        **{"chunk_size": 20, "n_action_steps": 20, "use_vae": False, **settings},
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
    )
    statistics = statistics_of(config, goal=goal)
    save_checkpoint(path, Act(config), config, statistics, contract, torch.float16)
    return path


def save_diffusion(path, **settings):
    """A small Diffusion Policy of random weights, actions near the middle pose, for the bench."""
    from small_diffusion import diffusion_config, make_diffusion

    modes = dict.fromkeys(("VISUAL", "STATE", "ACTION"), "MEAN_STD")
    config = diffusion_config(("front", "wrist"), normalization_mapping=modes, **settings)
    save_checkpoint(path, make_diffusion(config), config, statistics_of(config), CONTRACT)
    return path


def make_drawn_smolvla(folder):
    """A SmolVLA whose chunk is its noise, in degrees: what it observes leaves no trace."""
    from small_smolvla import make_language_model, make_smolvla, smolvla_config

    vlm = make_language_model(folder / "language")
    config = smolvla_config(chunk_size=30, n_action_steps=30, num_steps=10)
    network = make_smolvla(config, vlm)
    with torch.no_grad():
        network.action_out_proj.weight.zero_()
        network.action_out_proj.bias.zero_()
    statistics = statistics_of(config, spread=1.0)
    save_checkpoint(folder / "smolvla", network, config, statistics, CONTRACT, vlm=vlm)
    return folder / "smolvla"


def drawn_alone(checkpoint, seed):
    """The first chunk of an episode, radians, without a robot."""
    policy = load_policy(checkpoint)
    policy.reset(seed)
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    observation = Observation(np.zeros(6, np.float32), {"front": blank, "wrist": blank})
    return own_converter(FOLLOWER).dataset_to_radians(policy.predict_chunk(observation), "degrees")


def chunks(graph):
    """All that a graph's policy has sent."""
    return graph.seen.chunks(0, 2**62)


def drives(graph):
    """Wait until a graph's policy sends chunks and the arm follows them."""
    count = len(chunks(graph))
    graph.wait("chunks", lambda: len(chunks(graph)) > count + 2)
    graph.wait_for_status("servo_bus: bus", "following joint_trajectory")


@contextmanager
def bench_without_policy(checkpoint, popen=Popen, **arguments):
    """A policy graph but for its policy: (running graph, the policy's spec, the bench's socket)."""
    given = {"emulated": "true", "threads": "1", "checkpoint": str(checkpoint), **arguments}
    size = {"width": str(WIDTH), "height": str(HEIGHT), "inference_latency_s": str(LATENCY_S)}
    with tempfile.TemporaryDirectory(prefix="armlet-bench-") as folder:
        nodes, lockstep = simulated_nodes("policy", folder, (), "policy", SLOW_HZ, **given, **size)
        *rest, policy = nodes
        with running(rest, lockstep, popen) as started:
            yield started, policy, lockstep


class Bench:
    """A graph without its policy, and the policies that are started on it."""

    def __init__(self, graph, policy):
        self.graph, self._policy = graph, policy

    @contextmanager
    def policy(self, name, checkpoint, environment=None, ends=False, **parameters):
        """A policy process of its own name, active unless it ends before, on an armed arm."""
        self.graph.director.set("servo_bus/set_torque", True)
        given = {**self._policy.parameters, "checkpoint": str(checkpoint), **parameters}
        spec = NodeSpec("policy", name, given)
        with tempfile.TemporaryDirectory(prefix="armlet-policy-") as folder:
            log = Path(folder) / "said.log"
            with log.open("w") as output:
                process = Popen(
                    command(spec, Path(folder)),
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(environment or {})},
                )
                started = Started(self.graph, process, name, log)
                try:
                    if not ends:
                        self.graph.wait_until_active(name, process, started.said)
                    yield started
                finally:
                    process.send_signal(signal.SIGINT)
                    process.wait(STANDSTILL_S)


class Started:
    """One policy process on the bench, and what came since it was started."""

    def __init__(self, graph, process, name, log):
        self.graph, self.process, self.name, self._log = graph, process, name, log
        self._since_ns = graph.director.now_ns

    def said(self):
        return self._log.read_text()

    def chunks(self):
        return self.graph.seen.chunks(self._since_ns, 2**62)

    def reset(self):
        """A new episode, from the seed."""
        self.graph.director.trigger(f"{self.name}/reset")

    def wait_for_chunks(self, count):
        self.wait("chunks", lambda: len(self.chunks()) >= count)

    def wait(self, what, ready):
        def ready_or_ended():
            if ready():
                return True
            if self.process.poll() is not None:
                raise GraphError(f"the policy ended with {self.process.returncode}")
            return False

        try:
            self.graph.director.wait_for(what, ready_or_ended, 120.0)
        except GraphError as error:
            raise AssertionError(f"{error}; the policy said:\n{self.said()}") from error

    def wait_for_words(self, words):
        """Wait until the node has said them: what it publishes of the same may be heard before."""
        self.wait(f"the words {words!r}", lambda: words in self.said())

    def wait_for_status(self, text, item="inference"):
        full = f"{self.name}: {item}"
        said = self.graph.seen.messages
        self.wait(f"{full} saying {text!r}", lambda: text in said().get(full, ""))

    def values(self):
        return self.graph.seen.status()[f"{self.name}: inference"]

    def follows(self):
        self.graph.wait_for_status("servo_bus: bus", "following joint_trajectory")
