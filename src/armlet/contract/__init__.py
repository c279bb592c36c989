"""The signed contract between recording, training and inference."""

from .contract import FILE_NAME as FILE_NAME
from .contract import Camera as Camera
from .contract import Contract as Contract
from .contract import ContractError as ContractError
from .contract import Detail as Detail
from .contract import JointUnit as JointUnit
from .contract import Lag as Lag
from .contract import Preprocessing as Preprocessing
from .contract import Stream as Stream
from .contract import load as load
from .contract import parse as parse
from .fit import compare_calibrations as compare_calibrations
from .fit import fit as fit
