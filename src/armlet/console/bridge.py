"""An ASGI application in an event loop of its own, beside the loop of the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from .access import App, Message, Receive, Scope, Send


class Bridge:
    """Runs an application in a thread, so that what takes long there holds up nothing here.

    Context manager. In the server's loop it is an ASGI application itself.
    """

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Bridge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = asyncio.get_running_loop()

        async def receive_there() -> Message:
            message: Message = await _across(receive(), here)
            return message

        async def send_there(message: Message) -> None:
            await _across(send(message), here)

        await _across(self._app(scope, receive_there, send_there), self._loop)


async def _across(work: Any, loop: asyncio.AbstractEventLoop) -> Any:
    coroutine: Coroutine[Any, Any, Any] = work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
