"""The camera node over real rclpy: with files, with patterns, and with a camera that can break."""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

import av
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_processes import running
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

import armlet.camera.watch
import armlet.nodes.camera
from armlet.bringup import NodeSpec
from armlet.camera import V4l2Device, jpeg, read_counter
from armlet.camera.pattern import paint
from armlet.nodes.camera import READ_TIMEOUT_S, CameraNode
from armlet.nodes.camera_publisher import CameraPublisher
from armlet.nodes.messages import to_ns
from armlet.nodes.pictures import rgb
from armlet.nodes.teardown import destroy

sys.path.insert(0, str(Path(__file__).parents[1] / "camera"))
from fake_camera import EXPOSURE, EXPOSURE_AUTO, GAIN, FakeKernel, Plug

# A camera delivers, stalls and is looked for by the computer's own time.
pytestmark = pytest.mark.wall_clock(seconds=2)

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
# By the wall clock, and only so that a broken test ends.
TIMEOUT_S = 180.0
DIAGNOSTICS_S = 0.1


class Bench:
    """A camera node and a listener in this process, spun while something is awaited."""

    def __init__(self, node):
        self.node = node
        self.listener = Node("listener")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(node)
        self.executor.add_node(self.listener)
        self.pictures, self.raw, self.infos = [], [], []
        self.statuses = {}
        self.listener.create_subscription(DiagnosticArray, "/diagnostics", self._status, 10)
        # More often than once a second, so that nothing is waited for in vain.
        node.create_timer(DIAGNOSTICS_S, node._publish_diagnostics)

    def _status(self, message):
        for status in message.status:
            self.statuses[status.name.rpartition(": ")[2]] = status

    def listen(self, raw=False, compressed=False, info=False):
        wanted = (
            (raw, Image, "image_raw", self.raw),
            (compressed, CompressedImage, "image_raw/compressed", self.pictures),
            (info, CameraInfo, "camera_info", self.infos),
        )
        for yes, kind, topic, into in wanted:
            if yes:
                self.listener.create_subscription(kind, topic, into.append, 10)

    def wait(self, ready, what="what is awaited"):
        until = time.monotonic() + TIMEOUT_S
        while not ready():
            assert time.monotonic() < until, f"{what} never came; said: {self.said()}"
            assert self.node.failure is None, self.node.failure
            self.executor.spin_once(timeout_sec=0.05)

    def wait_for_status(self, text, level, name="pictures"):
        def there():
            status = self.statuses.get(name)
            return status is not None and text in status.message and status.level == level

        self.wait(there, f"{name} saying {text!r}")
        return self.statuses[name]

    def values(self, name="pictures"):
        return {item.key: item.value for item in self.statuses[name].values}

    def said(self):
        return {name: status.message for name, status in self.statuses.items()}

    def close(self):
        self.node.close()
        self.executor.shutdown()
        destroy(self.node)
        destroy(self.listener)


