"""SmolVLA with stock LeRobot (0.3.3, 0.4.4, 0.6.1) for lerobot_driver.py, in its environment."""

from pathlib import Path

import torch
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2TokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
)

try:
    from transformers import SmolVLMVideoProcessor
except ImportError:  # before transformers 4.52
    SmolVLMVideoProcessor = None

WORDS = ["Pick up the red cube and place it in the box", "Fold the towel twice", "push button 12"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"]
SPECIAL += ["<global-img>", "<end_of_utterance>"]


def prepare(job, settings):
    """Make the job's language model; classes of configuration and policy, and random weights.

    Its key vlm: folder, text, vision, scale and weights (whether the model has any of its own).
    settings are completed for it, and with the job's guidance.
    """
    model = dict(job["vlm"])
    language_model(**{**model, "folder": Path(model["folder"])})
    settings.update(vlm_model_name=model["folder"], load_vlm_weights=model["weights"])
    if job.get("guidance"):
        from lerobot.policies.rtc.configuration_rtc import RTCConfig

        settings["rtc_config"] = RTCConfig(enabled=True, **job["guidance"])
    return SmolVLAConfig, SmolVLAPolicy, by_name if job.get("by_name") else randomize


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
    if SmolVLMVideoProcessor is None:
        sampling = {"fps": 1, "max_frames": 2, "video_size": {"longest_edge": size}}
        parts = [SmolVLMImageProcessor(**sizes, video_sampling=sampling), fast]
    else:
        parts = [SmolVLMImageProcessor(**sizes), fast, SmolVLMVideoProcessor(**sizes)]
    SmolVLMProcessor(*parts, image_seq_len=64).save_pretrained(folder)
    if weights:
        model = SmolVLMForConditionalGeneration(config).to(torch.bfloat16)
        model.save_pretrained(folder)


def by_name(policy, seed):
    """Weights that golden_smolvla makes again without LeRobot."""
    from golden_smolvla import golden_weight

    with torch.no_grad():
        for name, value in policy.model.named_parameters():
            value.copy_(golden_weight(f"model.{name}", value.shape, seed))


def randomize(policy, seed):
    """Weights of trained size: every layer keeps the spread of what it is given."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in policy.model.named_parameters():
            random = torch.randn(value.shape, generator=generator)
            if "embed" in name and "patch" not in name:
                random *= 0.2
            elif value.ndim >= 2:
                random *= 1.2 / value[0].numel() ** 0.5
            else:
                random = 0.05 * random + (1 if "norm" in name and "weight" in name else 0)
            value.copy_(random)
