"""docker/Dockerfile installs what every command needs; .ci/image.py installs exactly that, too."""

import importlib.util
from pathlib import Path

import pytest

from armlet.cli.main import make_parser

ROOT = Path(__file__).parents[1]
DOCKERFILE = r"""
FROM ros:jazzy
RUN apt-get update && apt-get install --yes \
      python3-numpy ros-${ROS_DISTRO}-sensor-msgs \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -c "print('numpy')" > /tmp/constraints.txt \
    && pip install --break-system-packages --constraint /tmp/constraints.txt \
         av 'pyarrow<26'
"""


@pytest.fixture(scope="module")
def image():
    spec = importlib.util.spec_from_file_location("image", ROOT / ".ci" / "image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_image_has_what_is_imported(image):
    """mujoco, huggingface_hub and argcomplete were not there: no physics, no Hub, no Tab key."""
    assert image.lacking() == []


def test_what_a_dockerfile_installs_is_read_from_it(image):
    assert image.lists(DOCKERFILE) == (["python3-numpy", "ros:sensor-msgs"], ["av", "pyarrow<26"])


def test_a_package_that_is_not_listed_is_named(image, tmp_path, monkeypatch):
    text = image.DOCKERFILE.read_text()
    (tmp_path / "Dockerfile").write_text(text.replace(" mujoco", "").replace("-control-msgs", "-x"))
    monkeypatch.setattr(image, "DOCKERFILE", tmp_path / "Dockerfile")
    assert image.lacking() == ["control_msgs", "mujoco"]


def test_it_asks_every_command(image):
    words = [" ".join(each) for each in image.commands(make_parser())]
    assert len(set(words)) == len(words)
    assert {"up", "demo", "dataset merge", "policy check", "security policy"} <= set(words)


def test_of_each_package_it_knows_what_stands_in_for_it(image):
    """So that --install sets up all of the list, but for what PyPI has not."""
    brought = image.brought()
    assert {module for module, name in brought.items() if not name} == image.NOT_ON_PYPI
    assert brought["cv2"].startswith("opencv-python-headless") and brought["rclpy"]
