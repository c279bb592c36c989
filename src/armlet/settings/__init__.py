"""The parameters of every node, declared as data: what they mean, their range, what may change."""

from .catalogue import declared as declared
from .setting import AT_START as AT_START
from .setting import Change as Change
from .setting import Fixed as Fixed
from .setting import Setting as Setting
