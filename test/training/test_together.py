"""Two processes that train one network: as one would, and what is left when one is killed."""

import csv
import dataclasses
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")
if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

from safetensors.torch import load_file  # noqa: E402
from test_training import CONTRACT, LENGTHS, TINY, command, prepared, record  # noqa: E402
from test_training_diffusion import TINY as DIFFUSION  # noqa: E402

from armlet.contract import Camera  # noqa: E402
from armlet.datasets import Dataset  # noqa: E402
from armlet.policies import load_policy  # noqa: E402
from armlet.training import Source, train  # noqa: E402
from armlet.training.learners import learner_of  # noqa: E402
from armlet.training.samples import make_batch  # noqa: E402
from armlet.training.state import folder_of, place_of, read_state  # noqa: E402
from armlet.training.together import ALONE, Part, Together  # noqa: E402

FORK = multiprocessing.get_context("fork")
# Padding is part of every batch, and a batch has an odd row.
SETTINGS = dataclasses.replace(
    TINY, steps=6, batch_size=3, warmup_steps=2, loss_rule="0.6.1", gradient_accumulation=2
)
# Weights are near 1: sums in another order.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return record(tmp_path_factory.mktemp("together") / "set")


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("together") / "whole"
    train(Dataset(root), output, SETTINGS, lambda _: None)
    return output


def variables(rank, port):
    """What torchrun gives a process."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def one_of_two(rank, port, root, output, settings, resume, killed, errors):
    """A process, which kills itself after step `killed` where that is given."""
    torch.set_num_threads(1)
    os.environ.update(variables(rank, port))
    with open(errors, "w") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    together = Together.joined()
    wait = together.all_go_on

    def all_go_on(goes_on):
        together.done = getattr(together, "done", -1) + 1  # the first is of what they agree on
        if together.done == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return wait(goes_on)

    together.all_go_on = all_go_on
    sources = [Source(Dataset(root))]
    status = command._train(sources, output, settings, resume, save_every=100, together=together)
    sys.stderr.flush()
    os._exit(status)


def two(root, output, settings=SETTINGS, resume=False, killed=(None, None)):
    """Both processes' exit codes, and what each wrote to stderr."""
    # As torchrun has it: what they meet at outlives each of them.
    store = torch.distributed.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    port = store.port
    places = [output.with_name(f"{output.name}.{rank}.log") for rank in range(2)]
    processes = [
        FORK.Process(
            target=one_of_two,
            args=(rank, port, root, output, settings, resume, killed[rank], places[rank]),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], [place.read_text() for place in places]


def apart(first, second):
    """The largest difference of their weights."""
    one, other = (load_file(path / "model.safetensors") for path in (first, second))
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def assert_alike(output, other):
    """The same steps were reported, with the same errors in training and on held-out episodes."""
    found, expected = (
        list(csv.DictReader((folder_of(each) / "curve.csv").open())) for each in (output, other)
    )
    for name in ("error", "held_out", "learning_rate"):
        assert float(found[-1][name]) == pytest.approx(float(expected[-1][name]), rel=1e-4)
    assert [row["step"] for row in found] == [row["step"] for row in expected]


def test_two_processes_train_what_one_does(root, whole, tmp_path):
    """The same batches, shared, with padding, an odd row and several batches a step."""
    output = tmp_path / "two"
    codes, said = two(root, output)
    assert codes == [0, 0], said
    begun = tmp_path / "begun"
    train(Dataset(root), begun, SETTINGS, lambda _: None, lambda *_: False)
    assert apart(output, whole) < TOLERANCE < apart(begun, whole) / 20
    assert_alike(output, whole)


def test_each_row_is_in_one_part_and_the_shares_are_of_one():
    for size in (2, 3, 7, 32):
        for count in (1, 2, 3):
            rows = np.arange(size)
            parts = [rows[Together(rank, count).places(size)] for rank in range(count)]
            assert np.concatenate(parts).tolist() == rows.tolist()
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert ALONE.claims() and ALONE.claims() and ALONE.all_go_on(True)
    assert not ALONE.all_go_on(False) and ALONE.totals(1.5, 2.0) == [1.5, 2.0]


@pytest.mark.parametrize("rule", ["0.4.4", "0.6.1"])
def test_losses_of_parts_are_together_that_of_the_batch(root, rule):
    """Of ACT with its VAE, whose divergence is averaged over other rows than its errors are."""
    changes = {"use_vae": "true", "latent_dim": "4", "n_vae_encoder_layers": "1"}
    settings = dataclasses.replace(TINY, loss_rule=rule, changes=changes)
    samples, preprocessor, _ = prepared(root)
    learner = learner_of(settings, samples)
    model = learner.network().train()
    rows = np.arange(sum(LENGTHS))
    config = learner.config

    def batch_of(some):
        return make_batch(samples, some, samples.pictures(some), preprocessor, config)

    torch.manual_seed(1)
    loss = learner.loss(model, batch_of(rows))
    whole, error = float(loss.total.detach()), learner.error(loss)
    real = samples.real(rows, 0, config.chunk_size)
    summed, errors = 0.0, 0.0
    for places in (slice(0, 5), slice(5, 12)):
        part = Part(
            0, places, len(rows), len(rows[places]) / len(rows), real[places].sum() / real.sum()
        )
        torch.manual_seed(1)
        loss = learner.loss_of_part(model, batch_of(rows[places]), part)
        summed += float(learner.share(loss, part).detach())
        errors += learner.error(loss) * learner.weight(part)
    assert summed == pytest.approx(whole, rel=1e-5)
    assert errors == pytest.approx(error, rel=1e-5)


@pytest.mark.thorough
def test_noise_and_times_are_those_of_the_whole_batch(tmp_path):
    """Of a Diffusion Policy: two processes draw what one does, each its part of it.

    Weights before a norm are not compared: their gradient is rounding, which Adam makes a step of.
    """
    contract = dataclasses.replace(CONTRACT, cameras=(Camera("front", 64, 64),))
    place = record(tmp_path / "set", contract)
    settings = dataclasses.replace(DIFFUSION, batch_size=3)
    train(Dataset(place), tmp_path / "whole", settings, lambda _: None)
    codes, said = two(place, tmp_path / "two", settings)
    assert codes == [0, 0], said
    assert_alike(tmp_path / "two", tmp_path / "whole")


@pytest.mark.thorough
@pytest.mark.parametrize("killed", [(3, None), (None, 3)], ids=["the first", "the second"])
@pytest.mark.parametrize("then", [1, 2])
def test_when_one_is_killed_the_other_saves_says_so_and_either_number_goes_on(
    root, whole, tmp_path, killed, then
):
    output = tmp_path / "killed"
    codes, said = two(root, output, killed=killed)
    rank = killed.index(3)
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1
    (line,) = said[1 - rank].splitlines()
    assert re.fullmatch(
        rf"armlet train: process {rank} of 2 of this training was killed or has ended; --resume "
        r"goes on, with any number of processes; saved .*, trained for [23] of 6 steps",
        line,
    )
    assert load_policy(output).config.chunk_size == TINY.chunk_size
    assert read_state(place_of(output)).step in (2, 3)
    if then == 2:
        assert two(root, output, resume=True)[0] == [0, 0]
    else:
        train(Dataset(root), output, SETTINGS, lambda _: None, resume=True)
    assert apart(output, whole) < TOLERANCE


class Asked(Together):
    """Ends a training where the processes agree what it is of."""

    def require_alike(self, *facts):
        self.facts = facts
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("other", "differs"),
    [({}, False), ({"weights": (1.0, 3.0)}, True), ({"episodes": (0, 2)}, True)],
    ids=["the same", "weights", "episodes"],
)
def test_processes_agree_on_all_that_decides_what_is_drawn(root, tmp_path, other, differs):
    """Each would draw its part of another batch, and none would say so."""

    roots = (root, shutil.copytree(root, tmp_path / "second"))

    def facts(weights=(1.0, 1.0), episodes=None):
        asked = Asked()
        parts = zip(roots, weights, strict=True)
        sources = [Source(Dataset(place), weight, episodes) for place, weight in parts]
        with pytest.raises(KeyboardInterrupt):
            train(sources, tmp_path / "out", SETTINGS, lambda _: None, together=asked)
        return repr(asked.facts)

    assert (facts() != facts(**other)) == differs


