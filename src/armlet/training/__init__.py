"""Training on recorded episodes, with the policies' own preprocessing. Knows no ROS."""

from .act import Progress as Progress
from .act import begun_settings as begun_settings
from .act import train_act as train_act
from .interventions import commanded_by_person as commanded_by_person
from .settings import TrainingSettings as TrainingSettings
from .state import StateError as StateError
