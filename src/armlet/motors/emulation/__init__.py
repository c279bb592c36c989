"""Servos that are not there, emulated down to the bytes."""

from .emulator import EmulatedBus as EmulatedBus
from .faults import Faults as Faults
from .servo import EmulatedServo as EmulatedServo