def torchrun(root, output, *more):
    """`armlet train` in two processes by torch's launcher; both streams are its stdout."""
    options = [
        *("--dataset", root, "--output", output, "--batch-size", "2", "--chunk-size", "4"),
        *("--precision", "float32", "--workers", "0", "--threads", "1", *more),
    ]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"),
            *("2", "-m", "armlet.cli.main", "train", *map(str, options)),
        ],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def started_with(launcher, rank):
    """The process of a rank that a launcher started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in map(int, children):
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return child
    raise AssertionError(f"{launcher} started none of rank {rank}")


@pytest.mark.thorough
def test_torchrun_starts_it(root, tmp_path):
    launched = torchrun(root, tmp_path / "out", "--steps", "2")
    said, _ = launched.communicate()
    assert launched.returncode == 0, said
    assert said.count("shared by 2 processes") == 1
    assert said.count("saved ") == 1
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.thorough
@pytest.mark.parametrize("rank", [0, 1])
def test_under_torchrun_one_line_says_that_the_other_was_killed(root, tmp_path, rank):
    output = tmp_path / "out"
    launched = torchrun(root, output, "--steps", "1000000")
    said = []
    for line in launched.stdout:
        said.append(line)
        if line.startswith("step "):
            os.kill(started_with(launched.pid, rank), signal.SIGKILL)
            break
    rest, _ = launched.communicate()
    lines = [line for line in "".join([*said, rest]).splitlines() if "armlet train:" in line]
    assert launched.returncode == 1
    (line,) = lines
    assert f"process {rank} of 2 of this training was killed" in line and "; saved " in line
    assert read_state(place_of(output)).step >= 2
    assert (output / "model.safetensors").is_file()
