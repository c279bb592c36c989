"""What every armlet node is: lifecycle, declared parameters, time, diagnostics, a clean exit."""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import inspect
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions

from armlet.bringup import RESPAWNED_VARIABLE, SUPERVISOR_VARIABLE
from armlet.settings import AT_START, Change, Fixed, Setting
from armlet.settings.catalogue import BUILT_IN, EVERY_NODE
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

_PR_SET_PDEATHSIG = 1

_NO_ARGUMENTS = inspect.Signature()


class SetupError(Exception):
    """A node cannot be configured as its parameters say; trying again will not help."""


class Misfit(ParameterException):
    """A node was started with a value that its declaration does not permit."""

    def __init__(self, text: str):
        Exception.__init__(self, text)


class NotReady(Exception):
    """What a node needs is not there yet; trying again may help."""


class Interrupted(BaseException):
    """The process has been asked to end. No Exception, as no loader may take it for a failure."""


Value = Callable[[str], Any]
"""Gives the value of a parameter by its name."""

SPIN_S = 0.1
STARTING_LOOK_S = 0.01
# What is not ready is said after so long at a start: a bench, or an adapter, may just be coming.
START_GRACE_S = 4.0
EXIT_S = 60
"""A closed node's process ends within a second; one that hangs is ended after so long."""


class ArmletNode(GuardedInbox, InLockstep, LifecycleNode):  # type: ignore[misc]
    """A managed node. Subclasses fill `setup`, `start`, `stop`, `teardown`, `diagnostics`.

    setup (configure) acquires what the node needs: raises NotReady or SetupError. start
    (activate) begins to act, stop (deactivate) ends that, teardown (cleanup, shutdown, error)
    releases everything and must work from any state.

    Attributes:
        clock: the node's time, which follows use_sim_time.
        changing_state: its executor is in a lifecycle transition, and hears nothing meanwhile.
    """

    def __init__(self, name: str, settings: Sequence[Setting]):
        super().__init__(name)
        self.clock = RosClock(self)
        self.failure: BaseException | None = None
        self._active = False
        self._configured = False
        self._is_set_up = False
        self.changing_state = False
        self._interrupted = self._is_interruptible = False
        self._settings: dict[str, Setting] = {}
        self._configured_values: dict[str, Any] = {}
        self._permanent: dict[Any, Any] = {}
        self._urgent: UrgentServices | None = None
        self._repeats = Repeats()
        self.add_on_set_parameters_callback(self._tune)
        self.declare([*EVERY_NODE, *settings])
        if self.value("lockstep") and self.clock.simulated:
            self.join_lockstep(Path(self.value("lockstep")))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATE_QOS)
        self._last_standing: object = None
        self.create_timer(1.0, self._publish_diagnostics)
        self._autostart: Any = None
        self._born_s = time.monotonic()
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
        """Declare parameters, with their ranges and descriptions. ParameterException."""
        for setting in settings:
            given = self._parameter_overrides.get(setting.name)
            # What words and numbers a device takes, it says itself.
            misfit = "" if given is None or setting.words else setting.misfit(_plain(given))
            if misfit:
                raise Misfit(f"parameter {setting.name} {misfit}")
            # One that died must not move an arm, where a person may have reached in by now.
            at_rest = setting.respawned is not None and bool(os.environ.get(RESPAWNED_VARIABLE))
            value = setting.respawned if at_rest else setting.default
            self._configured_values[setting.name] = _plain(
                self.declare_parameter(
                    setting.name, value, _descriptor(setting), ignore_override=at_rest
                )
            )
            self._settings[setting.name] = setting

    def refuse_unknown_parameters(self) -> None:
        """Raise SetupError if something was set that no parameter of this node is named."""
        given = set(self._parameter_overrides) - set(BUILT_IN)
        unknown = sorted(
            name for name in given - set(self._settings) if not name.startswith("qos_overrides.")
        )
        if unknown:
            known = sorted(self._settings)
            renamed = {each.formerly: name for name, each in self._settings.items()}
            raise SetupError(
                f"unknown parameters {unknown} for /{self.label}; "
                f"{did_you_mean(unknown, known, renamed)}it has {known}"
            )

    # --- parameters that change while the node runs -----------------------------------------

    def tune(self, value: Value, changed: Collection[str]) -> None:
        """Apply what changes while the node is configured.

        value: parameters as they are to be. Raises ValueError to refuse it: nothing may have
        changed then. Parameters whose `value` is asked for at each use need nothing here.
        """

    def set_parameters_atomically(
        self, parameter_list: list[Parameter[Any]]
    ) -> SetParametersResult:
        """As rclpy's, judged by the declarations first: all are changed, or none."""
        for parameter in parameter_list:
            if refusal := self._refuses(parameter):
                return SetParametersResult(successful=False, reason=refusal)
        return super().set_parameters_atomically(parameter_list)

    def _refuses(self, parameter: Parameter[Any]) -> str:
        name = parameter.name
        setting = self._settings.get(name)
        if setting is not None:
            configured = self._configured_values
            common = configured[setting.common] if setting.common else 0.0
            return setting.refusal(_plain(parameter), configured[name], common)
        if self.has_parameter(name):  # rclpy's own: the clock's, QoS
            return f"read-only: {AT_START.why}"
        known = sorted(self._settings)
        return f"/{self.label} has no parameter {name}; {did_you_mean([name], known)}".rstrip("; ")

    def _tune(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """What rclpy calls between judging values and storing them, also at a declaration."""
        wanted = {each.name: _plain(each) for each in parameters if each.name in self._settings}
        changed = {name: to for name, to in wanted.items() if to != self.value(name)}
        if changed and self._is_set_up:
            try:
                self.tune(
                    lambda name: wanted[name] if name in wanted else self.value(name), changed
                )
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
        for name, to in changed.items():
            self.get_logger().info(f"parameter {name}: {self.value(name)} -> {to}")
        return SetParametersResult(successful=True)

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

    def hear_urgently(
        self, kind: Any, topic: str, callback: Callable[[Any], None], **given: Any
    ) -> None:
        """Subscribe to a topic in the threads that serve urgent services, which there must be."""
        assert self._urgent is not None
        self._urgent.hear(kind, topic, callback, **given)

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
        """The process has been asked to end: what must not wait for that. In another thread."""

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """What a signal breaks off at once, between two steps of its Python, by Interrupted.

        Of the main thread, and of `setup`: configuring then fails without a word. Also where a
        library catches it, or makes an error of its own of it: what follows is not begun.
        """
        if self._interrupted:
            raise Interrupted
        self._is_interruptible = True
        try:
            yield
        except Exception:
            if not self._interrupted:
                raise
        finally:
            self._is_interruptible = False
        if self._interrupted:
            raise Interrupted

    def interrupt(self) -> None:
        """A signal has come; in the main thread. Raises Interrupted in what is interruptible."""
        self._interrupted = True
        if self._is_interruptible:
            self._is_interruptible = False  # a second signal lets it clean up
            raise Interrupted

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

    def say_past_the_middleware(self, text: str) -> None:
        """Log to stderr only: rclpy would publish it as well, and might wait for ever."""
        line = f"[FATAL] [{time.time():.9f}] [{self.get_logger().name}]: {text}\n"
        os.write(sys.stderr.fileno(), line.encode())

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
        self._is_set_up = True

    def _release(self) -> None:
        """Teardown, and an end to what setup published, subscribed and served."""
        self._is_set_up = False
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
        self.changing_state = True
        try:
            action()
        except Interrupted:
            return TransitionCallbackReturn.FAILURE
        except NotReady as error:
            # At a start the parts of a graph come up in any order; that is no trouble yet.
            if self._autostart is None or time.monotonic() - self._born_s > START_GRACE_S:
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
        finally:
            self.changing_state = False
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

    def report_change(self, standing: object) -> None:
        """Publish the diagnostics at once, between two seconds, where how things stand is news."""
        if standing != self._last_standing:
            self._last_standing = standing
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        status = self.diagnostics()
        dropped = self.inbox_status(self.label)
        if dropped is not None:
            status = [*status, dropped]
        if status:
            message = DiagnosticArray(status=status)
            message.header.stamp = to_time(self.now_ns())
            self._diagnostics.publish(message)


def _plain(parameter: Parameter[Any]) -> Any:
    """A parameter's value without rclpy's array types."""
    value = parameter.value
    return list(value) if isinstance(value, (list, tuple, array.array)) else value


def _descriptor(setting: Setting) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=setting.description,
        read_only=bool(setting.why_fixed),
        dynamic_typing=bool(setting.words),
        additional_constraints=_constraints(setting),
    )
    if setting.low is None or setting.high is None:
        return descriptor
    if isinstance(setting.default, int):
        limits = IntegerRange(from_value=int(setting.low), to_value=int(setting.high))
        descriptor.integer_range = [limits]
    else:
        low = 0.0 if setting.common else float(setting.low)
        span = FloatingPointRange(from_value=low, to_value=float(setting.high))
        descriptor.floating_point_range = [span]
    return descriptor


