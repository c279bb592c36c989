"""The console's server: the front in its loop, the pages in another, each in its thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence

from armlet.missing import require

from .access import Gate, Rules
from .bridge import Bridge
from .connections import MOST_WAITING, bounded
from .front import Front
from .page import Page, Setting

_START_S = 60.0
_LARGEST_MESSAGE = 1_000_000


class ServerError(Exception):
    """The console cannot listen; the message says why."""


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. port: 0 for a free one. Raises ServerError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; is another console "
            "running? --port takes another port"
        ) from error


@contextlib.contextmanager
def serving(
    setting: Setting, rules: Rules, place: socket.socket, pages: Sequence[Page] | None = None
) -> Iterator[None]:
    """Serve the console on a socket until it is left. Once in a process.

    pages: those found, by default. Raises ServerError, and ModuleNotFoundError without the extra.
    """
    require("nicegui")
    # The library's own store of settings is not used: nothing can ever be below this path.
    os.environ["NICEGUI_STORAGE_PATH"] = f"{os.devnull}/armlet"
    from . import pages as found_pages
    from .shell import make_app

    app = make_app(found_pages.found() if pages is None else pages, setting)
    with Bridge(app, "console pages") as bridge:
        cookie = f"armlet_console_{place.getsockname()[1]}"
        gate = Gate(Front(setting.graph, bridge), rules, cookie)
        with _server(gate, place):
            yield


@contextlib.contextmanager
def _server(app: Gate, place: socket.socket) -> Iterator[None]:
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    config = uvicorn.Config(
        app,
        http=bounded(AutoHTTPProtocol),
        backlog=MOST_WAITING,
        log_level="warning",
        access_log=False,
        ws="wsproto",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[place])), name="console", daemon=True
    )
    thread.start()
    try:
        _wait(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10.0)


def _wait(server: object, thread: threading.Thread) -> None:
    ended = threading.Event()
    for _ in range(round(_START_S / 0.05)):
        if getattr(server, "started", False):
            return
        if not thread.is_alive():
            break
        ended.wait(0.05)
    raise ServerError("the console's server did not start; its messages above say why")
