"""Registers of a control table as both families here describe them; how they sign is each one's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from armlet.motors.protocol import Access


@dataclass(frozen=True, slots=True)
class TableRegister(ABC):
    """One entry of a control table, little endian.

    Attributes: see `motors.protocol.Register`.
    """

    name: str
    address: int
    width: int
    unit: str
    access: Access
    area: str
    default: int

    @property
    @abstractmethod
    def minimum(self) -> int:
        """Smallest value the register can hold."""

    @property
    @abstractmethod
    def maximum(self) -> int:
        """Largest value the register can hold."""

    @abstractmethod
    def encode_raw(self, value: int) -> int:
        """The stored bytes of a value that fits, as one unsigned number."""

    @abstractmethod
    def decode_raw(self, raw: int) -> int:
        """The value of the stored bytes read as one unsigned number."""

    @property
    def end(self) -> int:
        """Address of the first byte behind the register."""
        return self.address + self.width

    def encode(self, value: int) -> bytes:
        """The value as the servo stores it, `width` bytes. Raises ValueError if it does not fit."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(
                f"{self.name} takes {self.minimum}..{self.maximum} {self.unit}, found {value}"
            )
        return self.encode_raw(value).to_bytes(self.width, "little")

    def decode(self, data: bytes) -> int:
        """The value of `width` stored bytes. Raises ValueError for another number of bytes."""
        if len(data) != self.width:
            raise ValueError(f"{self.name} is {self.width} bytes wide, found {len(data)}")
        return self.decode_raw(int.from_bytes(data, "little"))


R = TypeVar("R", bound=TableRegister)
S = TypeVar("S")


def table(
    make: Callable[[str, int, int, str, Access, str, int, S], R],
    area: str,
    *rows: tuple[str, int, int, S, str, Access, int],
) -> list[R]:
    """The registers of an area: name, address, width, sign, unit, access, default of each.

    make: a family's class, whose last field is the sign.
    """
    return [
        make(name, address, width, unit, access, area, default, sign)
        for name, address, width, sign, unit, access, default in rows
    ]
