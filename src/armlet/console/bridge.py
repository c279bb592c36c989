"""An ASGI application in an event loop of its own, beside the loop of the server."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Coroutine
from typing import Any

from .access import App, Message, Receive, Scope, Send

_LIFESPAN_S = 60.0
_STARTED, _ENDED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class Bridge:
    """Runs an application in a thread, so that what takes long there holds up nothing here.

    Context manager, in which the application lives. In the server's loop it is an ASGI application
    itself, of requests only. Raises RuntimeError where the application does not start.
    """

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Bridge:
        self._thread.start()
        self._life = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        try:
            self._tell("lifespan.startup", _STARTED)
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._life.done():
            with contextlib.suppress(RuntimeError):  # it ends with the process
                self._tell("lifespan.shutdown", _ENDED)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _live(self) -> None:
        async def send(message: Message) -> None:
            self._said.put(message["type"])

        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        await self._app(scope, self._asked.get, send)

    def _tell(self, what: str, answer: str) -> None:
        asyncio.run_coroutine_threadsafe(self._asked.put({"type": what}), self._loop)
        try:
            said = self._said.get(timeout=_LIFESPAN_S)
        except queue.Empty:
            said = "nothing"
        if said != answer:
            raise RuntimeError(f"the pages answer {said} to {what}; expected {answer}")

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
