"""Networks made without values, for the shapes of their tensors or to be given stored ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# The rest of torch.nn.init is made of these. Its own are here because while one of them runs that
# was asked about, nothing within it is asked about.
_RANDOM = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
}


class _NothingDrawn(TorchFunctionMode):
    """Random numbers that nobody will see are not drawn.

    torch draws those of a normal distribution for the meta device with its compiler, whose import
    takes as long as that of torch itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """Layers made here have shapes and take no memory; their values are to be assigned."""
    with torch.device("meta"), _NothingDrawn():
        yield
