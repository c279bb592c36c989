"""A camera without hardware: what cv2.VideoCapture, udev and the kernel would say of one.

A `Plug` is a machine with one camera in it that a test can pull out, put back under another number,
freeze, slow down or damage; `FakeKernel` answers V4L2 ioctls byte by byte, by structures declared
here as linux/videodev2.h declares them, not by the code under test.
"""

import ctypes as c
import errno
import threading
import time

import cv2
import numpy as np

from armlet.camera import CameraError, DeviceSource, VideoNode, jpeg
from armlet.camera.device import Host
from armlet.camera.pattern import paint

WIDTH, HEIGHT, FPS = 128, 96, 30
MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class FakeCapture:
    """Stands in for cv2.VideoCapture: pictures come when the test says so, or at a rate."""

    def __init__(self, there=True, grants=None, converts=False, stamp_ms=lambda: 0.0, rate=None):
        self.there = there
        self.grants = grants or {}
        self.converts = converts
        self.stamp_ms = stamp_ms
        self.rate = rate
        self.settings = {}
        self.calls = []
        self.released = threading.Event()
        self.unplugged = False
        self.pending = threading.Semaphore(0)
        self.grabbed = 0
        self.number = None
        self.mangle = lambda data: data

    def give(self, count=1):
        for _ in range(count):
            self.pending.release()

    def isOpened(self):
        return self.there

    def set(self, key, value):
        self.calls.append(key)
        self.settings[key] = self.grants.get(key, value)
        return True

    def get(self, key):
        return (
            self.stamp_ms() if key == cv2.CAP_PROP_POS_MSEC else float(self.settings.get(key, -1))
        )

    def grab(self):
        waited_until = time.monotonic() + (1 / self.rate if self.rate else 3600)
        while not self.pending.acquire(timeout=0.002):
            if self.unplugged or self.closing():
                return False
            if time.monotonic() >= waited_until:
                break
        self.grabbed += 1
        return not self.unplugged

    def closing(self):
        return self.source is not None and self.source._closing

    source = None

    def retrieve(self):
        rgb = paint(WIDTH, HEIGHT, self.grabbed if self.number is None else self.number)
        if self.converts:
            return True, rgb[..., ::-1].copy()
        return True, np.frombuffer(self.mangle(jpeg.encode(rgb)), np.uint8)[None]

    def release(self):
        self.released.set()


def node(number, serial="S1", port="usb1/1-2", name="Arm Cam", links=()):
    return VideoNode(f"/dev/video{number}", name, 0, port, "1234:5678", serial, tuple(links))


def host(capture, nodes=(), offers="MJPG: 128x96 at 30 fps"):
    return Host(lambda path: capture, lambda: tuple(nodes), lambda path: offers)


def monotonic_ms():
    return time.monotonic() * 1000


class Plug:
    """A machine with a camera, for a node or a source to use over and over."""

    def __init__(self, rate=FPS, **node_facts):
        self.rate = rate
        self.facts = node_facts
        self.nodes = [node(0, **node_facts)]
        self.captures = []
        self.opened = []
        self.source = None
        self.trouble = {}

    @property
    def capture(self):
        return self.captures[-1]

    def host(self):
        return Host(self._capture, lambda: tuple(self.nodes), lambda path: "MJPG: 128x96 at 30 fps")

    def _capture(self, path):
        if path not in [node.path for node in self.nodes]:
            raise CameraError(f"camera {path} cannot be opened: it is not there")
        capture = FakeCapture(rate=self.rate, stamp_ms=monotonic_ms)
        capture.grabbed = 1000 * len(self.captures)
        capture.source = self.source
        vars(capture).update(self.trouble)
        self.captures.append(capture)
        self.opened.append(path)
        return capture

    def source_of(self, uri, width, height, fps, fourcc="MJPG"):
        self.source = DeviceSource(uri, width, height, fps, fourcc, self.host())
        return self.source

    def pull(self):
        self.nodes = []
        self.capture.unplugged = True

    def put_back(self, number):
        self.nodes = [node(number, **self.facts)]


# Structures and numbers as in linux/videodev2.h, for 64-bit Linux.
U = c.c_uint32


class Capability(c.Structure):
    _fields_ = [
        ("driver", c.c_char * 16),
        ("card", c.c_char * 32),
        ("bus_info", c.c_char * 32),
        ("version", U),
        ("capabilities", U),
        ("device_caps", U),
        ("reserved", U * 3),
    ]


class Fmtdesc(c.Structure):
    _fields_ = [
        ("index", U),
        ("type", U),
        ("flags", U),
        ("description", c.c_char * 32),
        ("pixelformat", U),
        ("mbus_code", U),
        ("reserved", U * 3),
    ]


