"""ROS domains for tests and campaigns, so that no two of them meet on one computer."""

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

from armlet.one_graph import domains_in_use

# Linux's range of ephemeral ports leaves so many; 0 is everybody's. A person takes a low one.
DOMAINS = range(101, 0, -1)


@contextlib.contextmanager
def free_domain():
    """A ROS domain that no other test and no node on this computer uses."""
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"armlet-test-domain-{domain}.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if domain in domains_in_use():
                continue
            yield domain
            return
    raise RuntimeError(f"all domains {DOMAINS} are taken by other tests; wait for them to end")


@contextlib.contextmanager
def own_domain():
    """A campaign's domain, on loopback only, of this process and what it starts."""
    with free_domain() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        yield
