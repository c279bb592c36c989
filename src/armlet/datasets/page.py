"""An HTML page for people: its frame and look, text made safe for it, and whose a file is.

A page needs nothing but itself: its style is in it, and it runs no script.
"""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import quote

from armlet.files import FileError, open_file, printable

_LONGEST_HEAD = 4096
# Text from outside is escaped; should any slip through, a browser still runs nothing.
_POLICY = "script-src 'none'; object-src 'none'; frame-src 'none'; base-uri 'none'"
_STYLE = """
body{margin:0 auto;max-width:1240px;padding:24px;color:#282828;background:#fff;
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:36px 0 4px}
p{margin:2px 0 10px;color:#6b6b66}img{max-width:100%;display:block;margin:10px 0;
border:1px solid #e4e4e0;border-radius:4px}.bad{color:#b0413e}
"""


def safe(value: object, limit: int = 300) -> str:
    """A value's text for a page: no markup, no control characters, capped in length."""
    return html.escape(printable(value, limit))


def image(source: str, alt: str) -> str:
    """An image: a file beside the page by its name, or a data URI."""
    where = source if source.startswith("data:") else quote(source)
    return f"<img src='{html.escape(where)}' alt='{safe(alt)}'>"


def page(title: str, command: str, body: str, style: str = "") -> str:
    """A whole page. command: what made it, and may write over it. body and style: HTML and CSS."""
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'>{_mark(command)}"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{safe(title)}</title><style>{_STYLE}{style}</style></head>"
        f"<body><h1>{safe(title)}</h1>{body}</body></html>\n"
    )


def is_made_by(path: Path, command: str) -> bool:
    """Whether a file is a page that this command made."""
    try:
        with open_file(path) as file:
            return _mark(command).encode() in file.read(_LONGEST_HEAD)
    except (FileError, FileNotFoundError):
        return False


def _mark(command: str) -> str:
    return f"<meta name='generator' content='armlet {command}'>"
