"""What `ros2 bag play --clock` does, for tests: recorded messages and /clock, at recorded times."""

import threading

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock

from armlet.nodes.stamps import to_time

# As ros2 bag's: 40 times a second, of which a subscriber may lose any.
CLOCK_STEP_NS = 25_000_000
CLOCK_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
QOS = QoSProfile(depth=500)


class BagPlayer:
    """Plays a bag on a node, up to a time and then on; may be paused in between.

    kinds: message class by topic; other topics are not played. wait: is called with each new time,
    ns, and returns once the next step may come; it is what makes this independent of how fast a
    computer is. ros2 bag's player waits by the wall clock.
    """

    def __init__(self, path, node, kinds, wait):
        with Reader(path) as reader:
            self._messages = [
                (at_ns, connection.topic, bytes(content))
                for connection, at_ns, content in reader.messages()
                if connection.topic in kinds
            ]
        self._next = 0
        self._wait = wait
        self.now_ns = self.start_ns = self._messages[0][0]
        self.end_ns = self._messages[-1][0]
        self.publishers = {
            topic: node.create_publisher(kind, topic, QOS) for topic, kind in kinds.items()
        }
        # The last one, so whoever hears it has found the others.
        self._clock = node.create_publisher(Clock, "/clock", CLOCK_QOS)

    def stand_until(self, ready, guard_s=240.0, said=str):
        """Publish the time at which it is paused until something is so.

        said: what explains a failure.
        """
        for _ in range(round(guard_s / 0.025)):
            self._publish_clock()
            if ready():
                return
            threading.Event().wait(0.025)
        raise AssertionError(f"the paused player waited in vain; {said()}")

    def play(self, until_ns):
        """Publish what was recorded up to a time, and /clock in steps; pause there."""
        while self.now_ns < until_ns:
            self.now_ns = min(self.now_ns + CLOCK_STEP_NS, until_ns)
            self._publish_messages()
            self._publish_clock()
            self._wait(self.now_ns)

    def _publish_messages(self):
        while self._next < len(self._messages) and self._messages[self._next][0] <= self.now_ns:
            _, topic, content = self._messages[self._next]
            self.publishers[topic].publish(content)
            self._next += 1

    def _publish_clock(self):
        self._clock.publish(serialize_message(Clock(clock=to_time(self.now_ns))))
