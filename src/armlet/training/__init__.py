"""Training on recorded episodes, with the policies' own preprocessing. Knows no ROS."""

from .curve import Progress as Progress
from .errors import TrainingError as TrainingError
from .interventions import of_episodes as of_episodes
from .loader import Loading as Loading
from .settings import LOSS_RULES as LOSS_RULES
from .settings import POLICIES as POLICIES
from .settings import PRECISIONS as PRECISIONS
from .settings import TrainingSettings as TrainingSettings
from .sources import LABELS as LABELS
from .sources import Source as Source
from .sources import select as select
from .sources import shared_contract as shared_contract
from .state import StateError as StateError
from .together import Together as Together
from .trainer import begun_settings as begun_settings
from .trainer import train as train
