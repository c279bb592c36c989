"""Cameras: devices, video files, a numbered test picture; JPEG. Knows no ROS."""

from .device import DeviceSource as DeviceSource
from .errors import CameraError as CameraError
from .errors import EndOfVideo as EndOfVideo
from .opening import open_source as open_source
from .pattern import PatternSource as PatternSource
from .pattern import read_counter as read_counter
from .source import CameraSource as CameraSource
from .source import Picture as Picture
from .video_file import FileSource as FileSource
