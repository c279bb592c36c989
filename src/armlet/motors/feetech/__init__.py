"""Feetech STS/SMS servos on a serial bus."""

from .bus import Bus as Bus
from .counters import Counters as Counters
from .counters import ServoCounters as ServoCounters
from .errors import BusError as BusError
from .errors import CorruptReply as CorruptReply
from .errors import NoReply as NoReply
from .errors import PortError as PortError
from .errors import ServoError as ServoError
from .packets import ErrorBit as ErrorBit
from .registers import MODEL_STS3215 as MODEL_STS3215
from .registers import REGISTERS as REGISTERS
from .registers import Register as Register
from .sync import SyncReply as SyncReply
