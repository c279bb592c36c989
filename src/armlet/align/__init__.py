"""The time-synchronizing buffer: streams of stamped values in, frames out. Knows no ROS."""

from .aligner import PLAUSIBLE_S as PLAUSIBLE_S
from .aligner import Aligner as Aligner
from .aligner import Frame as Frame
from .aligner import Sample as Sample
from .aligner import grid_index as grid_index
from .aligner import grid_ns as grid_ns
from .aligner import is_plausible as is_plausible
from .aligner import offline as offline
from .assembler import Assembler as Assembler
from .frozen import fingerprint as fingerprint
from .health import Condition as Condition
from .health import Health as Health
from .health import Watch as Watch
from .joints import JointError as JointError
from .joints import JointPart as JointPart
from .joints import join as join
from .joints import joint_parts as joint_parts
from .joints import worst_skew_s as worst_skew_s
from .ledger import Ledger as Ledger
from .ledger import StreamLedger as StreamLedger
from .ledger import counts_since as counts_since
from .ledger import troubles as troubles
from .pauses import Pauses as Pauses
from .stream import Miss as Miss
from .stream import Policy as Policy
from .stream import StreamConfig as StreamConfig