class Fract(c.Structure):
    _fields_ = [("numerator", U), ("denominator", U)]


class SizeDiscrete(c.Structure):
    _fields_ = [("width", U), ("height", U)]


class SizeStepwise(c.Structure):
    _fields_ = [
        (name, U)
        for name in (
            "min_width",
            "max_width",
            "step_width",
            "min_height",
            "max_height",
            "step_height",
        )
    ]


class SizeUnion(c.Union):
    _fields_ = [("discrete", SizeDiscrete), ("stepwise", SizeStepwise)]


class Frmsizeenum(c.Structure):
    _anonymous_ = ("u",)
    _fields_ = [
        ("index", U),
        ("pixel_format", U),
        ("type", U),
        ("u", SizeUnion),
        ("reserved", U * 2),
    ]


class IvalStepwise(c.Structure):
    _fields_ = [("min", Fract), ("max", Fract), ("step", Fract)]


class IvalUnion(c.Union):
    _fields_ = [("discrete", Fract), ("stepwise", IvalStepwise)]


class Frmivalenum(c.Structure):
    _anonymous_ = ("u",)
    _fields_ = [
        ("index", U),
        ("pixel_format", U),
        ("width", U),
        ("height", U),
        ("type", U),
        ("u", IvalUnion),
        ("reserved", U * 2),
    ]


class Queryctrl(c.Structure):
    _fields_ = [
        ("id", U),
        ("type", U),
        ("name", c.c_char * 32),
        ("minimum", c.c_int32),
        ("maximum", c.c_int32),
        ("step", c.c_int32),
        ("default_value", c.c_int32),
        ("flags", U),
        ("reserved", U * 2),
    ]


class MenuUnion(c.Union):
    _pack_ = 1
    _fields_ = [("name", c.c_char * 32), ("value", c.c_int64)]


class Querymenu(c.Structure):
    _pack_ = 1
    _anonymous_ = ("u",)
    _fields_ = [("id", U), ("index", U), ("u", MenuUnion), ("reserved", U)]


class ControlValue(c.Structure):
    _fields_ = [("id", U), ("value", c.c_int32)]


# request -> (name, structure): the numbers a C compiler prints.
REQUESTS = {
    0x80685600: ("querycap", Capability),
    0xC0405602: ("enum_fmt", Fmtdesc),
    0xC02C564A: ("enum_framesizes", Frmsizeenum),
    0xC034564B: ("enum_frameintervals", Frmivalenum),
    0xC008561B: ("g_ctrl", ControlValue),
    0xC008561C: ("s_ctrl", ControlValue),
    0xC0445624: ("queryctrl", Queryctrl),
    0xC02C5625: ("querymenu", Querymenu),
}

NEXT = 0x80000000
DISABLED, READ_ONLY, INACTIVE = 1, 4, 0x10

AWB, AUTOGAIN, GAIN, POWER_LINE, WB_K = 0x98090C, 0x980912, 0x980913, 0x980918, 0x98091A
EXPOSURE_AUTO, EXPOSURE, PRIORITY, FOCUS, FOCUS_AUTO = (
    0x9A0901,
    0x9A0902,
    0x9A0903,
    0x9A090A,
    0x9A090C,
)


class Knob:
    """One control of the fake camera."""

    def __init__(self, name, low, high, value, step=1, kind=1, menu=None, flags=0):
        self.name, self.low, self.high, self.value = name, low, high, value
        self.step, self.kind, self.menu, self.flags = step, kind, menu, flags
        self.stuck = False


def usual_knobs():
    """What a common webcam has; everything automatic, as they start."""
    menu = {1: "Manual Mode", 3: "Aperture Priority Mode"}
    return {
        AWB: Knob("White Balance, Automatic", 0, 1, 1, kind=2),
        GAIN: Knob("Gain", 0, 255, 40),
        POWER_LINE: Knob(
            "Power Line Frequency", 0, 2, 1, kind=3, menu={0: "Disabled", 1: "50 Hz", 2: "60 Hz"}
        ),
        WB_K: Knob("White Balance Temperature", 2800, 6500, 4610, step=10),
        EXPOSURE_AUTO: Knob("Auto Exposure", 0, 3, 3, kind=3, menu=menu),
        EXPOSURE: Knob("Exposure Time, Absolute", 3, 2047, 250),
        PRIORITY: Knob("Exposure, Dynamic Framerate", 0, 1, 1, kind=2),
        FOCUS: Knob("Focus, Absolute", 0, 250, 35, step=5),
        FOCUS_AUTO: Knob("Focus, Automatic Continuous", 0, 1, 1, kind=2),
    }


