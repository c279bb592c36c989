"""Feetech STS/SMS servos on a serial bus, and an emulation of them down to the bytes."""

from armlet.feetech.bus import Bus as Bus
from armlet.feetech.counters import Counters as Counters
from armlet.feetech.counters import ServoCounters as ServoCounters
from armlet.feetech.emulated_servo import EmulatedServo as EmulatedServo
from armlet.feetech.emulator import EmulatedBus as EmulatedBus
from armlet.feetech.errors import BusError as BusError
from armlet.feetech.errors import CorruptReply as CorruptReply
from armlet.feetech.errors import NoReply as NoReply
from armlet.feetech.errors import PortError as PortError
from armlet.feetech.errors import ServoError as ServoError
from armlet.feetech.faults import Faults as Faults
from armlet.feetech.packets import ErrorBit as ErrorBit
from armlet.feetech.registers import MODEL_STS3215 as MODEL_STS3215
from armlet.feetech.registers import REGISTERS as REGISTERS
from armlet.feetech.registers import Register as Register
from armlet.feetech.sync import SyncReply as SyncReply
