"""The node of a program that watches or directs a graph: its executor, its threads, its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from armlet.nodes.node import SPIN_S, make_executor
from armlet.nodes.teardown import destroy

_LOOK_S = 0.05
_STEP_S = 0.01


class Spinning:
    """Spins a node in a thread of its own, and ends all of the owner's threads with it.

    node: just made, on the context. context: None for rclpy's own.

    Attributes:
        ending: set when threads are to end; they look at it, or are woken after it was set.
        failure: why nothing is heard any more, in words; empty while it is.
    """

    def __init__(self, node: Node, context: Context | None = None) -> None:
        self._node, self._context = node, context
        self._executor = make_executor(context)
        self._executor.add_node(node)
        self.ending = threading.Event()
        self.failure = ""
        self._threads: list[threading.Thread] = []

    def start(self, *works: Callable[[], None]) -> None:
        """Begin to spin; works: what other threads do until `ending`."""
        for work in (self._spin, *works):
            name = f"{self._node.get_name()} {work.__name__.lstrip('_')}"
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _spin(self) -> None:
        # Ctrl-C may shut rclpy down; the main thread ends the program.
        with contextlib.suppress(ExternalShutdownException):
            try:
                while not self.ending.is_set():
                    self._executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:
                self.failure = f"this program hears nothing any more: {error}"
                raise

    def answer(
        self,
        client: Any,
        request: Any,
        timeout_s: float,
        hopeless: Callable[[], bool] = lambda: False,
    ) -> Any:
        """A service's response, for a thread of the owner's.

        None if the service is not there within timeout_s, or does not answer within timeout_s
        more, or where it is hopeless to wait on.
        """
        if not client.wait_for_service(timeout_sec=timeout_s):
            return None
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        end_s = time.monotonic() + timeout_s
        while not done.wait(max(0.0, min(_LOOK_S, end_s - time.monotonic()))):
            if time.monotonic() >= end_s or self.ending.is_set() or hopeless():
                client.remove_pending_request(future)
                return None
        return future.result()

    def answers(self, clients: Sequence[Any], request: Any, timeout_s: float) -> list[Any]:
        """Each service's response to a request, asked for side by side; None as of `answer`."""
        futures: list[Any] = [None] * len(clients)
        end_s = time.monotonic() + timeout_s
        while not all(future is not None and future.done() for future in futures):
            for place, client in enumerate(clients):
                if futures[place] is None and client.service_is_ready():
                    futures[place] = client.call_async(request)
            if time.monotonic() >= end_s or self.ending.wait(_STEP_S):
                break
        for client, future in zip(clients, futures, strict=True):
            if future is not None and not future.done():
                client.remove_pending_request(future)
        return [
            future.result() if future is not None and future.done() else None for future in futures
        ]

    def close(self) -> None:
        """End the threads, then the node."""
        self.ending.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        destroy(self._node)
        rclpy.try_shutdown(context=self._context)
