"""A moving test picture that carries its own number, to prove which picture arrived."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from .errors import CameraError
from .pace import Pace
from .source import Opened, Picture, require_size

# The upper half of the picture is a board of black and white cells: 24 bits of counter, high bit
# first, then 8 bits of check sum. At 64x64 a cell is still 8x8, one JPEG block.
_COLUMNS = 8
_ROWS = 4
_COUNTER_BITS = 24
_MINIMUM = 64
_BLACK = 16
_WHITE = 240


def paint(width: int, height: int, number: int) -> NDArray[np.uint8]:
    """Test picture `number` (0 .. 2**24 - 1), uint8 (height, width, 3)."""
    if width < _MINIMUM or height < _MINIMUM:
        raise CameraError(
            f"a {width}x{height} test pattern is too small to number: use 64x64 or more"
        )
    if not 0 <= number < 1 << _COUNTER_BITS:
        raise ValueError(f"picture number {number} does not fit {_COUNTER_BITS} bits")
    picture = _bars(width, height, number)
    columns, rows = _edges(width, height)
    bits = _bits(number << 8 | _check(number))
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            value = _WHITE if bits[row * _COLUMNS + column] else _BLACK
            picture[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = value
    return picture


def read_counter(rgb: NDArray[np.uint8]) -> int:
    """The number painted into a test picture, also after lossy coding.

    Raises CameraError when the check sum does not fit: not a test picture, or a damaged one.
    """
    height, width = rgb.shape[:2]
    columns, rows = _edges(width, height)
    word = 0
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            cell = _middle(rgb, rows[row : row + 2], columns[column : column + 2])
            word = word << 1 | int(cell.mean() > 127.5)
    number = word >> 8
    if word & 0xFF != _check(number):
        raise CameraError(
            f"no test pattern in this {width}x{height} picture: read number {number} with check "
            f"sum {word & 0xFF:#04x}, expected {_check(number):#04x}"
        )
    return number


class PatternSource(Opened):
    """Test pictures numbered on the time grid of `fps`: a missing number is a picture not taken."""

    def __init__(self, width: int, height: int, fps: float) -> None:
        require_size(width, height, fps)
        self.width = width
        self.height = height
        self.fps = float(fps)
        self.path = ""
        self.skipped = 0
        self._pace: Pace | None = None
        self._tick = -1
        paint(width, height, 0)

    @property
    def clock_steps(self) -> int:
        """How often the system clock was stepped since open()."""
        return 0 if self._pace is None else self._pace.clock_steps

    def open(self) -> None:
        if self._pace is None:
            self._pace = Pace(self.fps)
            self._tick = -1

    def read(self, timeout_s: float) -> Picture:
        pace = self._pace
        if pace is None:
            raise CameraError("the test pattern is not open: call open() first")
        tick = pace.tick_after(self._tick)
        pace.wait_until(tick / self.fps, timeout_s)
        if self._tick >= 0:
            self.skipped += tick - self._tick - 1
        self._tick = tick
        number = tick % (1 << _COUNTER_BITS)
        return Picture(pace.stamp_ns(tick / self.fps), paint(self.width, self.height, number))

    def close(self) -> None:
        if self._pace is not None:
            self._pace.close()
            self._pace = None


def _check(number: int) -> int:
    # 0xA5 keeps an all-black or all-white picture from reading as a valid number.
    return (sum(number.to_bytes(3, "big")) ^ 0xA5) & 0xFF


def _bits(word: int) -> list[int]:
    count = _COLUMNS * _ROWS
    return [word >> (count - 1 - index) & 1 for index in range(count)]


def _edges(width: int, height: int) -> tuple[list[int], list[int]]:
    columns = [width * column // _COLUMNS for column in range(_COLUMNS + 1)]
    rows = [height // 2 * row // _ROWS for row in range(_ROWS + 1)]
    return columns, rows


def _middle(rgb: NDArray[np.uint8], rows: list[int], columns: list[int]) -> NDArray[np.uint8]:
    high, wide = rows[1] - rows[0], columns[1] - columns[0]
    return rgb[
        rows[0] + high // 4 : rows[1] - high // 4, columns[0] + wide // 4 : columns[1] - wide // 4
    ]


def _bars(width: int, height: int, number: int) -> NDArray[np.uint8]:
    """Colour bars under the board, and a grey one that sweeps across in 90 pictures."""
    picture = np.empty((height, width, 3), np.uint8)
    hues = np.array([colorsys.hsv_to_rgb(bar / 8, 0.75, 0.9) for bar in range(8)])
    picture[:] = (hues * 255).astype(np.uint8)[np.arange(width) * 8 // width]
    sweep = (1 - math.cos(2 * math.pi * number / 90)) / 2
    left = round(sweep * (width - width // 8))
    picture[height // 2 :, left : left + width // 8] = 128
    return picture
