"""LeRobot policies without LeRobot: reading checkpoints, running and saving them."""

from .act import Act as Act
from .act import ActLoss as ActLoss
from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import load_network as load_network
from .checkpoint import read_checkpoint as read_checkpoint
from .config import ActConfig as ActConfig
from .config import Feature as Feature
from .errors import CheckpointError as CheckpointError
from .errors import ObservationError as ObservationError
from .observation import Observation as Observation
from .playback import ActionQueue as ActionQueue
from .playback import TemporalEnsembler as TemporalEnsembler
from .policy import Policy as Policy
from .policy import derive_contract as derive_contract
from .policy import load_policy as load_policy
from .preprocess import Preprocessor as Preprocessor
from .resnet import calibrate_batch_norm as calibrate_batch_norm
from .save import save_checkpoint as save_checkpoint
