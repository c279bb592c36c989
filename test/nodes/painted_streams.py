"""A foreign ROS node with an arm's joints and a camera, either of which may fail.

Every picture bears its number, and what was published by which stamp is kept: of its own camera,
and, by listening, of another's. So a dataset's rows can be held against what really was sent.
"""

import threading
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState

from armlet.camera import jpeg, read_counter
from armlet.camera.pattern import paint
from armlet.datasets.format import layout
from armlet.nodes.messages import joint_state, to_ns
from armlet.nodes.node import RECORDING_QOS, STATE_QOS
from armlet.nodes.pictures import compressed_image, rgb
from armlet.nodes.teardown import destroy
from armlet.robots import SO101_JOINTS

SIZE = (128, 96)
FPS = 30
# By the wall clock, and only so that a broken test ends.
GUARD_S = 120.0
SWING_NS = 6_000_000_000
# The two cameras' pictures are never taken for each other's.
FIRST = 1_000_000


def joints_at(stamp_ns):
    """Where the arm is at a time, radians: known to everybody. It never jumps."""
    phase = stamp_ns % SWING_NS / SWING_NS
    return np.full(len(SO101_JOINTS), 0.4 * np.sin(2 * np.pi * phase))


class PaintedStreams:
    """`wrist` and the joints, published from a thread; `front` is listened to.

    Faults: `silent` names streams that are not published; `frozen` repeats the wrist's picture;
    `mangle` changes its bytes; `off_ns` shifts the wrist's stamps.
    `sent` counts the wrist's pictures, those too that were held back.
    """

    def __init__(self):
        self.silent = set()
        self.frozen = False
        self.mangle = lambda data: data
        self.off_ns = 0
        self.sent = 0
        self.numbers = {"front": {}, "wrist": {}}
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("painted_streams", context=self._context)
        self._joints = {
            "state": self._node.create_publisher(JointState, "joint_states", STATE_QOS),
            "action": self._node.create_publisher(JointState, "applied_joint_commands", STATE_QOS),
        }
        topic = "image_raw/compressed"
        self._pictures = self._node.create_publisher(CompressedImage, f"wrist/{topic}", STATE_QOS)
        self._node.create_subscription(
            CompressedImage, f"front/{topic}", self._on_front, RECORDING_QOS
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._listen, self._move, self._film)
        ]
        for thread in self._threads:
            thread.start()

    def close(self):
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        destroy(self._node)
        rclpy.shutdown(context=self._context)

    def fix(self):
        """No faults any more."""
        self.silent, self.frozen, self.off_ns = set(), False, 0
        self.mangle = lambda data: data

    def _listen(self):
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_front(self, message):
        self.numbers["front"][to_ns(message.header.stamp)] = read_counter(rgb(message))

    def _move(self):
        for _ in self._ticks(100):
            now_ns = time.time_ns()
            for name, publisher in self._joints.items():
                if name not in self.silent:
                    publisher.publish(joint_state(SO101_JOINTS, now_ns, joints_at(now_ns)))

    def _film(self):
        number = FIRST
        for _ in self._ticks(FPS):
            number += not self.frozen
            stamp_ns = time.time_ns() + self.off_ns
            data = self.mangle(jpeg.encode(paint(*SIZE, number)))
            if "wrist" not in self.silent:
                self.numbers["wrist"][stamp_ns] = number
                self._pictures.publish(compressed_image(data, stamp_ns, "wrist"))
            self.sent += 1

    def _ticks(self, rate_hz):
        due, period_s = time.monotonic(), 1 / rate_hz
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            # No burst makes up for a pause: what is stamped now is of now.
            due = max(due + period_s, time.monotonic() - period_s)
            yield

    def falsified(self, dataset, episode):
        """What is wrong with an episode's rows, in words: pictures, repeats, joints."""
        rows = dataset.episode(episode)
        streams = [stream.name for stream in dataset.contract.alignment]
        skew_s = np.asarray(rows.columns[layout.SKEW], np.float64)
        found = []
        for camera, sent in self.numbers.items():
            source_ns = rows.stamp_ns + np.round(1e9 * skew_s[:, streams.index(camera)]).astype(int)
            self._wait_for(camera, int(source_ns.max()))
            found += self._pictures_of(dataset, episode, camera, source_ns, sent)
        for name, column in (("state", rows.state), ("action", rows.action)):
            due = np.degrees([joints_at(stamp)[0] for stamp in rows.stamp_ns.tolist()])
            off = np.abs(column[:, 0] - due)
            if off.max() > 0.05:
                found.append(f"{name} is off by up to {off.max():.3f} degrees")
        return found

    def _wait_for(self, camera, stamp_ns):
        """Until a picture that the dataset has was heard here, too."""
        until = time.monotonic() + GUARD_S
        while max(tuple(self.numbers[camera]), default=0) < stamp_ns - 1000:
            assert time.monotonic() < until, f"{camera}: nothing was sent at {stamp_ns}"
            time.sleep(0.01)

    @staticmethod
    def _pictures_of(dataset, episode, camera, source_ns, sent):
        damaged = set(dataset.damaged(episode).get(camera, []))
        stamps = np.array(sorted(sent))
        shown, found = [], []
        for row, (picture, source) in enumerate(
            zip(dataset.images(episode, camera), source_ns, strict=True)
        ):
            stamp = stamps[np.abs(stamps - source).argmin()]
            due = sent[int(stamp)]
            shown.append(due)
            if abs(stamp - source) > 1000:
                found.append(f"{camera} row {row}: nothing was sent at {source}")
            elif row not in damaged and read_counter(picture) != due:
                found.append(f"{camera} row {row} shows {read_counter(picture)}, sent {due}")
        repeats = int((np.diff(shown) == 0).sum())
        account = dataset.ledger(episode).get(camera, {})
        counted = account.get("repeated", 0) + account.get("reused", 0)
        if repeats > counted:
            found.append(f"{camera}: {repeats} rows repeat a picture, the ledger counts {counted}")
        return found