def _constraints(setting: Setting) -> str:
    if isinstance(setting.change, Fixed):
        return f"read-only: {setting.change.why}"
    return "" if setting.change is Change.FREE else f"can be changed {setting.change.value}"


def _without_arguments(callback: Callable[[], None]) -> Callable[[], None]:
    """A timer's callback whose signature is known; EventsExecutor asks for it at every call."""

    def call() -> None:
        callback()

    call.__signature__ = _NO_ARGUMENTS  # type: ignore[attr-defined]
    return call


def run(node_class: Callable[[], ArmletNode]) -> None:
    """Main function of a node's executable: spin until SIGINT or SIGTERM, then leave cleanly.

    Ends the process: status 0 after a signal, 1 after a failure; the node is closed in either case.
    """
    logging.basicConfig(level=logging.WARNING)
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    signals = Signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    end_with_supervisor()
    status = 1
    try:
        status = _spin(node_class, signals)
    finally:
        # What is left may wait for ever, on the middleware: then the kernel ends the process.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(EXIT_S)
        rclpy.try_shutdown()
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process as it is. To take PyTorch apart takes the interpreter up to two seconds."""
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # none where the shell closed it
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    # What C wrote to a pipe, such as ROS's own lines by RCUTILS_LOGGING_USE_STDOUT.
    ctypes.CDLL(None).fflush(None)
    os._exit(status)


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
    except (ParameterException, SetupError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    signals.action = node.make_safe
    signals.interrupt = node.interrupt
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
