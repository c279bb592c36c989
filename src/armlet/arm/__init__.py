"""What an arm is: joints, units, calibration, guard, trajectory, control. Knows no ROS."""

from .arm import Arm as Arm
from .arm import ArmError as ArmError
from .arm import JointSample as JointSample
from .calibration import Calibration as Calibration
from .calibration import CalibrationError as CalibrationError
from .calibration import JointCalibration as JointCalibration
from .control import Control as Control
from .control import ControlSettings as ControlSettings
from .control import Cycle as Cycle
from .control import State as State
from .guard import CommandRefused as CommandRefused
from .guard import Guard as Guard
from .joints import SO101_JOINTS as SO101_JOINTS
from .trajectory import Trajectory as Trajectory
