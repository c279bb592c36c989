"""What a robot is: its joints by name, their units and their calibration."""

from .calibration import Calibration as Calibration
from .calibration import CalibrationError as CalibrationError
from .calibration import JointCalibration as JointCalibration
from .robot_model import SO101_JOINTS as SO101_JOINTS