@contextmanager
def camera(source_of=None, v4l2=None, read_timeout_s=TIMEOUT_S, **parameters):
    """A node that takes no slow computer for a slow or a silent camera, unless it is told to."""
    parameters = {
        "width": 128,
        "height": 96,
        "source": "pattern",
        "slow_share": 0.0,
        **parameters,
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", *arguments])
    parts = {"source_of": source_of, "v4l2": v4l2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(armlet.nodes.camera, "READ_TIMEOUT_S", read_timeout_s)
        # What was refused is told for longer than a test may stand still.
        patch.setattr(armlet.camera.watch, "_TELL_S", 10 * TIMEOUT_S)
        bench = Bench(CameraNode(**{name: part for name, part in parts.items() if part}))
        try:
            yield bench
        finally:
            bench.close()
            rclpy.shutdown()


@contextmanager
def plugged(plug=None, kernel=None, **parameters):
    """A node on a device that can break."""
    plug, kernel = plug or Plug(), kernel or FakeKernel()
    device = {"source": "/dev/video0", **parameters}
    with camera(
        plug.source_of, lambda path: V4l2Device("/dev/null", kernel.ioctl), **device
    ) as bench:
        yield plug, bench


def afflict(plug, **trouble):
    """A fault of the camera that opening it again does not repair."""
    plug.trouble = trouble
    vars(plug.capture).update(trouble)


def repair(plug):
    """It is right from the next picture on, also where it is just being opened again."""
    healthy = {"number": None, "mangle": lambda data: data}
    plug.trouble = healthy
    for capture in list(plug.captures):
        vars(capture).update(healthy)


def test_a_cameras_bytes_go_out_as_they_came_and_are_never_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(jpeg, "decode", lambda data: decoded.append(data))
    with plugged() as (_, bench):
        bench.listen(compressed=True)
        bench.wait(lambda: len(bench.pictures) >= 10)
        bench.wait_for_status("streaming", OK)
        bench.wait(lambda: int(bench.values()["published"]) >= 10)
        assert (bench.values()["decoded"], bench.values()["encoded"]) == ("0", "0")
    assert decoded == []
    monkeypatch.undo()
    for picture in bench.pictures:
        original = jpeg.encode(paint(128, 96, read_counter(rgb(picture))))
        assert picture.data.tobytes() == original
    assert all(picture.format == "jpeg" for picture in bench.pictures)


def test_each_picture_is_decoded_once_for_all_who_want_it_raw():
    real, decoded = jpeg.decode, []

    def counting(data):
        decoded.append(bytes(data))
        return real(data)

    with pytest.MonkeyPatch.context() as patch, plugged() as (_, bench):
        patch.setattr(jpeg, "decode", counting)
        for _ in range(2):
            bench.listen(raw=True, compressed=True)
        bench.wait(lambda: len(bench.raw) >= 20 and len(bench.pictures) >= 20)
    assert len(decoded) == len(set(decoded))
    counters = {to_ns(picture.header.stamp): read_counter(rgb(picture)) for picture in bench.raw}
    assert len(counters) >= 10
    for picture in bench.pictures:
        stamp_ns = to_ns(picture.header.stamp)
        assert counters.get(stamp_ns) in (None, read_counter(rgb(picture)))


def test_without_a_calibration_k_is_all_zero():
    def both(bench):
        stamps = {to_ns(picture.header.stamp) for picture in bench.pictures}
        return stamps & {to_ns(info.header.stamp) for info in bench.infos}

    with camera() as bench:
        bench.listen(info=True, compressed=True)
        bench.wait(lambda: both(bench), "a picture and its info, by one stamp")
    info = bench.infos[-1]
    assert (info.width, info.height) == (128, 96)
    assert not any(info.k)
    assert info.header.frame_id == "camera_optical_frame"


def test_a_calibration_file_becomes_camera_info(tmp_path):
    file = tmp_path / "camera.yaml"
    file.write_text(
        "{image_width: 128, image_height: 96, distortion_model: plumb_bob, "
        "camera_matrix: {rows: 3, cols: 3, data: [120.5, 0, 64, 0, 121, 48, 0, 0, 1]}, "
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0.2, 0, 0, 0]}}"
    )
    with camera(camera_info_file=file) as bench:
        bench.listen(info=True)
        bench.wait(lambda: len(bench.infos) > 2)
    info = bench.infos[0]
    assert list(info.k) == [120.5, 0, 64, 0, 121, 48, 0, 0, 1]
    assert list(info.d) == [0.1, 0.2, 0, 0, 0]
    assert info.distortion_model == "plumb_bob"
    assert list(info.p) == [120.5, 0, 64, 0, 0, 121, 48, 0, 0, 0, 1, 0]


def test_a_frozen_camera_is_an_error_and_is_opened_again():
    with plugged(frozen_s=0.5) as (plug, bench):
        bench.wait_for_status("streaming", OK)
        afflict(plug, number=7)
        status = bench.wait_for_status("frozen: the same picture", ERROR)
        assert status.hardware_id == "/dev/video0"
        bench.wait(lambda: len(plug.captures) >= 2, "reopening")
        assert plug.captures[0].released.is_set()
        repair(plug)
        bench.wait_for_status("streaming", OK)
        assert int(bench.values()["duplicates"]) >= 5
        assert int(bench.values()["lost"]) >= 1


