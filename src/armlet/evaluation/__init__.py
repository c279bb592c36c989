"""How far a policy's actions are from recorded ones, on episodes that it has not seen."""

from .evaluate import Evaluation as Evaluation
from .evaluate import evaluate as evaluate
from .evaluate import joints_of as joints_of
from .held_out import Choice as Choice
from .held_out import choose as choose
