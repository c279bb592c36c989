"""What every armlet node is: lifecycle, declared parameters, time, diagnostics, a clean exit."""

from __future__ import annotations

import ctypes
import inspect
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions

from armlet.suggestions import did_you_mean

from .clock import ClockPacer, Pacer, RosClock, TurnPacer
from .inbox import GuardedInbox
from .lockstep import InLockstep
from .repeats import Repeats
from .stamps import to_time
from .teardown import destroy
from .urgent import Signals, UrgentServices

STATE_QOS = QoSProfile(depth=10)
RECORDING_QOS = QoSProfile(depth=400)
COMMAND_QOS = QoSProfile(depth=1)
SENSOR_QOS = qos_profile_sensor_data
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

SUPERVISOR_VARIABLE = "ARMLET_SUPERVISOR"
_PR_SET_PDEATHSIG = 1

_NO_ARGUMENTS = inspect.Signature()

# Parameters rclpy gives every node.
_BUILT_IN = ("use_sim_time", "start_type_description_service")


class SetupError(Exception):
    """A node cannot be configured as it is told to; trying again will not help."""


class NotReady(Exception):
    """What a node needs is not there yet; trying again may help."""


@dataclass(frozen=True)
class Setting:
    """A parameter: name, default, what it means; numbers may have a range.

    dynamic: may be set to a value of another type than its default's. formerly: a name it had.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    read_only: bool = True
    dynamic: bool = False
    formerly: str = ""

    def descriptor(self) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(
            description=self.description, read_only=self.read_only, dynamic_typing=self.dynamic
        )
        if self.low is None or self.high is None:
            return descriptor
        if isinstance(self.default, int):
            limits = IntegerRange(from_value=int(self.low), to_value=int(self.high))
            descriptor.integer_range = [limits]
        else:
            limits = FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
            descriptor.floating_point_range = [limits]
        return descriptor


AUTOSTART = Setting(
    "autostart", True, "Configure and activate at start, without a lifecycle manager."
)
LOCKSTEP = Setting(
    "lockstep", "", "Socket of the bench that advances simulated time in lockstep with this node."
)
SPIN_S = 0.1
STARTING_LOOK_S = 0.01


class ArmletNode(InLockstep, GuardedInbox, LifecycleNode):  # type: ignore[misc]
    """A managed node. Subclasses fill `setup`, `start`, `stop`, `teardown`, `diagnostics`.

    setup (configure) acquires what the node needs: raises NotReady or SetupError. start
    (activate) begins to act, stop (deactivate) ends that, teardown (cleanup, shutdown, error)
    releases everything and must work from any state.

    Attributes:
        clock: the node's time, which follows use_sim_time.
    """

    def __init__(self, name: str, settings: Sequence[Setting]):
        super().__init__(name)
        self.clock = RosClock(self)
        self.failure: BaseException | None = None
        self._active = False
        self._configured = False
        self._known: set[str] = set(_BUILT_IN)
        self._renamed: dict[str, str] = {}
        self._permanent: dict[Any, Any] = {}
        self._urgent: UrgentServices | None = None
        self._repeats = Repeats()
        self.declare([AUTOSTART, LOCKSTEP, *settings])
        if self.value("lockstep") and self.clock.simulated:
            self.join_lockstep(Path(self.value("lockstep")))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATE_QOS)
        self.create_timer(1.0, self._publish_diagnostics)
        self._autostart: Any = None
        if self.value("autostart"):
            # Simulated time may stand still until this node has started.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._autostart = self.create_timer(0.05, self._try_autostart, clock=steady)
        else:
            self.ready()

    def log_once(self, topic: str, text: str, warning: bool = False) -> None:
        """Log an error (or warning) that may come with every message, for as long as it comes."""
        if not self._repeats.is_news(topic, text, time.monotonic()):
            return
        # rclpy permits one severity for each line that logs.
        if warning:
            self.get_logger().warning(text)
        else:
            self.get_logger().error(text)

    def declare(self, settings: Iterable[Setting]) -> None:
        """Declare parameters, with their ranges and descriptions."""
        for setting in settings:
            self.declare_parameter(setting.name, setting.default, setting.descriptor())
            self._known.add(setting.name)
            if setting.formerly:
                self._renamed[setting.formerly] = setting.name

    def refuse_unknown_parameters(self) -> None:
        """Raise SetupError if something was set that no parameter of this node is named."""
        given = set(self._parameter_overrides)
        unknown = sorted(
            name for name in given - self._known if not name.startswith("qos_overrides.")
        )
        if unknown:
            known = sorted(self._known - set(_BUILT_IN))
            raise SetupError(
                f"unknown parameters {unknown} for /{self.label}; "
                f"{did_you_mean(unknown, known, self._renamed)}it has {known}"
            )

    def value(self, name: str) -> Any:
        """The present value of a parameter."""
        return self.get_parameter(name).value

    @property
    def label(self) -> str:
        """Namespace and name, by which diagnostics tell nodes of one kind apart."""
        return str(self.get_fully_qualified_name()).lstrip("/")

    def now_ns(self) -> int:
        """The node's clock, ns."""
        return self.clock.now_ns()

    def pacer(self, name: str, order: int) -> Pacer:
        """What a thread of the node's own waits with; order: among those due at once in lockstep.

        Names are unique in a node.
        """
        if not self.in_lockstep:
            return ClockPacer(self.clock)
        return TurnPacer(self.take_turns(name, order))

    def serve_urgently(self, kind: Any, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """A service that is answered at once, by a thread of its own, until the process ends."""
        if self._urgent is None:
            self._urgent = UrgentServices(self)
        if self._lockstep is not None:
            callback = self._lockstep.holding(callback)
        self._urgent.serve(kind, name, callback)

    def wait_until_started(self, timeout_s: float) -> None:
        """Wait while the node activates itself; for urgent services, which do not wait for it."""
        deadline = time.monotonic() + timeout_s
        while self._autostart is not None and not self._active and time.monotonic() < deadline:
            time.sleep(STARTING_LOOK_S)

    def end_urgent_services(self) -> None:
        if self._urgent is not None:
            self._urgent.close()
            self._urgent = None

    def make_safe(self) -> None:
        """The process has been told to end: what must not wait for that. In another thread."""

    def create_timer(  # type: ignore[override]
        self, period_s: float, callback: Callable[[], None], **given: Any
    ) -> Any:
        return super().create_timer(period_s, _without_arguments(callback), **given)

    def setup(self) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def teardown(self) -> None: ...

    def diagnostics(self) -> list[DiagnosticStatus]:
        return []

    def fail(self, error: BaseException) -> None:
        """End the process because of an error in a thread of the node's own."""
        self.get_logger().fatal("".join(traceback.format_exception(error)))
        self.failure = error

    def close(self) -> None:
        """Stop and release everything; for the end of the process."""
        try:
            self._stop_if_active()
        finally:
            self._release()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt("activate", self.start)
        self._active = result is TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("deactivate", self._stop_if_active)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("clean up", self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("shut down", self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("recover", self.close)

    def _configure(self) -> None:
        self.refuse_unknown_parameters()
        self._permanent = self._faces()
        self.setup()

    def _release(self) -> None:
        """Teardown, and an end to what setup published, subscribed and served."""
        self.teardown()
        for face, remove in self._faces().items():
            if face not in self._permanent:
                remove(face)

    def _faces(self) -> dict[Any, Callable[[Any], object]]:
        return {
            **dict.fromkeys(self.publishers, self.destroy_publisher),
            **dict.fromkeys(self.subscriptions, self.destroy_subscription),
            **dict.fromkeys(self.services, self.destroy_service),
        }

    def _stop_if_active(self) -> None:
        if self._active:
            self.stop()
            self._active = False

    def _attempt(self, what: str, action: Callable[[], object]) -> TransitionCallbackReturn:
        try:
            action()
        except NotReady as error:
            self.log_once(what, f"cannot {what}: {error}", warning=True)
            return TransitionCallbackReturn.FAILURE
        except SetupError as error:
            self.get_logger().error(f"cannot {what}: {error}")
            if self._autostart is not None:
                self.failure = error
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            # rclpy would keep it to itself; a node in an unknown state must end, and release.
            self.fail(error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _try_autostart(self) -> None:
        """Configure, then activate; again every half second while something is not ready."""
        self._autostart.timer_period_ns = 500_000_000
        if not self._configured:
            self._configured = self.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if self._configured and self.trigger_activate() is TransitionCallbackReturn.SUCCESS:
            self.destroy_timer(self._autostart)
            # What a person asks for later is refused where it cannot be; that ends nothing.
            self._autostart = None
            self.ready()

    def _publish_diagnostics(self) -> None:
        status = self.diagnostics()
        dropped = self.inbox_status(self.label)
        if dropped is not None:
            status = [*status, dropped]
        if status:
            message = DiagnosticArray(status=status)
            message.header.stamp = to_time(self.now_ns())
            self._diagnostics.publish(message)


def _without_arguments(callback: Callable[[], None]) -> Callable[[], None]:
    """A timer's callback whose signature is known; EventsExecutor asks for it at every call."""

    def call() -> None:
        callback()

    call.__signature__ = _NO_ARGUMENTS  # type: ignore[attr-defined]
    return call


def run(node_class: Callable[[], ArmletNode]) -> None:
    """Main function of a node's executable: spin until SIGINT or SIGTERM, then leave cleanly.

    Exit status 0 after a signal, 1 after a failure; the node is closed in either case.
    """
    logging.basicConfig(level=logging.WARNING)
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    signals = Signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    end_with_supervisor()
    status = 1
    try:
        status = _spin(node_class, signals)
    finally:
        rclpy.try_shutdown()
    sys.exit(status)


def end_with_supervisor() -> None:
    """Have the kernel send SIGTERM when the supervisor that started this process is gone.

    A killed supervisor must not leave an armed arm that nobody watches. Linux only (prctl(2)).
    """
    if os.environ.get(SUPERVISOR_VARIABLE) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.environ[SUPERVISOR_VARIABLE] != str(os.getppid()):
            os.kill(os.getpid(), signal.SIGTERM)


def _spin(node_class: Callable[[], ArmletNode], signals: Signals) -> int:
    try:
        node = node_class()
    except ParameterException as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    signals.action = node.make_safe
    executor = make_executor()
    executor.add_node(node)
    try:
        while not signals.ending.is_set() and node.failure is None:
            executor.spin_once(timeout_sec=SPIN_S)
    except ExternalShutdownException:
        return 0
    finally:
        signals.settle()
        try:
            node.close()
        except NotReady as error:
            node.get_logger().fatal(str(error))
            node.failure = node.failure or error
        node.end_urgent_services()
        node.leave_lockstep()
        executor.shutdown()
        status = 0 if node.failure is None else 1
        if not destroy(node):
            # Nor would the interpreter end: it deletes what the middleware still holds.
            os._exit(status)
    return status


def make_executor(context: Context | None = None) -> Executor:
    """The executor that costs least: a third of SingleThreadedExecutor's time for each message.

    Only its spin_once works in rclpy 9.1: its spin does nothing at full load.
    """
    try:
        from rclpy.experimental import EventsExecutor  # type: ignore[attr-defined]
    except ImportError:  # before Kilted
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)
