"""What the console answers itself, beside its pages: the stop, pictures, and its own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .access import App, Receive, Scope, Send
from .pictures import Pictures

if TYPE_CHECKING:
    from .page import Graph

STOP_KEY = "x"
STOP = "/stop"
PICTURES = "/pictures"
FILES = "/console-files/"
MOST_AT_ONCE = 256
"""Of the pages' requests and WebSockets. The stop is answered beside any number of them."""
_TYPES = {".js": b"text/javascript", ".css": b"text/css"}


class Front:
    """An ASGI application that answers some paths, and hands the others to the pages'.

    Nothing here waits: a stop is asked for in the loop of the server, whatever pages are doing.
    """

    def __init__(self, graph: Graph, pages: App) -> None:
        self._graph, self._pages = graph, pages
        self._pictures = Pictures(graph)
        self._underway = 0
        folder = Path(__file__).parent / "static"
        self._files = {path.name: path.read_bytes() for path in folder.iterdir()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == STOP:
            await self._stop(scope, send)
        elif scope["type"] == "websocket" and path == PICTURES:
            await self._pictures(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(FILES):
            await self._file(path.removeprefix(FILES), send)
        elif self._underway >= MOST_AT_ONCE:
            await _refuse(scope, send)
        else:
            self._underway += 1
            try:
                await self._pages(scope, receive, send)
            finally:
                self._underway -= 1

    async def _stop(self, scope: Scope, send: Send) -> None:
        """POST asks for it; GET and POST say what has become of it."""
        if scope["method"] == "POST":
            self._graph.press(STOP_KEY)
        elif scope["method"] != "GET":
            await _answer(send, 405, b"text/plain", b"GET or POST\n")
            return
        body = json.dumps(_standing(self._graph)).encode()
        await _answer(send, 200, b"application/json", body)

    async def _file(self, name: str, send: Send) -> None:
        if name not in self._files:
            await _answer(send, 404, b"text/plain", b"no such file\n")
            return
        await _answer(send, 200, _TYPES[Path(name).suffix], self._files[name])


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013})
        return
    text = f"armlet console: {MOST_AT_ONCE} requests are being answered; close other tabs\n"
    await _answer(send, 503, b"text/plain", text.encode())


def _standing(graph: Graph) -> dict[str, Any]:
    view = graph.view()
    answers = [(line.subject, line.said, line.level) for line in view.answers]
    return {"stopping": view.stopping, "arm": view.arm, "answers": answers}


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
