"""Real processes over real DDS, each test module in a domain of its own."""

import os

import pytest


@pytest.fixture(scope="module", autouse=True)
def private_domain(request):
    """A domain per module and process, on loopback only."""
    names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    before = {name: os.environ.get(name) for name in names}
    os.environ["ROS_DOMAIN_ID"] = str(1 + (os.getpid() + hash(request.module.__name__)) % 101)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value
