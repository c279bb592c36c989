"""Makes and runs SmolVLA with stock LeRobot 0.4.4, inside its environment: driver.py JOBS.json

Like lerobot_driver.py for ACT, the other file of the project that imports lerobot. Each job builds
a language model of the given sizes (its config, tokenizer and processor files), a policy on it with
random weights, saves both, loads the policy again and writes what it gives: `chunk` for the given
noise, `normalized`, `actions` step by step, and with a "leftover" also `guided`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from lerobot.policies.utils import prepare_observation_for_inference
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2TokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

WORDS = ["Pick up the red cube and place it in the box", "Fold the towel twice", "push button 12"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"]
SPECIAL += ["<global-img>", "<end_of_utterance>"]


def language_model(folder, text, vision, scale, weights):
    bytes_ = pre_tokenizers.ByteLevel
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = bytes_(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = bytes_.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(WORDS * 9, trainer)
    marks = {
        "fake_image_token": "<fake_token_around_image>",
        "image_token": "<image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    fast = GPT2TokenizerFast(
        tokenizer_object=words,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=marks,
    )
    config = SmolVLMConfig(
        text_config={"model_type": "llama", "vocab_size": len(fast), "pad_token_id": 2, **text},
        vision_config=vision,
        scale_factor=scale,
        image_token_id=4,
        pad_token_id=2,
    )
    config.save_pretrained(folder)
    size = vision["image_size"]
    sizes = {"size": {"longest_edge": 4 * size}, "max_image_size": {"longest_edge": size}}
    images, videos = SmolVLMImageProcessor(**sizes), SmolVLMVideoProcessor(**sizes)
    SmolVLMProcessor(images, fast, videos, image_seq_len=64).save_pretrained(folder)
    if weights:
        model = SmolVLMForConditionalGeneration(config).to(torch.bfloat16)
        model.save_pretrained(folder)


def randomize(policy, seed):
    """Weights of trained size: every layer keeps the spread of what it is given."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in policy.named_parameters():
            random = torch.randn(value.shape, generator=generator)
            if "embed" in name and "patch" not in name:
                random *= 0.2
            elif value.ndim >= 2:
                random *= 1.2 / value[0].numel() ** 0.5
            else:
                random = 0.05 * random + (1 if "norm" in name and "weight" in name else 0)
            value.copy_(random)


def build(job):
    language_model(Path(job["vlm"]), job["text"], job["vision"], job["scale"], job["vlm_weights"])
    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (job["states"],))}
    for name, (height, width) in job["cameras"].items():
        shape = (3, height, width)
        inputs[f"observation.images.{name}"] = PolicyFeature(FeatureType.VISUAL, shape)
    settings = dict(job["settings"])
    modes = settings.pop("normalization_mapping", None)
    if modes:
        settings["normalization_mapping"] = {k: NormalizationMode(v) for k, v in modes.items()}
    config = SmolVLAConfig(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (job["actions"],))},
        device="cpu",
        push_to_hub=False,
        vlm_model_name=job["vlm"],
        load_vlm_weights=job["vlm_weights"],
        **settings,
    )
    config.validate_features()
    policy = SmolVLAPolicy(config)
    randomize(policy, job["seed"])
    stats = {
        feature: {name: torch.tensor(value) for name, value in values.items()}
        for feature, values in job["stats"].items()
    }
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(job["checkpoint"])
    if job["halved"]:
        path = Path(job["checkpoint"]) / "model.safetensors"
        halves = {k: v.to(torch.bfloat16) for k, v in load_file(path).items()}
        save_file(halves, path)
    return config


def run(job, config):
    arrays = np.load(job["input"])
    # With the configuration given, LeRobot does not parse it again, which takes most of a second.
    policy = SmolVLAPolicy.from_pretrained(job["checkpoint"], config=config)
    before, after = make_pre_post_processors(policy.config, pretrained_path=job["checkpoint"])
    noise = torch.from_numpy(arrays["noise"])[None]

    def prepared(t):
        observation = {"observation.state": arrays["state"][t]}
        for name in arrays:
            if name.startswith("image_"):
                key = "observation.images." + name.removeprefix("image_")
                observation[key] = arrays[name][t]
        task, device = str(arrays["task"]), torch.device("cpu")
        return before(prepare_observation_for_inference(observation, device, task, "so101"))

    out = {}
    with torch.inference_mode():
        out["normalized"] = policy.predict_action_chunk(prepared(0), noise=noise.clone())[0]
        out["chunk"] = after(out["normalized"])
        policy.reset()
        steps = range(len(arrays["state"]))
        chosen = [after(policy.select_action(prepared(t), noise=noise.clone())) for t in steps]
        out["actions"] = torch.cat(chosen)
    if job["guidance"]:
        policy.config.rtc_config = RTCConfig(enabled=True, **job["guidance"])
        policy.init_rtc_processor()
        leftover = torch.from_numpy(arrays["leftover"])[None]
        with torch.no_grad():
            guided = policy.predict_action_chunk(
                prepared(0),
                noise=noise.clone(),
                inference_delay=job["delay"],
                prev_chunk_left_over=leftover,
            )
        out["guided"] = after(guided)[0]
    np.savez(job["output"], **{name: value.float().numpy() for name, value in out.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(job, build(job))
