"""ROBOTIS Dynamixel servos of the X series on a serial bus, Protocol 2.0."""

from .bus import Bus as Bus
from .family import FAMILY as FAMILY
from .models import MODELS as MODELS
