"""The policy file of SROS 2: XML by version 0.2.0 of its schema.

https://design.ros2.org/articles/ros2_access_control_policies.html
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

from .rights import Enclave, Profile

VERSION = "0.2.0"


def write(enclaves: Iterable[Enclave]) -> str:
    """The text of a policy file, as `ros2 security generate_artifacts` reads it."""
    policy = ElementTree.Element("policy", version=VERSION)
    below = ElementTree.SubElement(policy, "enclaves")
    for enclave in enclaves:
        one = ElementTree.SubElement(below, "enclave", path=enclave.path)
        profiles = ElementTree.SubElement(one, "profiles")
        for profile in enclave.profiles:
            _add(profiles, profile)
    ElementTree.indent(policy)
    return ElementTree.tostring(policy, encoding="unicode", xml_declaration=True) + "\n"


def _add(profiles: ElementTree.Element, profile: Profile) -> None:
    one = ElementTree.SubElement(profiles, "profile", ns=profile.namespace, node=profile.node)
    for use, rights in itertools.groupby(profile.rights, lambda right: right.use):
        allowed = ElementTree.SubElement(one, f"{use.thing}s", {use.verb: "ALLOW"})
        for right in rights:
            ElementTree.SubElement(allowed, use.thing).text = right.name
