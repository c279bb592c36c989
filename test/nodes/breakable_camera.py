"""The camera node, a process, on a camera that breaks when ordered to on stdin.

The node is the shipped one; only what OpenCV, udev and the kernel would say is made up
(`fake_camera`). Each line of stdin is Python on `plug`, e.g. `plug.pull()`.
"""

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "camera"))
from fake_camera import FakeKernel, Plug

from armlet.camera import V4l2Device, jpeg
from armlet.camera.pattern import paint
from armlet.nodes.camera import CameraNode
from armlet.nodes.node import run


def main():
    plug, kernel = Plug(), FakeKernel()

    def obey():
        for line in sys.stdin:
            exec(line, {"plug": plug, "jpeg": jpeg, "paint": paint})

    threading.Thread(target=obey, daemon=True).start()
    run(lambda: CameraNode(plug.source_of, lambda path: V4l2Device("/dev/null", kernel.ioctl)))


if __name__ == "__main__":
    main()
