"""Cameras as V4L2 describes them: the kernel's side is played from its structures."""

import errno
import fcntl
import struct
import sys

import pytest

from armlet.findings import Severity
from armlet.preflight import cameras, v4l2

QUERYCAP, ENUM_FMT, ENUM_SIZES, ENUM_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
"""As linux/videodev2.h makes them on a 64-bit machine."""

MODES = {
    b"MJPG": {(640, 480): [(1, 30), (1, 15)], (1920, 1080): [(1, 30)]},
    b"YUYV": {(640, 480): [(1001, 30000)]},
}


class Kernel:
    """Answers ioctls as a driver does. capabilities: of this device of the camera."""

    def __init__(self, modes=MODES, capabilities=0x1, stepwise=False):
        self.modes = modes
        self.capabilities = capabilities
        self.stepwise = stepwise

    def ioctl(self, descriptor, request, argument):
        answers = {
            QUERYCAP: self.capability,
            ENUM_FMT: self.format,
            ENUM_SIZES: self.size,
            ENUM_INTERVALS: self.interval,
        }
        assert request in answers, f"an ioctl that does not read: {request:#x}"
        try:
            answer = answers[request](argument)
        except IndexError:
            raise OSError(errno.EINVAL, "Invalid argument") from None
        assert len(answer) == request >> 16 & 0x3FFF, "the structure's size is in the number"
        return answer

    def capability(self, _):
        whole = 0x84A00001 | 0x80000000  # of the whole camera: pictures and metadata
        return struct.pack(
            "16s32s32sIII12x", b"uvcvideo", b"HD Cam", b"usb-1", 1, whole, self.capabilities
        )

    def format(self, argument):
        (index,) = struct.unpack_from("I", argument)
        code = list(self.modes)[index]
        return struct.pack("III32s4s16x", index, 1, 0, b"what it is called", code)

    def size(self, argument):
        index, code = struct.unpack_from("I4s", argument)
        if self.stepwise:
            return struct.pack("I4sI6I8x", index, code, 3, 32, 1280, 2, 32, 720, 2)
        return struct.pack("I4sIII16x8x", index, code, 1, *list(self.modes[code])[index])

    def interval(self, argument):
        index, code, width, height = struct.unpack_from("I4sII", argument)
        if self.stepwise:
            return struct.pack("I4sIII6I8x", index, code, width, height, 3, 1, 60, 1, 1, 1, 1)
        rate = self.modes[code][width, height][index]
        return struct.pack("I4sIIIII16x8x", index, code, width, height, 1, *rate)


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """Makes video devices: name -> Kernel."""
    monkeypatch.setattr(cameras, "_DEV", tmp_path)
    monkeypatch.setattr(cameras, "_SYS", tmp_path / "sys")
    kernels = {}

    def query(path):
        kernel = kernels[path.name]

        def ioctl(descriptor, request, argument):
            argument[:] = kernel.ioctl(descriptor, request, bytes(argument))
            return 0

        monkeypatch.setattr(fcntl, "ioctl", ioctl)
        return ask(path)

    ask = v4l2.query
    monkeypatch.setattr(v4l2, "query", query)

    def plug(**devices):
        for name, kernel in devices.items():
            (tmp_path / name).touch()
            kernels[name] = kernel

    return plug


def test_formats_sizes_and_rates(plug, tmp_path):
    plug(video0=Kernel())
    device = v4l2.query(tmp_path / "video0")
    assert (device.card, device.bus, device.captures) == ("HD Cam", "usb-1", True)
    mjpg, yuyv = device.formats
    assert mjpg == v4l2.Format(
        "MJPG", (v4l2.Size(1920, 1080, (30.0,)), v4l2.Size(640, 480, (30.0, 15.0)))
    )
    assert yuyv == v4l2.Format("YUYV", (v4l2.Size(640, 480, (29.97,)),))


def test_stepwise_sizes_show_the_largest(plug, tmp_path):
    plug(video0=Kernel({b"NV12": {}}, stepwise=True))
    (only,) = v4l2.query(tmp_path / "video0").formats
    assert only.sizes == (v4l2.Size(1280, 720, (60.0,)),)


def test_a_file_that_is_no_device_is_an_error(tmp_path):
    (tmp_path / "video0").touch()
    with pytest.raises(OSError, match="ioctl"):
        v4l2.query(tmp_path / "video0")


def test_cameras_are_listed_in_order_without_their_metadata_devices(plug):
    plug(video10=Kernel(), video2=Kernel(), video3=Kernel(capabilities=0x00A00000))
    first, second = cameras.chosen([])
    assert [first.subject[-7:], second.subject[-7:]] == ["/video2", "video10"]
    assert first.severity == Severity.OK
    assert first.found == "HD Cam: MJPG 1920x1080@30, 640x480@30/15; YUYV 640x480@29.97"


def test_without_cameras_there_is_a_note(plug):
    (finding,) = cameras.chosen([])
    assert finding.severity == Severity.NOTE and "no /dev/video*" in finding.found


def test_cameras_asked_for_must_be_there_and_give_pictures(plug, tmp_path):
    plug(video0=Kernel(), video1=Kernel(capabilities=0x00A00000), video4=Kernel(modes={}))
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(1000))
    sources = ["0", "1", "4", "9", "pattern", f"file:{clip}?loop", f"{clip}x"]
    levels = [(finding.severity, bool(finding.fix)) for finding in cameras.chosen(sources)]
    ok, warning, error = (Severity.OK, False), (Severity.WARNING, True), (Severity.ERROR, True)
    assert levels == [ok, error, warning, error, ok, ok, error]


@pytest.mark.parametrize(
    ("number", "fix"),
    [(errno.EACCES, "usermod -aG video"), (errno.EBUSY, "stop it"), (errno.EIO, "plug it in")],
)
def test_what_keeps_a_camera_from_opening_has_a_fix(plug, monkeypatch, number, fix):
    plug(video0=Kernel())

    def refuse(path):
        raise OSError(number, "refused")

    monkeypatch.setattr(v4l2, "query", refuse)
    (finding,) = cameras.chosen([])
    assert finding.severity != Severity.OK and fix in finding.fix


def test_two_cameras_on_a_usb_2_hub_share_its_bandwidth(plug, tmp_path):
    plug(video0=Kernel(), video2=Kernel(), video4=Kernel())
    for name, hub, camera in (
        ("video0", "1-1", "a"),
        ("video2", "1-1", "b"),
        ("video4", "2-1", "c"),
    ):
        interface = tmp_path / "usb" / hub / camera / "if0"
        interface.mkdir(parents=True)
        (interface.parent / "idVendor").write_text("046d")
        (tmp_path / "usb" / hub / "speed").write_text("480")
        (tmp_path / "sys" / name).mkdir(parents=True)
        (tmp_path / "sys" / name / "device").symlink_to(interface)
    *each, hint = cameras.chosen([])
    assert len(each) == 3 and hint.severity == Severity.NOTE
    assert "video0" in hint.found and "video2" in hint.found and "video4" not in hint.found
    (tmp_path / "usb" / "1-1" / "speed").write_text("5000")
    assert len(list(cameras.chosen([]))) == 3


def test_without_opencv_the_check_says_so(plug, monkeypatch):
    plug(video0=Kernel())
    monkeypatch.setitem(sys.modules, "armlet.camera", None)
    (finding,) = cameras.chosen([])
    assert finding.severity == Severity.ERROR
    assert "OpenCV does not load" in finding.found and "opencv-python-headless" in finding.fix
