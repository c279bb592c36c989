"""The servo families that tests of the driver and its parts run over."""

import pytest

FAMILIES = ("sts3215", "xl330-m288")
# For slow tests: the first at every try, the other among the thorough ones.
FIRST_FAMILY = (FAMILIES[0], pytest.param(FAMILIES[1], marks=pytest.mark.thorough))
