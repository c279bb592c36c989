"""Which cameras are plugged in, and finding one again whose /dev/videoN number changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import CameraError

_NODE = re.compile(r"video(\d+)")
# by-id carries the serial number, by-path the port; by-id survives another port.
_BY_ID = "v4l/by-id"
_LINK_FOLDERS = (_BY_ID, "v4l/by-path")


@dataclass(frozen=True)
class VideoNode:
    """One /dev/videoN and what does not change with N.

    index: a camera's nodes count from 0; on UVC cameras those after the first carry no pictures.
    port: where it is plugged in (its place in the kernel's device tree). serial: empty where the
    maker gave none. stable_paths: the links udev keeps for it, by-id first. shared_paths: links
    that are another camera's after the next start, since both have one product and serial number.
    """

    path: str
    name: str
    index: int
    port: str
    product: str
    serial: str
    stable_paths: tuple[str, ...]
    shared_paths: tuple[str, ...] = ()

    @property
    def best_path(self) -> str:
        """The most lasting path there is."""
        return self.stable_paths[0] if self.stable_paths else self.path

    def is_same(self, other: VideoNode) -> bool:
        """Whether this is the other's camera: by serial number, without one by port."""
        if (self.product, self.serial, self.index) != (other.product, other.serial, other.index):
            return False
        # Makers print one serial number on a whole batch, too: the port then distinguishes them.
        return bool(self.serial) or self.port == other.port


def video_nodes(root: Path = Path("/")) -> tuple[VideoNode, ...]:
    """Every video node of this machine, in order of number. root: of /dev and /sys."""
    folder = root / "sys/class/video4linux"
    if not folder.is_dir():
        return ()
    found = {
        int(match[1]): entry for entry in folder.iterdir() if (match := _NODE.fullmatch(entry.name))
    }
    links = _links(root)
    return _distinguished([_node(root, found[number], links) for number in sorted(found)])


def _distinguished(nodes: Sequence[VideoNode]) -> tuple[VideoNode, ...]:
    """Of cameras that share product and serial number, udev keeps one link by-id for all."""
    ports: dict[tuple[str, str], set[str]] = {}
    for node in nodes:
        ports.setdefault((node.product, node.serial), set()).add(node.port)
    return tuple(
        node if len(ports[node.product, node.serial]) == 1 else _without_id(node) for node in nodes
    )


def _without_id(node: VideoNode) -> VideoNode:
    shared = tuple(path for path in node.stable_paths if path.startswith(f"/dev/{_BY_ID}/"))
    kept = tuple(path for path in node.stable_paths if path not in shared)
    return replace(node, stable_paths=kept, shared_paths=shared)


def _node(root: Path, entry: Path, links: dict[str, tuple[str, ...]]) -> VideoNode:
    path = f"/dev/{entry.name}"
    interface = (entry / "device").resolve()
    # A USB camera's node hangs under an interface; the device above it has the descriptors.
    vendor, product = _read(interface.parent / "idVendor"), _read(interface.parent / "idProduct")
    return VideoNode(
        path,
        name=_read(entry / "name") or entry.name,
        index=int(_read(entry / "index") or 0),
        port=str(interface),
        product=f"{vendor}:{product}" if vendor else _read(entry / "name"),
        serial=_read(interface.parent / "serial"),
        stable_paths=links.get(path, ()),
    )


def _links(root: Path) -> dict[str, tuple[str, ...]]:
    """The stable paths of each device node."""
    links: dict[str, tuple[str, ...]] = {}
    for folder in _LINK_FOLDERS:
        place = root / "dev" / folder
        for link in sorted(place.iterdir()) if place.is_dir() else ():
            node = f"/dev/{link.readlink().name}" if link.is_symlink() else ""
            links[node] = (*links.get(node, ()), f"/dev/{folder}/{link.name}")
    return links


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        # A device without the attribute, or one pulled out while it is read.
        return ""


def node_at(device: str, nodes: tuple[VideoNode, ...]) -> VideoNode | None:
    """The node a path names, a stable path or /dev/videoN."""
    for node in nodes:
        if device in (node.path, *node.stable_paths, *node.shared_paths):
            return node
    return None


def find_again(known: VideoNode, nodes: tuple[VideoNode, ...]) -> VideoNode:
    """The node of a camera seen before. CameraError if it is not plugged in, or if two claim it."""
    same = [node for node in nodes if node.is_same(known)]
    at_port = [node for node in same if node.port == known.port]
    if len(at_port) == 1:
        return at_port[0]
    if len(same) == 1:
        return same[0]
    if same:
        paths = ", ".join(node.path for node in same)
        raise CameraError(
            f"{known.name} (serial {known.serial}) was at {known.port}; {paths} both claim to be "
            "it: plug it into the port it was in, or give its /dev/v4l/by-path as source"
        )
    others = ", ".join(f"{node.path} ({node.name})" for node in nodes) or "none"
    raise CameraError(
        f"{known.name}{f' (serial {known.serial})' if known.serial else ''} is not plugged in; "
        f"cameras there: {others}"
    )
