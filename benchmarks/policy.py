"""A policy's chunk: what it costs with each of armlet's backends, beside stock LeRobot 0.4.4.

    python benchmarks/policy.py [--rounds 10] [--smolvla] [--graph] [--device cuda]

ACT of LeRobot's default size with two 640x480 cameras, random weights; with --smolvla also a
SmolVLA of the published architecture, 450 million weights. Every side is a process of its own that
has loaded the very same files; they take turns, round by round, with equally many threads, and are
quiet while another's turn lasts. What is reported of each:

preprocess  ms from uint8 pictures and the state in memory to the network's normalized input; for
            LeRobot, prepare_observation_for_inference and the checkpoint's own pipeline; none for
            exported graphs, which have it inside. In the table, over and over; preprocess_live in
            the JSON is once before each chunk, with cold caches
chunk       ms from the same pictures and state to the whole chunk in dataset units, preprocessing
            and postprocessing included on all sides
cpu         ms of CPU time for such a chunk, all threads
ratio       of chunk, or preprocess, to LeRobot's in the same round, median over the rounds; in the
            JSON also chunk_least, of the least times, which other programs disturb least
error       largest and mean difference from LeRobot's actions over four observations, in action
            units (degrees), beside the spread (standard deviation) of LeRobot's own
share       of what the machine could do. CPU: the network's floating-point operations over the time
            of a chunk, as a share of the best matrix product of that precision measured in the same
            turns. GPU of a known name: the time its data sheet allows, for the operations and for
            reading the weights, over the time taken

LeRobot runs eval() in torch.inference_mode, as its record script does. It runs in the interpreter
DIRECTORY/v04/bin/python, where DIRECTORY is ARMLET_ORACLE or .oracle in the repository; without
one, errors are against armlet's torch in float32 and there are no ratios. With --graph the emulated
bench runs, see policy_graph.py. The table goes to stderr, one line of JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from policy_side import spread_of

REPOSITORY = Path(__file__).resolve().parent.parent
ORACLE = Path(os.environ.get("ARMLET_ORACLE", REPOSITORY / ".oracle")) / "v04/bin/python"
SIDE = Path(__file__).with_name("policy_side.py")
# smolvla_driver in it makes the files that LeRobot wants of a SmolVLA's language model.
DRIVER = REPOSITORY / "test/policies"
LEROBOT, REFERENCE = "lerobot", "torch"
DEFAULT = ["torch", "torch:bfloat16", "onnxruntime", "openvino", "openvino:bfloat16"]
CAMERAS = ("front", "wrist")
JOINTS = 6
OBSERVATIONS = {"act": 4, "smolvla": 2}
# Worker threads spin for a moment after their work; the next side's turn begins when they sleep.
PAUSE_S = 0.2
BUSY_LOAD = 0.5
GEMM_SIZE, SMALL_GEMM_SIZE, GEMM_PRODUCTS = 1536, 256, 5

# Dense peaks of data sheets: TFLOP/s of float32 (with TF32 off), of bfloat16, and TB/s of memory.
PEAKS = {
    "H200": (67.0, 989.0, 4.8),
    "H100 PCIe": (51.0, 756.0, 2.0),
    "H100": (67.0, 989.0, 3.35),
    "A100": (19.5, 312.0, 2.0),
    "L40S": (91.6, 362.0, 0.864),
    "L4": (30.3, 121.0, 0.3),
    "RTX 4090": (82.6, 165.0, 1.008),
    "RTX 3090": (35.6, 71.0, 0.936),
}

# The published SmolVLA: SmolVLM2-500M's layers, of which SmolVLA keeps the first sixteen.
TEXT = {
    "hidden_size": 960,
    "intermediate_size": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 15,
    "num_key_value_heads": 5,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "vocab_size": 49280,
}
VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
VISION_SCALE = 4
SMALL_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
SMALL_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
}


@dataclass(frozen=True)
class Scene:
    """What all sides get: a checkpoint, observations for it, and a SmolVLA's language model."""

    name: str
    checkpoint: Path
    input: Path
    vlm: Path | None = None


class Failed(RuntimeError):
    """A side ended, or could not run; the message is what it said."""


