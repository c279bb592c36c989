"""The time-synchronizing buffer: streams of stamped values in, frames out. Knows no ROS."""

from .aligner import Aligner as Aligner
from .aligner import Frame as Frame
from .aligner import grid_index as grid_index
from .aligner import grid_ns as grid_ns
from .assembler import Assembler as Assembler
from .ledger import Ledger as Ledger
from .ledger import StreamLedger as StreamLedger
from .stream import Miss as Miss
from .stream import Policy as Policy
from .stream import StreamConfig as StreamConfig
