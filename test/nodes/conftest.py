"""Real processes over real DDS, each test module in a domain of its own."""

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

# Linux's range of ephemeral ports leaves so many domains; 0 is everybody's.
DOMAINS = range(1, 102)


@contextlib.contextmanager
def free_domain():
    """A domain that no other test on this computer uses meanwhile, on loopback only."""
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"armlet-test-domain-{domain}.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise RuntimeError(f"all domains {DOMAINS} are taken by other tests; wait for them to end")


@pytest.fixture(scope="module", autouse=True)
def private_domain():
    """A domain per module and process."""
    names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    before = {name: os.environ.get(name) for name in names}
    with free_domain() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        yield domain
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
