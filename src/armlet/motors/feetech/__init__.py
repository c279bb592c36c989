"""Feetech STS/SMS servos on a serial bus."""

from armlet.motors.protocol import BusError as BusError
from armlet.motors.protocol import CorruptReply as CorruptReply
from armlet.motors.protocol import Counters as Counters
from armlet.motors.protocol import NoReply as NoReply
from armlet.motors.protocol import PortError as PortError
from armlet.motors.protocol import ServoCounters as ServoCounters
from armlet.motors.protocol import ServoError as ServoError
from armlet.motors.protocol import SyncReply as SyncReply

from .bus import Bus as Bus
from .family import FAMILY as FAMILY
from .packets import ErrorBit as ErrorBit
from .registers import MODEL_STS3215 as MODEL_STS3215
from .registers import REGISTERS as REGISTERS
from .registers import Register as Register