def test_a_camera_that_stays_frozen_is_reported_as_such_and_not_reopened_if_so_asked():
    with plugged(frozen_s=0.5, reopen_frozen=False) as (plug, bench):
        bench.wait_for_status("streaming", OK)
        plug.capture.number = 7
        bench.wait_for_status("frozen: the same picture, byte for byte", ERROR)
        assert len(plug.captures) == 1


def test_a_camera_still_frozen_after_reopening_has_not_recovered():
    plug = Plug()
    plug.trouble = {"number": 7}
    with plugged(plug, frozen_s=0.5) as (_, bench):
        bench.wait(lambda: len(plug.captures) >= 3, "the second reopening")
        # The pause between reopenings doubles: a lens cap must not make the camera blink all day.
        assert [capture.released.is_set() for capture in plug.captures[:2]] == [True, True]
        bench.wait_for_status("frozen: the same picture", ERROR)
        count = int(bench.values()["published"])
        bench.wait(lambda: int(bench.values()["published"]) > count)
        assert bench.statuses["pictures"].level == ERROR


def test_a_slow_camera_is_a_warning_with_figures():
    # Far apart, so that a computer that does not keep up is on the right side of it.
    with plugged(slow_share=0.1) as (plug, bench):
        bench.wait_for_status("streaming", OK)
        plug.capture.rate = 1
        status = bench.wait_for_status("slow: ", WARN)
        assert "pictures/s instead of 30" in status.message
        plug.capture.rate = 30
        bench.wait_for_status("streaming", OK)


