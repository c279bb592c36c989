"""What a node answers at once, whatever its executor is busy with: urgent services, and signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, ShutdownException
from rclpy.node import Node

from .teardown import destroy

if TYPE_CHECKING:
    from .node import ArmletNode

_THREADS = 3
_SETTLE_S = 4.0
# Ctrl-Z at `ros2 launch` goes to its nodes, too. A suspended driver holds, hears no stop, and is
# taken for one that hangs, which drops the arm.
_SUSPENDING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class UrgentServices:
    """Services that threads of their own serve, several at a time.

    They belong to a node of their own, because rclpy gives all of a node's callbacks to one
    executor. Their names are resolved by the node they are for.
    """

    def __init__(self, node: ArmletNode) -> None:
        self._owner = node
        self._node = Node(
            f"{node.get_name()}_urgent",
            context=node.context,
            namespace=node.get_namespace(),
            # Remappings of node names would give it the name of the node it is for.
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._group = ReentrantCallbackGroup()
        self._executor = MultiThreadedExecutor(_THREADS, context=node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="urgent services", daemon=True)

    def serve(self, kind: Any, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Serve a service from now on. An exception of the callback goes to the node's `fail`."""

        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self._owner.fail(error)
                response.success, response.message = False, f"failed: {error}"
                return response

        resolved = self._owner.resolve_service_name(name)
        self._node.create_service(kind, resolved, answer, callback_group=self._group)
        if not self._thread.is_alive():
            self._thread.start()

    def hear(self, kind: Any, topic: str, callback: Callable[[Any], None], **given: Any) -> None:
        """Subscribe to a topic from now on; given: as for rclpy's create_subscription."""
        resolved = self._owner.resolve_topic_name(topic)
        self._node.create_subscription(
            kind, resolved, callback, callback_group=self._group, **given
        )

    def close(self) -> None:
        """Serve no more."""
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join()
        destroy(self._node)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except (ExternalShutdownException, ShutdownException):
            return


class Signals:
    """Has a thread of its own act on signals, the moment they come.

    Python's own handlers run when the main thread is back from whatever C code it is in: the
    executor's wait, or the parsing of a long message.

    Attributes:
        ending: set by the first signal.
        action: called by the first signal once `ending` is set.
        interrupt: called by each in the main thread, whenever that comes to it.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.ending = threading.Event()
        self.action: Callable[[], None] = _nothing
        self.interrupt: Callable[[], None] = _nothing
        self._acted = threading.Event()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._numbers = frozenset(numbers)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._numbers -= {signal.SIGHUP}  # `nohup`: who closes the terminal drops no arm
        for number in self._numbers:
            signal.signal(number, lambda *_: self.interrupt())
        for number in _SUSPENDING:
            signal.signal(number, signal.SIG_IGN)
        os.register_at_fork(after_in_child=self._leave_to_the_parent)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def settle(self) -> None:
        """Wait until the action that a signal has begun is done, some seconds at most."""
        if self.ending.is_set():
            self._acted.wait(_SETTLE_S)

    def _leave_to_the_parent(self) -> None:
        """What ends a copy of this process, which a library may make, ends this one not.

        The copy has the same pipe: a signal to it would come here, and it would not end.
        """
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)

    def _watch(self) -> None:
        while not self.ending.is_set():
            if self._numbers & set(os.read(self._wake, 64)):
                self.ending.set()
        try:
            self.action()
        finally:
            self._acted.set()


def _nothing() -> None:
    pass
