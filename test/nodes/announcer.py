"""Nodes of a test's own: a watcher that says the computer does not keep up, another's driver."""

import threading
from contextlib import contextmanager
from functools import partial

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from armlet.nodes.messages import diagnostic
from armlet.nodes.node import LATCHED_QOS
from armlet.nodes.status_names import COMPUTER, status_name

SENTENCE = (
    "this computer does not keep up: servo_bus at 38 of 100 Hz; aligner at 12 of 30 Hz; "
    "aligner waits for a processor 75 % of the time it has work; load 13 on 2 cores"
)


@contextmanager
def other(name, namespace=None):
    """A node of the test's own, spun in a thread."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node(name, context=context, namespace=namespace)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ending = threading.Event()

    def spin():
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield node
    finally:
        ending.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


class OtherDriver:
    """What a driver of somebody else's graph offers to whoever finds it; `asked`: for what."""

    def __init__(self, node):
        self.asked = []
        kinds = {"servo_bus/stop": Trigger, "servo_bus/set_torque": SetBool}
        for name, kind in (kinds | {"teleop/set_engaged": SetBool}).items():
            node.create_service(kind, name, partial(self._serve, name))
        says = node.create_publisher(String, "servo_bus/status", LATCHED_QOS)
        says.publish(String(data="as its own graph has it"))

    def _serve(self, name, request, response):
        self.asked.append(name)
        response.success, response.message = True, "done"
        return response


class Announcer:
    """Publishes what the watcher would, again and again."""

    def __init__(self, node):
        self._publisher = node.create_publisher(DiagnosticStatus, "computer/status", LATCHED_QOS)
        node.create_timer(0.2, self._publish)

    def _publish(self):
        warn = DiagnosticStatus.WARN
        self._publisher.publish(diagnostic(status_name("computer", COMPUTER), warn, SENTENCE, {}))
