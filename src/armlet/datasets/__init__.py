"""LeRobot v3.0 and v2.1 datasets: recorded whole or not at all, read, checked, recovered."""

from .check.integrity import check as check
from .format.errors import DatasetError as DatasetError
from .format.errors import DiskError as DiskError
from .format.errors import FrameError as FrameError
from .format.errors import GapError as GapError
from .format.errors import VideoError as VideoError
from .reader import Dataset as Dataset
from .reader import EpisodeData as EpisodeData
from .reader import EpisodeInfo as EpisodeInfo
from .record.episode import Backlog as Backlog
from .record.episode import EpisodeFrame as EpisodeFrame
from .record.leftovers import sweep as sweep
from .record.recording import Answer as Answer
from .record.recording import EpisodeRecorder as EpisodeRecorder
from .record.recovery import Recovered as Recovered
from .record.session import Failure as Failure
from .record.session import OnGap as OnGap
from .record.session import Phase as Phase
from .record.session import RecordingSession as RecordingSession
from .record.session import Rules as Rules
from .record.session import SessionError as SessionError
from .record.writer import DatasetWriter as DatasetWriter
from .record.writer import DiskReport as DiskReport
from .record.writer import EpisodeSummary as EpisodeSummary
from .record.writer import recover as recover
