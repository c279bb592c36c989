"""ResNet feature extractor (He et al. 2015, arXiv:1512.03385), batch normalization frozen.

Tensor names follow torchvision, because LeRobot checkpoints carry them: `conv1`, `bn1`,
`layer1.0.conv1`, `layer2.0.downsample.0`. The stride of a bottleneck is in its 3x3 convolution
("ResNet v1.5"), as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .meta import without_values

EPSILON = 1e-5

# Blocks per stage, and whether they are bottlenecks (1x1, 3x3, 1x1 with fourfold output).
_DEPTHS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class FrozenBatchNorm(nn.Module):
    """Batch normalization whose statistics and affine are constants: no gradient, no update."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        # In this order the result is LeRobot's to the bit, which F.batch_norm's is not.
        scale = self.weight * (self.running_var + EPSILON).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class BatchNorm(FrozenBatchNorm):
    """torch.nn.BatchNorm2d without its count of batches, to the bit; frozen in eval mode only.

    In training pictures are normalized by their batch, the running statistics follow, and weight
    and bias learn.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for name in ("weight", "bias"):
            value = getattr(self, name)
            delattr(self, name)
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        moments = (self.running_mean, self.running_var)
        affine = (self.weight, self.bias)
        return F.batch_norm(x, *moments, *affine, training=self.training, eps=EPSILON)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalization (Wu and He 2018, arXiv:1803.08494) in groups of 16 channels."""
    return nn.GroupNorm(channels // 16, channels)


Norm = Callable[[int], nn.Module]


class Block(nn.Module):
    """One residual block. `downsample` is there where the shape changes, as in torchvision."""

    def __init__(
        self, inside: int, width: int, stride: int, dilation: int, norm: Norm = FrozenBatchNorm
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inside, width, 3, stride, dilation)
        self.bn1: nn.Module = norm(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2: nn.Module = norm(width)
        self.downsample = _downsample(inside, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """One residual block with a narrow 3x3 convolution between two 1x1 convolutions."""

    def __init__(
        self, inside: int, width: int, stride: int, dilation: int, norm: Norm = FrozenBatchNorm
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inside, width, 1)
        self.bn1: nn.Module = norm(width)
        self.conv2 = _conv(width, width, 3, stride, dilation)
        self.bn2: nn.Module = norm(width)
        self.conv3 = _conv(width, 4 * width, 1)
        self.bn3: nn.Module = norm(4 * width)
        self.downsample = _downsample(inside, 4 * width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """Pictures float32 (B, 3, H, W) to the last feature map (B, channels, ceil(H/32), ceil(W/32)).

    With `dilate_last` the last stage keeps its input's resolution (stride 16 in all); only the
    bottleneck networks, resnet50 and deeper, have that variant. `norm` makes a normalization of so
    many channels.
    """

    def __init__(self, name: str, dilate_last: bool = False, norm: Norm = FrozenBatchNorm) -> None:
        super().__init__()
        depths, bottleneck = _DEPTHS[name]
        if dilate_last and not bottleneck:
            raise ValueError(
                f"dilation needs a bottleneck network (resnet50 or deeper), not {name}"
            )
        self.channels = 2048 if bottleneck else 512
        self.conv1 = _conv(3, 64, 7, 2)
        self.bn1: nn.Module = norm(64)
        kind = Bottleneck if bottleneck else Block
        self.layer1 = _stage(kind, 64, 64, depths[0], norm, stride=1)
        out = self.channels // 8
        self.layer2 = _stage(kind, out, 128, depths[1], norm, stride=2)
        self.layer3 = _stage(kind, 2 * out, 256, depths[2], norm, stride=2)
        last = {"stride": 1, "dilation": 2} if dilate_last else {"stride": 2}
        self.layer4 = _stage(kind, 4 * out, 512, depths[3], norm, **last)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features


def calibrate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    """Set the running statistics of every FrozenBatchNorm in `model` from data.

    A backbone that does not start from pretrained weights has no meaningful statistics, and frozen
    layers never learn any: without this the activations of a random ResNet-18 grow layer by layer.
    `model(batch)` is called once for each batch, without gradient: give images (B, 3, H, W) to a
    ResNet, or `Preprocessor.batch` results to an Act. Each pass normalizes with its own batch's
    moments; the moments pooled over all batches stay (Wu and Johnson 2021, arXiv:2105.07576, §3).

    Raises ValueError if a layer saw no data.
    """
    moments: dict[nn.Module, list[tuple[int, Tensor, Tensor]]] = {}
    layers = [module for module in model.modules() if isinstance(module, FrozenBatchNorm)]

    def measure(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        (x,) = inputs
        variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
        moments.setdefault(layer, []).append((x.numel() // x.shape[1], mean, variance))
        _set_moments(layer, mean, variance)

    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if len(moments) < len(layers):
        raise ValueError("no batches: batch normalization cannot be calibrated without data")
    for layer, seen in moments.items():
        total = sum(count for count, _, _ in seen)
        mean = sum((n / total * m for n, m, _ in seen), start=torch.zeros_like(seen[0][1]))
        square = sum((n / total * (v + m * m) for n, m, v in seen), start=torch.zeros_like(mean))
        _set_moments(layer, mean, (square - mean * mean).clamp_min(0))


def fold_batch_norm(model: nn.Module) -> None:
    """Fold every frozen batch-norm of `model` into the convolution before it, in place.

    The result computes the same function with half the memory traffic; its state dict is no longer
    LeRobot's.
    """
    for module in model.modules():
        for convolution, norm in _pairs(module):
            layer, frozen = getattr(module, convolution), getattr(module, norm)
            if isinstance(frozen, FrozenBatchNorm):
                setattr(module, convolution, _folded(layer, frozen))
                setattr(module, norm, nn.Identity())


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    if isinstance(module, nn.Sequential):
        return [("0", "1")] if len(module) == 2 and isinstance(module[0], nn.Conv2d) else []
    return [
        (f"conv{i}", f"bn{i}")
        for i in (1, 2, 3)
        if hasattr(module, f"conv{i}") and hasattr(module, f"bn{i}")
    ]


def _folded(convolution: nn.Conv2d, norm: FrozenBatchNorm) -> nn.Conv2d:
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + EPSILON)
    with without_values():
        folded = nn.Conv2d(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            convolution.dilation,  # type: ignore[arg-type]
        )
    weight = convolution.weight.detach().double() * scale[:, None, None, None]
    bias = norm.bias.detach().double() - norm.running_mean.double() * scale
    folded.weight = nn.Parameter(weight.to(convolution.weight.dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(convolution.weight.dtype), requires_grad=False)
    return folded


def _set_moments(layer: nn.Module, mean: Tensor, variance: Tensor) -> None:
    assert isinstance(layer, FrozenBatchNorm)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)


def _stage(
    kind: type[Block] | type[Bottleneck],
    inside: int,
    width: int,
    count: int,
    norm: Norm,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    # A dilated stage starts undilated: its first block still sees the previous stage's grid.
    outside = width * (4 if kind is Bottleneck else 1)
    first = kind(inside, width, stride, 1, norm)
    rest = (kind(outside, width, 1, dilation, norm) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def _downsample(inside: int, outside: int, stride: int, norm: Norm) -> nn.Sequential | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(_conv(inside, outside, 1, stride), norm(outside))


def _conv(inside: int, outside: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