def test_half_written_pictures_are_dropped_counted_and_reported():
    with plugged() as (plug, bench):
        bench.listen(compressed=True, raw=True)
        bench.wait(lambda: len(bench.pictures) > 5)
        afflict(plug, mangle=lambda data: data[: len(data) // 2])
        bench.wait_for_status("torn picture", ERROR)
        bench.wait(lambda: len(plug.captures) >= 2, "reopening")
        bench.wait(lambda: int(bench.values()["torn"]) > 5, "the count")
        repair(plug)
        bench.wait_for_status("torn picture", WARN)
    assert all(jpeg.is_whole(picture.data.tobytes()) for picture in bench.pictures)


def test_a_picture_torn_inside_is_dropped_when_it_is_decoded():
    def gapped(data):
        return data[:170] + bytes(len(data) - 172) + data[-2:]

    with plugged() as (plug, bench):
        bench.listen(raw=True)
        bench.wait(lambda: len(bench.raw) > 2)
        plug.capture.mangle = gapped
        bench.wait_for_status("torn", WARN)
        plug.capture.mangle = lambda data: data
        count = len(bench.raw)
        bench.wait(lambda: len(bench.raw) > count + 3)
        assert len(plug.captures) == 1


def test_pictures_of_another_size_are_dropped_and_reported():
    with plugged() as (plug, bench):
        bench.wait_for_status("streaming", OK)
        afflict(plug, mangle=lambda data: jpeg.encode(paint(64, 64, 1)))
        status = bench.wait_for_status("picture of 64x64, 128x96 was requested", ERROR)
        assert "wrong size" in status.message
        bench.wait(lambda: len(plug.captures) >= 2, "reopening")
        bench.wait(lambda: int(bench.values()["wrong_size"]) > 5)


def test_a_camera_that_falls_silent_is_reported_and_goes_on(monkeypatch):
    with plugged(read_timeout_s=READ_TIMEOUT_S) as (plug, bench):
        bench.wait(lambda: "streaming" in bench.said().get("pictures", ""))
        plug.capture.rate = None
        bench.wait_for_status("gave no picture within 1.000 s", ERROR)
        monkeypatch.setattr(armlet.nodes.camera, "READ_TIMEOUT_S", TIMEOUT_S)
        plug.capture.rate = 30
        plug.capture.give(2)
        bench.wait_for_status("streaming", OK)
        assert len(plug.captures) == 1


def test_a_camera_pulled_out_comes_back_under_another_number():
    with plugged() as (plug, bench):
        bench.listen(compressed=True)
        bench.wait(lambda: len(bench.pictures) > 5)
        plug.pull()
        bench.wait_for_status("Arm Cam (serial S1) is not plugged in", ERROR)
        bench.pictures.clear()
        plug.put_back(2)
        bench.wait(lambda: len(bench.pictures) > 0)
        status = bench.wait_for_status("streaming", OK)
        assert status.hardware_id == "/dev/video2"
        assert plug.opened == ["/dev/video0", "/dev/video2"]


def test_a_lasting_path_is_recommended(capfd):
    link = "/dev/v4l/by-id/usb-Arm_Cam_S1-video-index0"
    with plugged(Plug(links=[link])) as (_, bench):
        bench.wait_for_status("streaming", OK)
    assert f"source /dev/video0 is Arm Cam; give {link} instead" in capfd.readouterr().err


def test_a_camera_that_gives_no_time_is_reported():
    plug = Plug()
    plug.trouble = {"stamp_ms": lambda: 0.0}
    with plugged(plug) as (_, bench):
        bench.wait_for_status("the driver gives no time", WARN)


def test_automatic_controls_are_a_warning():
    with plugged() as (_, bench):
        status = bench.wait_for_status(
            "automatic: exposure, white_balance_k, focus", WARN, "controls"
        )
        assert "lock_auto" in status.message


@pytest.mark.thorough
def test_controls_are_locked_by_parameter_and_again_after_an_unplug():
    kernel = FakeKernel()
    wishes = {"exposure": 156, "white_balance_k": 4600, "focus": 30}
    with plugged(kernel=kernel, **wishes) as (plug, bench):
        bench.wait_for_status("locked: exposure 156, white_balance_k 4600", OK, "controls")
        bench.wait_for_status("streaming", OK)
        plug.pull()
        bench.wait_for_status("not plugged in", ERROR)
        kernel.knobs[EXPOSURE_AUTO].value, kernel.knobs[EXPOSURE].value = 3, 999
        plug.put_back(1)
        bench.wait_for_status("streaming", OK)
        assert (kernel.knobs[EXPOSURE_AUTO].value, kernel.knobs[EXPOSURE].value) == (1, 156)


def change(bench, **values):
    """Ask for other parameters over DDS; the answer."""
    client = bench.listener.create_client(
        SetParametersAtomically, "camera/set_parameters_atomically"
    )
    bench.wait(client.service_is_ready, "the service")
    parameters = [Parameter(name, value=to).to_parameter_msg() for name, to in values.items()]
    future = client.call_async(SetParametersAtomically.Request(parameters=parameters))
    bench.wait(future.done, "an answer")
    return future.result().result


def test_controls_change_on_the_device_while_it_streams_and_stay_after_an_unplug():
    kernel = FakeKernel()
    with plugged(kernel=kernel) as (plug, bench):
        bench.wait_for_status("streaming", OK)
        assert change(bench, exposure=156, gain=9).successful
        assert (kernel.knobs[EXPOSURE_AUTO].value, kernel.knobs[EXPOSURE].value) == (1, 156)
        for values, reason in (
            ({"gain": 20, "exposure": 5000}, "takes exposure from 3 to 2047"),
            ({"exposure": "bright"}, "exposure must be a whole number"),
            ({"width": 640}, "read-only: the camera is opened with it"),
            ({"jpeg_quality": 0}, "jpeg_quality must be 1 to 100, found 0"),
        ):
            answer = change(bench, **values)
            assert not answer.successful
            assert reason in answer.reason
        assert kernel.knobs[GAIN].value == 9, "all of a change, or nothing"
        assert kernel.knobs[EXPOSURE].value == 156
        plug.pull()
        bench.wait_for_status("not plugged in", ERROR)
        assert "the camera is not open" in change(bench, exposure=200).reason
        kernel.knobs[EXPOSURE].value = 999
        plug.put_back(1)
        bench.wait_for_status("streaming", OK)
        assert kernel.knobs[EXPOSURE].value == 156
        assert change(bench, exposure="auto").successful
        assert kernel.knobs[EXPOSURE_AUTO].value == 3


def test_what_is_automatic_settles_and_is_held():
    plug, kernel, begun_s = Plug(rate=None), FakeKernel(), time.monotonic()
    with plugged(plug, kernel, lock_auto=True, settle_s=1.5) as (_, bench):
        # Without a picture nothing settles, however long it takes to see that.
        bench.wait_for_status("settling: exposure", WARN, "controls")
        kernel.knobs[EXPOSURE].value = 321
        plug.capture.rate = 30
        plug.capture.give(1)
        bench.wait_for_status("locked: exposure 321", OK, "controls")
    assert time.monotonic() - begun_s > 1.5
    assert kernel.knobs[EXPOSURE_AUTO].value == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"exposure": 5000}, "takes exposure from 3 to 2047"),
        ({"exposure": "bright"}, "exposure must be a whole number"),
        (
            {"source": "pattern", "focus": 3},
            "focus set, but source 'pattern' is not a camera device",
        ),
    ],
)
def test_controls_that_cannot_be_set_end_the_node(parameters, message):
    plug, kernel = Plug(), FakeKernel()
    with camera(
        None if parameters.get("source") else plug.source_of,
        lambda path: V4l2Device("/dev/null", kernel.ioctl),
        **{"source": "/dev/video0", **parameters},
    ) as bench:
        until = time.monotonic() + TIMEOUT_S
        while bench.node.failure is None and time.monotonic() < until:
            bench.executor.spin_once(timeout_sec=0.05)
        assert message in str(bench.node.failure)
    assert all(capture.released.is_set() for capture in plug.captures)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(45):
            frame = av.VideoFrame.from_ndarray(paint(128, 96, number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_camera_waited_for_is_reported():
    plug = Plug()
    plug.nodes = []
    with camera(plug.source_of, source="/dev/video0") as bench:
        bench.wait_for_status("camera /dev/video0 cannot be opened: it is not there", ERROR)
        plug.put_back(0)
        bench.wait(lambda: plug.captures)
        bench.wait(
            lambda: (
                bench.said()["pictures"] != "not active"
                and int(bench.values().get("published", 0)) > 2
            )
        )


def test_a_file_plays_to_its_end_in_a_process_of_its_own(video):
    spec = NodeSpec("camera", "camera", {"source": f"file:{video}", "width": 128, "height": 96})
    with running([spec]) as graph:
        graph.wait_for_status("camera: pictures", "has no further picture")
        assert graph.processes["camera"].poll() is None


def test_a_looped_file_goes_on_and_may_stand_still(video):
    with camera(source=f"file:{video}?loop", frozen_s=0.1) as bench:
        bench.listen(compressed=True)
        bench.wait(lambda: len(bench.pictures) > 60)
        assert {read_counter(rgb(picture)) for picture in bench.pictures} <= set(range(45))
        bench.wait_for_status("streaming", OK)
        assert "controls" not in bench.statuses


def test_after_a_pause_no_old_picture_is_published(monkeypatch):
    published = []

    def publish(self, picture, *size):
        published.append(picture)

    monkeypatch.setattr(CameraPublisher, "publish", publish)
    with plugged(autostart=False) as (_, bench):
        bench.node.trigger_configure()
        bench.node.trigger_activate()
        bench.wait(lambda: len(published) > 3)
        bench.node.trigger_deactivate()
        published.clear()
        resumed_ns = time.time_ns()
        bench.node.trigger_activate()
        bench.wait(lambda: len(published) > 5)
    assert min(picture.stamp_ns for picture in published) >= resumed_ns
