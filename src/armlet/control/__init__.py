"""One arm's control cycle: guard, trajectory, protection, torque that is proven. Knows no ROS."""

from .arm import Arm as Arm
from .arm import ArmIdentity as ArmIdentity
from .control import Control as Control
from .control import Cycle as Cycle
from .feedback import Feedback as Feedback
from .feedback import JointSample as JointSample
from .feedback import JointTelemetry as JointTelemetry
from .guard import BeyondLimits as BeyondLimits
from .guard import CommandRefused as CommandRefused
from .guard import Guard as Guard
from .protection import Action as Action
from .protection import JointPolicy as JointPolicy
from .protection import ProtectionSettings as ProtectionSettings
from .servos import ArmError as ArmError
from .servos import CalibrationDiffers as CalibrationDiffers
from .setpoint import Setpoint as Setpoint
from .settings import ControlSettings as ControlSettings
from .state import Link as Link
from .state import Source as Source
from .state import State as State
from .teleoperation import Teleoperation as Teleoperation
from .trajectory import Trajectory as Trajectory
from .trajectory import blend as blend
