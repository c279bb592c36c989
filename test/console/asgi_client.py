"""Asks an ASGI application what a browser, or a stranger, would: one request, or a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def scope_of(kind, path, headers, method="GET", query=""):
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": pairs,
    }
    return scope | ({"method": method} if kind == "http" else {})


def ask(app, path="/", headers=(("host", "127.0.0.1:8420"),), method="GET", query=""):
    """What it answers to a request."""
    reply = Reply()

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            reply.body += message["body"]

    asyncio.run(app(scope_of("http", path, headers, method, query), receive, send))
    return reply


class Socket:
    """A WebSocket to an application, in the loop in which it is used. Context manager."""

    def __init__(self, app, path, headers, query=""):
        self._given, self.said = asyncio.Queue(), asyncio.Queue()
        self._given.put_nowait({"type": "websocket.connect"})
        scope = scope_of("websocket", path, headers, query=query)
        self._running = asyncio.ensure_future(app(scope, self._given.get, self.said.put))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self._given.put_nowait({"type": "websocket.disconnect"})
        await self._running

    def give(self, text):
        self._given.put_nowait({"type": "websocket.receive", "text": text})
