"""Which short floating-point types a processor or card computes in: others it emulates, slowly."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

FLOAT32 = "float32"
BFLOAT16 = "bfloat16"
FLOAT16 = "float16"

# As the kernel names what a processor has, one of each suffices.
_FLAGS = {
    BFLOAT16: {"avx512_bf16", "amx_bf16", "bf16"},
    FLOAT16: {"avx512_fp16", "amx_fp16", "asimdhp"},
}
_NAMES = {
    BFLOAT16: "AVX512_BF16, AMX or Arm's BF16",
    FLOAT16: "AVX512_FP16, AMX or Arm's FP16",
}
_CAPABILITIES = {BFLOAT16: (8, 0), FLOAT16: (7, 0)}


def has_unit(precision: str, device: str = "cpu") -> bool:
    """Whether a device computes in a precision itself; of devices but cpu and cuda, taken so."""
    kind = torch.device(device).type
    if precision == FLOAT32 or kind not in ("cpu", "cuda"):
        return True
    if kind == "cuda":
        return torch.cuda.get_device_capability(device) >= _CAPABILITIES[precision]
    return bool(_FLAGS[precision] & processor_flags())


def unit_of(precision: str, device: str = "cpu") -> str:
    """For people, what computes in a precision: `a processor with bfloat16 arithmetic (...)`."""
    what = "a card" if torch.device(device).type == "cuda" else "a processor"
    capability = ".".join(map(str, _CAPABILITIES[precision]))
    names = f"capability {capability}" if what == "a card" else _NAMES[precision]
    return f"{what} with {precision} arithmetic ({names})"


def require_unit(precision: str, device: str) -> None:
    """Raise ValueError where it would be emulated, which takes many times as long as float32."""
    if not has_unit(precision, device):
        raise ValueError(
            f"precision: expected {unit_of(precision, device)}, found one without; use float32"
        )


@functools.cache
def processor_flags() -> frozenset[str]:
    """What the kernel says that the first processor has, by its names; empty where it says none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    of_processor = (line for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(of_processor, "").partition(":")[2].split())
