"""Training on recorded episodes, with the policies' own preprocessing. Knows no ROS."""

from .act import Progress as Progress
from .act import TrainingSettings as TrainingSettings
from .act import train_act as train_act
