"""The policies trained here have a narrow backbone: their tests are about other things."""

import importlib.util

if importlib.util.find_spec("torch"):
    from narrow_network import narrow_network  # noqa: F401
