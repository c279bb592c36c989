"""Cameras: devices, video files, a numbered test picture; JPEG. Knows no ROS."""

from .controls import ControlLock as ControlLock
from .device import DeviceSource as DeviceSource
from .devices import VideoNode as VideoNode
from .devices import video_nodes as video_nodes
from .errors import CameraError as CameraError
from .errors import ControlError as ControlError
from .errors import EndOfVideo as EndOfVideo
from .errors import NoPicture as NoPicture
from .errors import SchemeError as SchemeError
from .errors import TornPicture as TornPicture
from .intrinsics import Intrinsics as Intrinsics
from .intrinsics import intrinsics_text as intrinsics_text
from .intrinsics import read_intrinsics as read_intrinsics
from .pattern import PatternSource as PatternSource
from .pattern import read_counter as read_counter
from .registry import Request as Request
from .registry import open_source as open_source
from .registry import source_of as source_of
from .source import CameraSource as CameraSource
from .source import Picture as Picture
from .source import StampedBy as StampedBy
from .v4l2 import V4l2Device as V4l2Device
from .video_file import FileSource as FileSource
from .watch import Watch as Watch
