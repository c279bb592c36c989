"""A bench without hardware: emulated arms, a rendered scene, a scripted demonstrator. No ROS."""

from .bench import Bench as Bench
from .calibrations import FOLLOWER as FOLLOWER
from .calibrations import LEADER as LEADER
from .scene import Scene as Scene
from .scene import View as View
