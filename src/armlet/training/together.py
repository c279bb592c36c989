"""Several processes that train one network: each learns from its part of every batch.

They are started by torch's own launcher (torchrun), or any that sets its variables, and speak by
torch's gloo: gradients of the parts are summed, so each process makes the step that one process
would make of the whole batch. How many there are is no setting of the training: it goes on with
any number.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TrainingError

_STATED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_STORE_OF_LAUNCHER = "TORCHELASTIC_USE_AGENT_STORE"
_BUCKET = 1 << 23
"""Numbers that are summed at a time: 32 MB beside the gradients."""


class PeerLostError(TrainingError):
    """Another process of this training has ended."""


class AnotherSavesError(TrainingError):
    """This process ends without a word: another saves what is trained, and says why it ended."""


@dataclass(frozen=True)
class Part:
    """A process's part of a batch: which places, and its share of rows and of rows that are real.

    number: of the batch, from 0. of: rows of the whole batch.
    """

    number: int
    places: slice
    of: int
    rows: float = 1.0
    real: float = 1.0

    @property
    def is_whole(self) -> bool:
        return self.places == slice(0, self.of)


class Together:
    """The processes of one training. Alone, nothing is waited for."""

    def __init__(self, rank: int = 0, count: int = 1, store: Any = None, ours: bool = True) -> None:
        """store: torch's, of this group; ours: it outlives every process but the launcher."""
        self.rank, self.count = rank, count
        self._store, self._store_is_launchers = store, ours
        self._claimed: bool | None = None

    @classmethod
    def joined(cls, environment: Mapping[str, str] = os.environ) -> Together:
        """The processes that a launcher started, once all of them are there; alone without one.

        Raises TrainingError where they do not meet.
        """
        if any(name not in environment for name in _STATED) or environment["WORLD_SIZE"] == "1":
            return cls()
        distributed: Any = importlib.import_module("torch.distributed")
        try:
            store, rank, count = next(distributed.rendezvous("env://"))
            distributed.init_process_group(
                "gloo", store=distributed.PrefixStore("group", store), rank=rank, world_size=count
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"the processes of this training do not meet ({error}); start them with torchrun"
            ) from error
        launchers = environment.get(_STORE_OF_LAUNCHER) == "True"
        return cls(rank, count, distributed.PrefixStore("armlet", store), launchers)

    @property
    def leads(self) -> bool:
        """Whether this process looks at held-out episodes, writes files and says how it goes."""
        return self.rank == 0

    def places(self, size: int) -> slice:
        """Which of `size` rows are this process's: one after the other, as even as can be."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up over all processes, in place. Raises PeerLostError."""
        if self.count == 1:
            return
        bucket: list[Tensor] = []
        for tensor in tensors:
            bucket.append(tensor)
            if sum(map(Tensor.numel, bucket)) >= _BUCKET:
                self._sum(bucket)
                bucket = []
        if bucket:
            self._sum(bucket)

    def _sum(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        self._do("all_reduce", flat)
        for tensor, part in zip(
            tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True
        ):
            tensor.detach().copy_(part.view(tensor.shape))

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each parameter's gradient becomes the sum of all parts'. Raises PeerLostError."""
        self.sum([value.grad for value in parameters if value.grad is not None])

    def totals(self, *numbers: float) -> list[float]:
        """The sum of each over all processes. Raises PeerLostError."""
        found = torch.tensor(numbers, dtype=torch.float64)
        self.sum([found])
        return [float(number) for number in found]

    def all_go_on(self, goes_on: bool) -> bool:
        """Whether none of them is asked to end. Raises PeerLostError."""
        return self.totals(float(not goes_on)) == [0.0]

    def from_leader(self, tensors: Sequence[Tensor]) -> None:
        """Make these, in place, what they are in the process that leads. Raises PeerLostError."""
        for tensor in tensors if self.count > 1 else ():
            value = tensor.detach().contiguous()
            self._do("broadcast", value, 0)
            tensor.detach().copy_(value)

    def require_alike(self, *facts: object) -> None:
        """Raise TrainingError unless all processes have the same facts; PeerLostError."""
        digest = hashlib.sha256(repr(facts).encode()).digest()
        own = torch.frombuffer(bytearray(digest), dtype=torch.uint8)
        leaders = own.clone()
        self.from_leader([leaders])
        if not self.all_go_on(torch.equal(own, leaders)):
            raise TrainingError(
                "the processes of this training differ: expected the same datasets, settings, "
                "state and arithmetic of the processor in each; give each the same"
            )

    def wait(self) -> None:
        """Until all are here. Raises PeerLostError."""
        self.totals(0.0)

    def claims(self) -> bool:
        """Whether this process is the one that saves and says why: the first that asks."""
        if self._claimed is None:
            self._claimed = self._is_first()
        return self._claimed

    def _is_first(self) -> bool:
        if self._store is None:
            return True
        try:
            return int(self._store.add("ended", 1)) == 1
        except RuntimeError:
            # It was in the process that leads, or in a launcher that has ended too.
            return self.rank == (0 if self._store_is_launchers else 1)

    def _do(self, what: str, *given: Any) -> None:
        distributed = importlib.import_module("torch.distributed")
        try:
            getattr(distributed, what)(*given)
        except RuntimeError as error:
            which = f"process {1 - self.rank} of 2" if self.count == 2 else "one of the processes"
            raise PeerLostError(f"{which} of this training was killed or has ended") from error


ALONE = Together()
