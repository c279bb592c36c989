"""An aligner's frames without an aligner: for a recorder or a policy beside it, by any clock."""

import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float64MultiArray, String

from armlet.camera import jpeg
from armlet.contract import Camera, Contract, Stream
from armlet.nodes.messages import joint_state, skew_message
from armlet.nodes.node import LATCHED_QOS, RECORDING_QOS
from armlet.nodes.pictures import compressed_image
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS
from armlet.robots.joints import feature_names, joint_names

ERROR = 2
RADIANS = np.array([0.1, 0.2, -0.3, 0.4, -0.5, 0.3])
# Small angles: the aligner lets through what some joint of some arm might mean.
DEGREES = np.array([6.0, -5.0, 7.0, -4.5, 6.5, 0.0])
# How far the robot's clock is ahead, how late frames are, s, and what is said of it.
CLOCKS = {
    "behind": (1.0, 0.0, "from the future on arrival"),
    "ahead": (-1.0, 0.0, "clock of this computer is ahead of the robot's by about that"),
    "late": (0.0, 1.0, "the aligner is behind"),
}


def contract(joints=SO101_JOINTS, cameras=("front",)):
    """Small frames at 30 Hz."""
    names = feature_names(tuple(joints))
    return Contract(
        fps=30,
        cameras=tuple(Camera(name, 48, 64) for name in cameras),
        state_names=names,
        action_names=names,
        alignment=tuple(Stream(n, "linear", 0.05) for n in ("state", "action", *cameras)),
    )


class PublishedFrames:
    """Frames of a contract whose cameras are JPEG, at its rate, until closed.

    robot_s: by how much the robot's clock is ahead of this computer's. late_s: how old frames are
    when they are sent. radians: the positions of every frame. `heard` is what /diagnostics said:
    (name, level, message).
    """

    def __init__(self, contract, radians, robot_s=0.0, late_s=0.0):
        self.contract, self.radians = contract, np.asarray(radians, np.float64)
        self.robot_s, self.late_s = robot_s, late_s
        self.heard = []
        self._changed = threading.Condition()
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("published_frames", context=self._context)
        publish, qos = self._node.create_publisher, RECORDING_QOS
        self._contract = publish(String, "observation/contract", LATCHED_QOS)
        self._state = publish(JointState, "observation/state", qos)
        self._action = publish(JointState, "action", qos)
        self._skews = {
            "state": publish(Float64MultiArray, "observation/skew", qos),
            "action": publish(Float64MultiArray, "action/skew", qos),
        }
        self._images = {
            camera.name: publish(
                CompressedImage, f"observation/images/{camera.name}/compressed", qos
            )
            for camera in contract.cameras
        }
        noise = np.random.default_rng(0)
        self._jpegs = {
            camera.name: jpeg.encode(
                noise.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
            )
            for camera in contract.cameras
        }
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 50)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._spin, self._send)]
        for thread in self._threads:
            thread.start()
        self.announce(contract)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        destroy(self._node)
        rclpy.shutdown(context=self._context)

    def announce(self, contract):
        self._contract.publish(String(data=contract.canonical()))

    def forget(self):
        """What was heard before no longer counts."""
        with self._changed:
            self.heard.clear()

    def wait(self, name, *texts, timeout_s=180.0):
        """The level at which a status said some texts, at last."""

        def found():
            return [
                level
                for n, level, said in self.heard
                if n == name and all(t in said for t in texts)
            ]

        with self._changed:
            assert self._changed.wait_for(found, timeout_s), self.heard[-5:]
            return found()[-1]

    def _spin(self):
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _hear(self, message):
        with self._changed:
            self.heard += [
                (status.name, int.from_bytes(status.level, "little"), status.message)
                for status in message.status
            ]
            self._changed.notify_all()

    def _send(self):
        fps = self.contract.fps
        index = time.time_ns() * fps // 10**9
        while not self._ending.wait(max(0.0, (index + 1) / fps - time.time())):
            index += 1
            # Whole frames, so that the stamps stay on the grid.
            off = round((self.robot_s - self.late_s) * fps)
            stamp_ns = round((index + off) * 10**9 / fps)
            self._publish(stamp_ns, time.time_ns() + round(self.robot_s * 1e9))

    def _publish(self, stamp_ns, sent_ns):
        for publisher, names in (
            (self._state, self.contract.state_names),
            (self._action, self.contract.action_names),
        ):
            publisher.publish(joint_state(joint_names(names), stamp_ns, self.radians))
        for name, publisher in self._images.items():
            publisher.publish(compressed_image(self._jpegs[name], stamp_ns, name))
        cameras = dict.fromkeys(self._images, 0.0)
        for name, skew in (("state", {"state": 0.0, **cameras}), ("action", {"action": 0.0})):
            self._skews[name].publish(skew_message(stamp_ns, skew, {}, sent_ns))
