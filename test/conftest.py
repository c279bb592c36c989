"""How the suite is shared out when it runs on two cores (`make test`)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of real processes wait more than they work: one after the other, beside all the rest.

    The rest goes file by file, so that what a module sets up is set up once.
    """
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        group = "processes" if folder == "nodes" else str(item.path.relative_to(HERE))
        item.add_marker(pytest.mark.xdist_group(group))