class FakeKernel:
    """Answers ioctls on a camera as uvcvideo would; `ioctl` takes fcntl.ioctl's place."""

    def __init__(self, knobs=None, caps=0x85200001, device_caps=0x04200001):
        self.knobs = usual_knobs() if knobs is None else knobs
        self.caps, self.device_caps = caps, device_caps
        self.written = []
        self.gone = False
        self.interrupts = 0
        # fourcc -> (description, [(width, height, [(numerator, denominator), ...]), ...])
        self.formats = {
            "MJPG": (
                b"Motion-JPEG",
                [(1280, 720, [(1, 30)]), (640, 480, [(1, 30), (1, 15), (2, 15)])],
            ),
            "YUYV": (b"YUYV 4:2:2", [(640, 480, [(1, 30)])]),
        }
        self.stepwise = None

    def ioctl(self, fd, request, buffer):
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")
        if self.interrupts:
            self.interrupts -= 1
            raise InterruptedError(errno.EINTR, "Interrupted system call")
        if request not in REQUESTS:
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        name, structure = REQUESTS[request]
        assert len(buffer) == c.sizeof(structure), f"{name}: {len(buffer)} bytes"
        getattr(self, name)(structure.from_buffer(buffer))
        return 0

    @staticmethod
    def refuse():
        raise OSError(errno.EINVAL, "Invalid argument")

    def querycap(self, s):
        s.driver, s.card, s.bus_info = b"uvcvideo", b"Arm Cam: Arm Cam", b"usb-0000:00:14.0-2"
        s.capabilities, s.device_caps = self.caps, self.device_caps

    def enum_fmt(self, s):
        if s.type != 1 or s.index >= len(self.formats):
            self.refuse()
        letters = list(self.formats)[s.index]
        s.pixelformat = int.from_bytes(letters.encode(), "little")
        s.description = self.formats[letters][0]

    def sizes(self, code):
        return self.formats[code.to_bytes(4, "little").decode()][1]

    def enum_framesizes(self, s):
        if self.stepwise:
            if s.index:
                self.refuse()
            s.type, s.stepwise = 3, SizeStepwise(*self.stepwise)
            return
        sizes = self.sizes(s.pixel_format)
        if s.index >= len(sizes):
            self.refuse()
        s.type, s.discrete = 1, SizeDiscrete(*sizes[s.index][:2])

    def enum_frameintervals(self, s):
        if self.stepwise:
            if s.index:
                self.refuse()
            s.type = 3
            s.stepwise = IvalStepwise(Fract(1, 60), Fract(1, 5), Fract(1, 600))
            return
        rates = {size[:2]: size[2] for size in self.sizes(s.pixel_format)}[s.width, s.height]
        if s.index >= len(rates):
            self.refuse()
        s.type, s.discrete = 1, Fract(*rates[s.index])

    def knob(self, id):
        return self.knobs[id] if id in self.knobs else self.refuse()

    def active(self, id):
        def value(other):
            return self.knobs[other].value if other in self.knobs else None

        overridden = {
            WB_K: value(AWB) == 1,
            EXPOSURE: value(EXPOSURE_AUTO) not in (None, 1),
            FOCUS: value(FOCUS_AUTO) == 1,
            GAIN: value(AUTOGAIN) == 1,
        }
        return not overridden.get(id, False)

    def queryctrl(self, s):
        id = s.id
        if id & NEXT:
            later = sorted(known for known in self.knobs if known > id & ~NEXT)
            if not later:
                self.refuse()
            id = later[0]
        knob = self.knob(id)
        s.id, s.type, s.name, s.flags = id, knob.kind, knob.name.encode(), knob.flags
        s.minimum, s.maximum, s.step = knob.low, knob.high, knob.step
        s.default_value = knob.low
        if not self.active(id):
            s.flags |= INACTIVE

    def querymenu(self, s):
        menu = self.knob(s.id).menu
        if menu is None or s.index not in menu:
            self.refuse()
        s.name = menu[s.index].encode()

    def g_ctrl(self, s):
        s.value = self.knob(s.id).value

    def s_ctrl(self, s):
        knob = self.knob(s.id)
        if knob.menu is not None and s.value not in knob.menu:
            self.refuse()
        if not self.active(s.id):
            raise OSError(errno.EIO, "Input/output error")
        self.written.append((s.id, s.value))
        if not knob.stuck:
            knob.value = knob.low + round((s.value - knob.low) / knob.step) * knob.step
