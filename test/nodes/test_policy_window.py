"""A Diffusion Policy on the bench: its window is of frames one period apart, whatever happens.

In simulated time. The node is the real one, in a process of its own; a subclass of it writes down
the stamps of every window that is inferred, and loses frames when it is ordered to.
"""

import json

import numpy as np
import pytest
from policy_observer import stand_in

pytest.importorskip("torch", reason="the policy extra is not installed")

from bench_policies import CONTRACT, Bench, Started, bench_without_policy, save_diffusion

PERIOD_NS = 10**9 / CONTRACT.fps
STEPS, HORIZON, LENGTH = 6, 24, 3

# Writes the stamps of each window it infers; loses every third frame while the file says so.
LOSING = """
import json, sys
from pathlib import Path
from armlet.nodes.node import run
from armlet.nodes.policy import PolicyNode

ORDERS = Path(sys.argv.pop(1))

class Losing(PolicyNode):
    came = 0

    def _on_frame(self, frame):
        self.came += 1
        if ORDERS.read_text() == "lose" and self.came % 3 == 0:
            return
        super()._on_frame(frame)

    def _attempt_chunk(self, policy, window, ending):
        self.window = window
        super()._attempt_chunk(policy, window, ending)

    def _publish(self, frame, rows):
        super()._publish(frame, rows)
        with ORDERS.with_name("windows").open("a") as file:
            print(json.dumps([each.stamp_ns for each in self.window]), file=file)

run(Losing)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_diffusion(
        tmp_path_factory.mktemp("diffusion") / "checkpoint",
        n_obs_steps=LENGTH,
        horizon=HORIZON,
        n_action_steps=STEPS,
        noise_scheduler_type="DDIM",
        num_inference_steps=2,
    )


@pytest.fixture(scope="module")
def bench(private_domain, checkpoint):
    with bench_without_policy(checkpoint) as (graph, spec, _):
        yield Bench(graph, spec), spec


def read(folder):
    """The stamps of every window (k, LENGTH) that a chunk was sent of."""
    text = (folder / "windows").read_text() if (folder / "windows").exists() else ""
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    return np.array([json.loads(line) for line in lines]).reshape(-1, LENGTH)


def periods(windows):
    """The spacing within windows, in periods."""
    return np.round(np.diff(windows, axis=1) / PERIOD_NS, 3)


def restarts(policy, folder):
    """As /diagnostics, which come once a second, have it of all windows that were written down."""
    count = len(read(folder))
    policy.wait("its diagnostics", lambda: int(policy.values()["chunks"]) >= count)
    return int(policy.values()["window_restarts"])


@pytest.mark.thorough
def test_it_drives_by_the_chunks_of_its_checkpoint(bench, checkpoint):
    with bench[0].policy("diffusion", checkpoint, seed=5) as policy:
        policy.follows()
        policy.wait_for_chunks(6)
        policy.wait_for_status("running")
        values = policy.values()
        assert values["strategy"] == "n_action_steps"
        assert (values["observations"], values["window_restarts"]) == (str(LENGTH), "0")
        chunks = policy.chunks()
        # What lies before the newest observation is not sent: row 0 is due at its own stamp.
        assert {chunk.rows.shape for chunk in chunks} == {(HORIZON - LENGTH + 1, 6)}
        # Waiting for n_action_steps rows to be played, as LeRobot does.
        starts = [chunk.times_s[0] for chunk in chunks]
        apart = np.diff(starts) * CONTRACT.fps
        assert np.all(apart > STEPS - 0.5)
        drift = bench[0].graph.seen.status()["diffusion: drift"]
        assert float(drift["actions sigma"]) < 3 and float(drift["state sigma"]) < 3
        assert "camera wrist divergence" in drift


@pytest.mark.thorough
def test_another_scheduler_is_announced_at_the_start_and_when_it_fits(bench, checkpoint):
    with bench[0].policy("other", checkpoint, denoising="DDPM:4") as policy:
        policy.wait_for_chunks(2)
        said = policy.said()
        assert "denoising is DDPM:4 by parameter, not as the checkpoint states" in said
        assert "4 DDPM steps, as asked, where config.json states 2 DDIM steps" in said


@pytest.mark.thorough
def test_windows_are_consecutive_frames_and_a_gap_begins_them_again(bench, tmp_path):
    graph, spec = bench[0].graph, bench[1]
    graph.director.set("servo_bus/set_torque", True)
    orders = tmp_path / "orders"
    orders.write_text("")
    log = tmp_path / "said.log"
    with log.open("w") as output, stand_in(spec, tmp_path, orders, output, LOSING) as process:
        policy = Started(graph, process, "policy", log)
        graph.wait_until_active("policy", process, policy.said)
        policy.wait("windows", lambda: len(read(tmp_path)) >= 5)
        windows = read(tmp_path)
        assert set(periods(windows[1:]).flat) == {1.0}
        # The policy was not asked at the frames in between: they are there all the same.
        asked = np.diff(windows[:, -1]) / PERIOD_NS
        assert np.all(asked > 2.5)
        assert restarts(policy, tmp_path) == 0

        orders.write_text("lose")
        count = len(windows)
        policy.wait("windows", lambda: len(read(tmp_path)) >= count + 8)
        spacings = periods(read(tmp_path)[count:])
        # Never two periods: a repeated first frame, then frames one period apart.
        assert set(spacings.flat) == {0.0, 1.0}
        for row in spacings:
            assert list(row) == sorted(row), "what is repeated is the first"
        assert restarts(policy, tmp_path) > 5
        policy.wait_for_words("frames are missing: the policy reads 3 observations")

        orders.write_text("")
        count = len(read(tmp_path))
        policy.wait("windows", lambda: len(read(tmp_path)) >= count + 5)
        # One may have been under way while they were counted, and the next begins behind the gap.
        assert set(periods(read(tmp_path)[count + 2 :]).flat) == {1.0}

        since = restarts(policy, tmp_path)
        policy.reset()
        count = len(read(tmp_path))
        policy.wait("windows", lambda: len(read(tmp_path)) >= count + 3)
        assert set(periods(read(tmp_path)[count:]).flat) <= {0.0, 1.0}
        assert restarts(policy, tmp_path) == since, "a new episode is no gap"
