"""A hook of mkdocs: a source file that a page of docs/ links to becomes a page of the site.

On the repository's page such a link, `../src/armlet/FILE.py`, opens the file itself; the site is
made of docs/ alone. Pages made so are not in the menu and not searched.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?:\.\./)+(src/armlet/[\w/]+\.py)\)")


@event_priority(-100)  # after the translations are sorted out: this page is one for all languages
def on_files(files: Any, *, config: Any) -> Any:
    """Adds a page for each file that a page links to."""
    pages = [Path(config.docs_dir, file.src_uri) for file in files.documentation_pages()]
    for source in sorted({name for page in pages for name in LINK.findall(page.read_text())}):
        files.append(File.generated(config, f"{source}.md", content=_page(source)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links to the page of a source file in place of the file."""
    folder = posixpath.dirname(page.file.src_uri)
    return LINK.sub(lambda link: f"]({posixpath.relpath(f'{link[1]}.md', folder)})", markdown)


def _page(source: str) -> str:
    head = "---\nsearch: {exclude: true}\n---\n"
    return f"{head}# {source}\n\n~~~~python\n{(ROOT / source).read_text()}~~~~\n"
