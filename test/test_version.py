"""The version stands in one place; what must repeat it says the same."""

import re
from pathlib import Path
from xml.etree import ElementTree

from armlet import __version__

ROOT = Path(__file__).parent.parent


def test_package_xml_has_the_version_of_the_python_package():
    assert ElementTree.parse(ROOT / "package.xml").getroot().findtext("version") == __version__


def test_the_changelog_has_the_version_with_its_date():
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", _changelog(), re.MULTILINE)
    assert releases and releases[0] == __version__


def test_the_changelog_begins_with_what_is_unreleased():
    first, *_ = re.findall(r"^## (.*)$", _changelog(), re.MULTILINE)
    assert first == "[Unreleased]"


def _changelog():
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