class Turns:
    """A side's process, which does nothing but what it is asked."""

    def __init__(self, name: str, python: str, job: dict[str, Any], log: Path) -> None:
        self.name = name
        self._log = log
        threads = str(job["threads"])
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(log.parent / "hf")}
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [python, str(SIDE), json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, **limits, **offline},
            )
        try:
            self.answer = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Its answer, once it is quiet again. Raises Failed if it ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        time.sleep(PAUSE_S)
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            said = self._log.read_text()[-3000:]
            raise Failed(f"{self.name} ended with {code}:\n{said}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def sides(
    scene: Scene, backends: Sequence[str], device: str, threads: int
) -> Iterator[tuple[dict[str, Turns], dict[str, str]]]:
    """The processes that could load the scene, by name, and why the others could not."""
    common = {
        "checkpoint": str(scene.checkpoint),
        "input": str(scene.input),
        "device": device,
        "threads": threads,
        **({} if scene.vlm is None else {"vlm": str(scene.vlm)}),
    }
    running: dict[str, Turns] = {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        if ORACLE.exists():
            jobs = {LEROBOT: {"side": LEROBOT, **common}}
        else:
            jobs = {}
            absent[LEROBOT] = f"no LeRobot at {ORACLE} (set ARMLET_ORACLE)"
        for name in backends:
            backend, _, precision = name.partition(":")
            how = {"backend": backend, "precision": precision or "float32"}
            jobs[name] = {"side": "armlet", **how, **common}
        for name, job in jobs.items():
            print(f"{scene.name}: loading {name}", file=sys.stderr)
            python = str(ORACLE) if name == LEROBOT else sys.executable
            log = scene.input.parent / f"{name.replace(':', '_')}.log"
            turns = Turns(name, python, job, log)
            stack.callback(turns.close)
            if "unavailable" in turns.answer:
                absent[name] = turns.answer["unavailable"]
            else:
                running[name] = turns
        yield running, absent


def play(
    running: dict[str, Turns], rounds: int, chunks: int, size: int
) -> dict[str, list[dict[str, Any]]]:
    """What each side measured in each round; a round begins with another side than the last.

    size: of the matrices whose product says what the processor can do.
    """
    for turns in running.values():
        turns.ask("measure", preprocess=5, chunks=0)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
    names = list(running)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            answer = running[name].ask("measure", preprocess=20, chunks=chunks)
            if name == REFERENCE:
                answer["gemm_gflop_s"] = gemm_rates(running[name], size)
            found[name].append(answer)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def gemm_rates(turns: Turns, size: int) -> dict[str, float]:
    """GFLOP/s of matrix products by precision."""
    return {
        precision: turns.ask("gemm", size=size, products=GEMM_PRODUCTS, precision=precision)[
            "gflop_s"
        ]
        for precision in ("float32", "bfloat16")
    }


def summarize(rounds: list[dict[str, Any]], stock: list[dict[str, Any]] | None) -> dict[str, Any]:
    """One side's times in ms, and its ratios to LeRobot's."""
    result: dict[str, Any] = {}
    for what in ("preprocess_ms", "preprocess_live_ms", "chunk_ms", "cpu_ms"):
        values = [value for answer in rounds for value in answer[what]]
        if not values:
            continue
        result[what] = spread_of(values) if what != "cpu_ms" else round(statistics.mean(values), 1)
        if stock is not None:
            ratios = [
                statistics.median(ours[what]) / statistics.median(theirs[what])
                for ours, theirs in zip(rounds, stock, strict=True)
            ]
            result[what.replace("_ms", "_ratio")] = round(statistics.median(ratios), 3)
    if stock is not None:
        least = min(value for answer in stock for value in answer["chunk_ms"])
        result["chunk_least_ratio"] = round(result["chunk_ms"]["least"] / least, 3)
    result["chunks"] = sum(len(answer["chunk_ms"]) for answer in rounds)
    return result


def predictions(running: dict[str, Turns], folder: Path) -> dict[str, NDArray[np.float32]]:
    """Each side's chunks (K, C, n) for the same observations and noise, which also warms it up."""
    found = {}
    for name, turns in running.items():
        output = folder / "prediction.npy"
        turns.ask("predict", output=str(output))
        found[name] = np.load(output)
    return found


def errors(chunks: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    difference = np.abs(chunks.astype(np.float64) - truth)
    largest, mean = float(difference.max()), float(difference.mean())
    return {"max": float(f"{largest:.3g}"), "mean": float(f"{mean:.3g}")}


def spread(chunks: NDArray[np.float32]) -> float:
    """Standard deviation of an action over observations and time, mean of all joints."""
    return round(float(chunks.std(axis=(0, 1)).mean()), 3)


def card_shares(
    work: dict[str, float], seconds: float, precision: str, card: str
) -> dict[str, float] | str:
    """The times that the card's data sheet allows, as shares of the time taken."""
    peaks = next((peak for name, peak in PEAKS.items() if name in card), None)
    if peaks is None:
        return f"no data sheet figures for {card!r}"
    halved = precision == "bfloat16"
    compute_s = work["gflop"] * 1e9 / (1e12 * peaks[1 if halved else 0])
    memory_s = work["weight_mb"] * 1e6 * (0.5 if halved else 1) / (1e12 * peaks[2])
    return {
        "compute": round(compute_s / seconds, 4),
        "weights": round(memory_s / seconds, 4),
        "roofline": round(max(compute_s, memory_s) / seconds, 4),
    }


def cpu_name() -> str:
    """As the kernel has it, or the architecture."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


def card_name(device: str) -> str:
    """The accelerator's name, nothing for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else ""


def bench(scene: Scene, backends: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """One scene, all sides."""
    with sides(scene, backends, args.device, args.threads) as (running, absent):
        if not running:
            raise Failed(f"nothing can run {scene.name}: {absent}")
        size = SMALL_GEMM_SIZE if args.small else GEMM_SIZE
        truths = predictions(running, scene.input.parent)
        found = play(running, args.rounds, args.chunks, size)
        counter = running.get(REFERENCE)
        counted = None if counter is None else counter.ask("count")
    answer: dict[str, Any] = {}
    truth_name = LEROBOT if LEROBOT in truths else REFERENCE
    truth = truths.get(truth_name)
    if truth is not None:
        answer |= {"error_against": truth_name, "spread": spread(truth)}
    if counted is not None:
        rates = [each["gemm_gflop_s"] for each in found[REFERENCE]]
        answer |= {
            "gflop": round(counted["flops"] * 1e-9, 2),
            "weight_mb": round(counted["weight_bytes"] * 1e-6, 1),
            "gemm_gflop_s": {
                precision: round(max(rate[precision] for rate in rates), 1)
                for precision in rates[0]
            },
        }
    stock = found.get(LEROBOT)
    for name, rounds in found.items():
        result = summarize(rounds, None if name == LEROBOT else stock)
        if truth is not None and name != truth_name:
            result["error"] = errors(truths[name], truth)
        if counted is not None:
            result["share"] = _share(answer, result["chunk_ms"]["p50"] / 1e3, name, args.device)
            result["gflop_s"] = round(answer["gflop"] / result["chunk_ms"]["p50"] * 1e3, 1)
        answer[name] = result
    return answer | {name: f"not measured: {reason}" for name, reason in absent.items()}


def _share(answer: dict[str, Any], seconds: float, name: str, device: str) -> Any:
    if device.startswith("cuda"):
        return card_shares(answer, seconds, name.partition(":")[2], card_name(device))
    peaks = answer["gemm_gflop_s"]
    peak = peaks.get(name.partition(":")[2], peaks["float32"])
    return round(answer["gflop"] / seconds / peak, 3)


def table(title: str, answer: dict[str, Any]) -> str:
    """The answer for people."""
    columns = ("preprocess", "ratio", "chunk p50", "p99", "ratio", "cpu", "error", "share")
    lines = [f"{title}: ms", f"{'':18}" + "".join(f"{column:>12}" for column in columns)]
    for name, result in answer.items():
        if isinstance(result, str) and result.startswith("not measured"):
            lines.append(f"{name:18}  {result}")
        elif isinstance(result, dict) and "chunk_ms" in result:
            before, chunk = result.get("preprocess_ms", {}), result["chunk_ms"]
            share = result.get("share", "")
            cells = (
                before.get("p50", "inside"),
                result.get("preprocess_ratio", ""),
                chunk["p50"],
                chunk["p99"],
                result.get("chunk_ratio", ""),
                result["cpu_ms"],
                result.get("error", {}).get("max", ""),
                share["roofline"] if isinstance(share, dict) else share,
            )
            lines.append(f"{name:18}" + "".join(f"{cell!s:>12}" for cell in cells))
    facts = {
        key: answer[key]
        for key in ("gflop", "weight_mb", "gemm_gflop_s", "spread")
        if key in answer
    }
    return "\n".join([*lines, "  ".join(f"{key} {value}" for key, value in facts.items())])


def act_scene(folder: Path, small: bool, given: Path | None) -> Scene:
    """ACT with random weights, or the given checkpoint, and observations for it."""
    from armlet.policies import read_checkpoint

    checkpoint = given or save_act(folder / "checkpoint", small)
    config = read_checkpoint(checkpoint).config
    shapes = {key.rpartition(".")[2]: f.shape[1:] for key, f in config.image_features.items()}
    save_input(folder / "input.npz", shapes, (OBSERVATIONS["act"], config.state_size or 0))
    return Scene("act", checkpoint, folder / "input.npz")


def save_act(path: Path, small: bool = False) -> Path:
    """A checkpoint with LeRobot's default settings and random weights, always the same."""
    import torch

    from armlet.policies import Act, ActConfig, Feature, save_checkpoint

    height, width = (48, 64) if small else (480, 640)
    sizes: dict[str, Any] = {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32} if small else {}
    picture = Feature("VISUAL", (3, height, width))
    config = ActConfig(
        input_features={
            "observation.state": Feature("STATE", (JOINTS,)),
            **{f"observation.images.{name}": picture for name in CAMERAS},
        },
        output_features={"action": Feature("ACTION", (JOINTS,))},
        **sizes,
    )
    torch.manual_seed(0)
    network = Act(config)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                # Random kernels double the variance at every block; this keeps activations tame.
                value.copy_(torch.rand(value.shape) * 2 + 1)
            elif value.ndim == 1:
                # Biases of zero would give much the same actions whatever is seen.
                value.add_(torch.randn(value.shape) * 0.1)
    pictures = {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
    stored: dict[str, Any] = dict.fromkeys(config.image_features, pictures)
    save_checkpoint(path, network, config, stored | joint_statistics())
    return path


def joint_statistics() -> dict[str, dict[str, NDArray[np.float64]]]:
    """Of an arm in degrees, and a gripper in 0..100."""
    vector = {"mean": np.array([0, 0, 0, 0, 0, 50.0]), "std": np.array([30, 30, 30, 30, 30, 20.0])}
    return {"observation.state": vector, "action": vector}


def save_input(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    states: tuple[int, int],
    noise: tuple[int, int] | None = None,
) -> None:
    """Observations: coarse scenes under sensor noise, the last one noise only.

    states: their number and that of the joints. noise: the shape of a flow policy's.
    """
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {"task": np.array("put the cube into the box")}
    for name, (height, width) in shapes.items():
        pictures = random.normal(0, 4, (states[0], height, width, 3))
        for picture in pictures[:-1]:
            coarse = random.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
            picture += np.kron(coarse, np.ones((16, 16, 1)))[:height, :width]
        pictures[-1] = random.integers(0, 256, (height, width, 3))
        arrays[f"image_{name}"] = np.clip(pictures, 0, 255).astype(np.uint8)
    arrays["state"] = random.normal(0, 20, states).astype(np.float32)
    if noise is not None:
        arrays["noise"] = random.normal(size=noise).astype(np.float32)
    np.savez(path, allow_pickle=False, **arrays)


def smolvla_scene(folder: Path, small: bool) -> Scene:
    """SmolVLA with random weights, and a language model's files that LeRobot can read too."""
    from armlet.policies import Feature, SmolVlaConfig, save_checkpoint

    text, vision, settings = dict(TEXT), dict(VISION), dict[str, Any]()
    height, width = 480, 640
    if small:
        text |= SMALL_TEXT
        vision |= SMALL_VISION
        settings = {"num_vlm_layers": 4, "resize_imgs_with_padding": (64, 64)}
        height, width = 48, 64
    vlm = folder / "vlm"
    save_language_model(vlm, text, vision)
    picture = Feature("VISUAL", (3, height, width))
    config = SmolVlaConfig(
        input_features={
            "observation.state": Feature("STATE", (JOINTS,)),
            **{f"observation.images.{name}": picture for name in CAMERAS},
        },
        output_features={"action": Feature("ACTION", (JOINTS,))},
        vlm_model_name=str(vlm),
        load_vlm_weights=False,
        **settings,
    )
    statistics: dict[str, Any] = joint_statistics()
    save_checkpoint(folder / "checkpoint", random_smolvla(config, vlm), config, statistics, vlm=vlm)
    noise = (config.chunk_size, config.max_action_dim)
    shapes = dict.fromkeys(CAMERAS, (height, width))
    save_input(folder / "input.npz", shapes, (OBSERVATIONS["smolvla"], JOINTS), noise)
    return Scene("smolvla", folder / "checkpoint", folder / "input.npz", vlm)


def random_smolvla(config: Any, vlm: Path) -> Any:
    """A network whose every layer keeps the spread of what it is given."""
    import torch

    from armlet.policies import SmolVla
    from armlet.policies.config.smolvla import parse_vlm
    from armlet.policies.networks.tokens import Words

    sizes = parse_vlm(json.loads((vlm / "config.json").read_text()), vlm)
    words = Words.read(vlm / "tokenizer.json", None, sizes.text.vocab_size)
    network = SmolVla(config, sizes, words.marks())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            random = torch.randn(value.shape, generator=generator)
            if "words" in name or "position" in name:
                random *= 0.2
            elif value.ndim >= 2:
                random *= 1.2 / value[0].numel() ** 0.5
            else:
                random = 0.05 * random + (1 if "norm" in name and "weight" in name else 0)
            value.copy_(random)
    return network


def save_language_model(folder: Path, text: dict[str, Any], vision: dict[str, Any]) -> None:
    """Its config.json and tokenizer.json, and with LeRobot there what it wants besides."""
    if ORACLE.exists():
        code = "import sys, json; from smolvla_driver import language_model as make; from pathlib "
        code += "import Path; make(Path(sys.argv[1]), **json.loads(sys.argv[2]), weights=False)"
        sizes = json.dumps({"text": text, "vision": vision, "scale": VISION_SCALE})
        subprocess.run(
            [str(ORACLE), "-c", code, str(folder), sizes],
            check=True,
            stdout=sys.stderr,
            env={**os.environ, "PYTHONPATH": str(DRIVER), "HF_HUB_OFFLINE": "1"},
        )
        return
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<fake_token_around_image>", "<global-img>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    model = {"model_type": "smolvlm", "scale_factor": VISION_SCALE}
    config = {**model, "text_config": text, "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(config))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--chunks", type=int, default=3, help="of each side in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", help="torch device; by default cuda where there is one")
    parser.add_argument(
        "--backends", help=f"comma separated, BACKEND or BACKEND:PRECISION; {','.join(DEFAULT)}"
    )
    parser.add_argument("--checkpoint", type=Path, help="ACT to measure instead of random weights")
    parser.add_argument(
        "--smolvla", action="store_true", help="also SmolVLA; 5 s a chunk on 2 cores"
    )
    parser.add_argument("--smolvla-rounds", type=int, default=2, help="of one chunk each")
    parser.add_argument("--no-act", action="store_true", help="without ACT")
    parser.add_argument("--graph", action="store_true", help="also observation to applied command")
    parser.add_argument("--trials", type=int, default=20, help="of --graph")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try this program")
    args = parser.parse_args()
    if args.device is None:
        import torch

        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def main() -> None:
    args = parse()
    gpu = args.device.startswith("cuda")
    default = DEFAULT[:2] if gpu else DEFAULT
    backends = args.backends.split(",") if args.backends else default
    answer: dict[str, Any] = {
        "benchmark": "policy",
        "device": card_name(args.device) or args.device,
        "threads": args.threads,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory(prefix="armlet-policy-") as name:
        folder = Path(name)
        if not args.no_act:
            (folder / "act").mkdir()
            scene = act_scene(folder / "act", args.small, args.checkpoint)
            answer["act"] = bench(scene, backends, args)
            print(table("ACT", answer["act"]), file=sys.stderr)
        if args.smolvla:
            answer["smolvla"] = measure_smolvla(folder / "smolvla", backends, args)
        if args.graph:
            answer["graph"] = measure_graph(folder / "graph", backends, args)
    if answer["load"] > BUSY_LOAD:
        print(f"load {answer['load']} before it began: trust the least times", file=sys.stderr)
    answer["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(answer))


def measure_smolvla(
    folder: Path, backends: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    folder.mkdir()
    scene = smolvla_scene(folder, args.small)
    rounds = argparse.Namespace(**{**vars(args), "rounds": args.smolvla_rounds, "chunks": 1})
    found = bench(scene, backends, rounds)
    print(table("SmolVLA", found), file=sys.stderr)
    return found


def measure_graph(
    folder: Path, backends: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    """Observation to applied command by backend, and the least that LeRobot's loop takes."""
    import policy_graph

    folder.mkdir()
    scene = act_scene(folder, args.small, args.checkpoint)
    with sides(scene, backends, args.device, args.threads) as (running, absent):
        available = [name for name in backends if name in running]
        stock: Any = f"not measured: {absent.get(LEROBOT)}"
        if LEROBOT in running:
            running[LEROBOT].ask("act", calls=2)
            stock = spread_of(running[LEROBOT].ask("act", calls=args.trials)["act_ms"])
    print(f"observation to first applied command, ms; lerobot at least {stock}", file=sys.stderr)
    found = policy_graph.measure(scene.checkpoint, available, args)
    for name, result in found.items():
        print(f"{name:18} {result}", file=sys.stderr)
    return {"lerobot_at_least_ms": stock, **found}


if __name__ == "__main__":
    main()
