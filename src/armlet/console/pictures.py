"""Cameras' pictures over a WebSocket: the newest of each, and none before the last was shown.

A viewer asks for cameras in the address (?camera=front&camera=wrist). It is sent a binary message
for a picture: the length of a header (one byte), the header (JSON), the JPEG as it was published.
It answers with the camera's name, as text, when it has shown it. So a slow viewer skips pictures,
one that never reads is sent one of each camera, and nothing is kept for either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from .access import Message, Receive, Scope, Send

if TYPE_CHECKING:
    from armlet.client.watching import Picture

    from .page import Camera, Graph

MOST_CAMERAS = 16
MOST_VIEWERS = 32
SHOWN_S = 30.0
"""A viewer that has shown nothing for so long is gone; its browser asks again if it is not."""

_REFUSED, _BUSY, _GONE = 1008, 1013, 1001
_LONGEST_NAME = 64  # the header is at most 255 bytes


class Pictures:
    """The ASGI application behind the WebSocket.

    shown_s: see SHOWN_S.
    """

    def __init__(self, graph: Graph, shown_s: float = SHOWN_S) -> None:
        self._graph, self._shown_s = graph, shown_s
        self.viewers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        query: str = scope["query_string"].decode("latin-1")
        names = list(dict.fromkeys(parse_qs(query).get("camera", [])))
        if not 0 < len(names) <= MOST_CAMERAS or any(len(n) > _LONGEST_NAME for n in names):
            await send({"type": "websocket.close", "code": _REFUSED})
        elif self.viewers >= MOST_VIEWERS:
            await send({"type": "websocket.close", "code": _BUSY})
        else:
            self.viewers += 1
            try:
                await self._show(names, receive, send)
            finally:
                self.viewers -= 1

    async def _show(self, names: list[str], receive: Receive, send: Send) -> None:
        viewer = _Viewer(asyncio.get_running_loop())
        with contextlib.ExitStack() as held:
            try:
                cameras = {
                    name: held.enter_context(self._graph.camera(name, viewer.hear))
                    for name in names
                }
            except KeyError:
                await send({"type": "websocket.close", "code": _REFUSED})
                return
            await send({"type": "websocket.accept"})
            sending = asyncio.create_task(viewer.send(cameras, send, self._shown_s))
            hearing = asyncio.create_task(viewer.receive(set(names), receive))
            done, left = await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            # One that could not be sent is of a viewer that has gone.
            await asyncio.gather(sending, hearing, return_exceptions=True)
        if hearing in done and not hearing.exception() and hearing.result():
            return  # it has gone by itself
        with contextlib.suppress(Exception):  # it may go meanwhile, or take nothing any more
            closing = send({"type": "websocket.close", "code": _GONE})
            await asyncio.wait_for(closing, self._shown_s)


class _Viewer:
    """One of them: which cameras it has been sent and has not shown."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()
        self._unshown: set[str] = set()
        self._sent: dict[str, int] = {}
        self._shown_s = loop.time()

    def hear(self) -> None:
        """There is a new picture; called in another thread."""
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._news.set)

    async def receive(self, names: set[str], receive: Receive) -> bool:
        """Until it goes, True; or says what no viewer of ours does, False."""
        while True:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                return True
            name = message.get("text")
            if name not in names:
                return False
            self._unshown.discard(name)
            self._shown_s = self._loop.time()
            self._news.set()

    async def send(self, cameras: dict[str, Camera], send: Send, shown_s: float) -> None:
        """Until it has shown nothing for so long."""
        while True:
            for name, camera in cameras.items():
                picture = None if name in self._unshown else camera.picture()
                if picture is not None and self._sent.get(name) != picture.number:
                    self._sent[name] = picture.number
                    if not self._unshown:
                        self._shown_s = self._loop.time()
                    self._unshown.add(name)
                    # One that has gone without a word takes no more bytes, and says nothing.
                    sending = send({"type": "websocket.send", "bytes": packed(name, picture)})
                    await asyncio.wait_for(sending, shown_s)
            left_s = self._shown_s + shown_s - self._loop.time() if self._unshown else None
            if left_s is not None and left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left_s)
            self._news.clear()


def packed(name: str, picture: Picture) -> bytes:
    """The message of one picture."""
    values = {
        "camera": name,
        "number": picture.number,
        "age_s": round(picture.age_s, 4),
        "rate_hz": None if picture.rate_hz is None else round(picture.rate_hz, 2),
        "skew_s": None if picture.skew_s is None else round(picture.skew_s, 5),
    }
    header = json.dumps(values, separators=(",", ":")).encode()
    return bytes([len(header)]) + header + picture.jpeg
