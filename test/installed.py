"""What a module of tests needs, without loading it: each worker collects every module."""

from importlib.util import find_spec

import pytest


def need(*packages: str, reason: str) -> None:
    """Skip the module that is being collected, unless the packages are installed."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"no {package}: {reason}", allow_module_level=True)
