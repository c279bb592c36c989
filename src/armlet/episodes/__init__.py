"""LeRobot v3.0 and v2.1 datasets: recorded whole or not at all, read, checked, recovered."""

from .doctor import check as check
from .errors import DatasetError as DatasetError
from .errors import DiskError as DiskError
from .errors import FrameError as FrameError
from .errors import HoleError as HoleError
from .errors import VideoError as VideoError
from .leftovers import sweep as sweep
from .reader import Dataset as Dataset
from .reader import EpisodeData as EpisodeData
from .reader import EpisodeInfo as EpisodeInfo
from .recording import Answer as Answer
from .recording import EpisodeRecorder as EpisodeRecorder
from .salvage import Recovered as Recovered
from .session import Failure as Failure
from .session import OnGap as OnGap
from .session import Phase as Phase
from .session import RecordingSession as RecordingSession
from .session import Rules as Rules
from .session import SessionError as SessionError
from .take import Backlog as Backlog
from .take import EpisodeFrame as EpisodeFrame
from .writer import DatasetWriter as DatasetWriter
from .writer import DiskReport as DiskReport
from .writer import EpisodeSummary as EpisodeSummary
from .writer import recover as recover
