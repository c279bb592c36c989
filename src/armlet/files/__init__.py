"""The one door for files that others wrote: datasets, checkpoints, calibrations, parameters.

Nothing in such a file is trusted: not its kind, size, nesting, types, numbers, paths or text.
"""

from .documents import Shape as Shape
from .documents import json_lines as json_lines
from .documents import parse_json as parse_json
from .documents import read_json as read_json
from .documents import read_yaml as read_yaml
from .errors import AdvisedError as AdvisedError
from .errors import FileError as FileError
from .errors import PointerError as PointerError
from .errors import UnreadableError as UnreadableError
from .errors import advised as advised
from .errors import parted as parted
from .obstacles import HUB as HUB
from .obstacles import OutputError as OutputError
from .obstacles import check_output as check_output
from .obstacles import check_output_file as check_output_file
from .obstacles import explained as explained
from .obstacles import is_of_the_computer as is_of_the_computer
from .obstacles import reason as reason
from .opening import check_file as check_file
from .opening import open_file as open_file
from .opening import read_bytes as read_bytes
from .opening import read_text as read_text
from .places import PathTemplate as PathTemplate
from .places import check_name as check_name
from .places import expanded as expanded
from .places import inside as inside
from .places import resolved as resolved
from .places import visible_files as visible_files
from .places import writable as writable
from .replacing import keep_previous as keep_previous
from .replacing import new_beside as new_beside
from .replacing import replace_file as replace_file
from .replacing import replace_picture as replace_picture
from .replacing import umask as umask
from .scratch import in_use as in_use
from .scratch import scratch_folder as scratch_folder
from .text import printable as printable
from .text import printable_json as printable_json
from .typed import kind_of as kind_of
from .typed import shown as shown
from .typed import typed as typed
from .typed import whole_number as whole_number
from .versioned import read_versioned as read_versioned
from .versioned import write_versioned as write_versioned
from .videos import open_video as open_video
