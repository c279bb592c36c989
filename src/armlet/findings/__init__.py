"""What a check found: one type, one table of codes, one way to print it."""

from .codes import Code as Code
from .finding import Finding as Finding
from .finding import Severity as Severity
from .finding import compared as compared
from .finding import exit_status as exit_status
from .finding import worst as worst
from .listing import from_json as from_json
from .listing import read_findings as read_findings
from .listing import write_findings as write_findings
from .render import as_json as as_json
from .render import diagnostic as diagnostic
from .render import text as text
