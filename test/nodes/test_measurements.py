"""What a program saw on the topics: waiting for it holds nobody up."""

import threading
from types import SimpleNamespace

from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from armlet.client.graph import Director
from armlet.client.measurements import Measurements
from armlet.robots import SO101_JOINTS

GUARD_S = 180


def joints():
    return JointState(name=list(SO101_JOINTS), position=[0.0] * len(SO101_JOINTS))


def test_a_condition_may_wait_for_what_the_measurements_thread_does():
    """As a service called in it does: the answer came only after the time of the wait was over."""
    seen, taken = Measurements(), threading.Event()

    def other():
        seen.joints("joint_states", 1, joints())
        taken.set()

    def ready():
        threading.Thread(target=other, daemon=True).start()
        return taken.wait(GUARD_S)

    assert seen.wait_until(ready, GUARD_S)


def test_a_wait_ends_in_its_time_however_much_comes():
    seen = Measurements()

    def ready():
        seen.joints("joint_states", 1, joints())
        return False

    assert not seen.wait_until(ready, 0.01)
    assert seen.count("joint_states") > 0


def test_a_span_in_which_nothing_came_has_no_rows():
    """They could not be shaped."""
    times_s, rows = Measurements().joint_rows("joint_states", 0, 1)
    assert times_s.shape == (0,)
    assert rows.shape == (0, len(SO101_JOINTS))


def test_what_changes_nothing_the_second_time_is_asked_for_again():
    """An arming whose answer DDS had lost was waited for in vain."""
    answers = [None, SetBool.Response(success=True, message="armed")]
    client = SimpleNamespace(wait_for_service=lambda timeout_s: True)
    asked = SimpleNamespace(answer=lambda *_: answers.pop(0))
    director = Director.__new__(Director)
    director._client, director._spinning = lambda *_: client, asked
    assert director.set("servo_bus/set_torque", True) == "armed" and not answers
