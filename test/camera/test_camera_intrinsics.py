import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from armlet.camera import CameraError, read_intrinsics

# As ROS's camera_calibration writes it.
FILE = """\
image_width: 640
image_height: 480
camera_name: wrist
camera_matrix:
  rows: 3
  cols: 3
  data: [612.5, 0., 320.25, 0., 611.0, 241.5, 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.05, -0.12, 1e-05, -2e-4, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [600., 0., 321., 0., 0., 601., 242., 0., 0., 0., 1., 0.]
"""


@pytest.fixture
def write(tmp_path):
    def write(text=None, **changes):
        document = {**yaml.safe_load(FILE), **changes}
        document = {name: value for name, value in document.items() if value is not None}
        path = tmp_path / "wrist.yaml"
        path.write_text(yaml.safe_dump(document) if text is None else text)
        return path

    return write


def test_every_field_arrives(write):
    found = read_intrinsics(write(FILE), 640, 480)
    assert (found.width, found.height, found.camera_name) == (640, 480, "wrist")
    assert found.distortion_model == "plumb_bob"
    assert found.d == (0.05, -0.12, 1e-05, -2e-4, 0.0)
    assert found.k == (612.5, 0, 320.25, 0, 611, 241.5, 0, 0, 1)
    assert found.p == (600, 0, 321, 0, 0, 601, 242, 0, 0, 0, 1, 0)
    assert found.r == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_a_monocular_file_may_lack_rectification(write):
    found = read_intrinsics(write(rectification_matrix=None, projection_matrix=None), 640, 480)
    assert found.r == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert found.p == (612.5, 0, 320.25, 0, 0, 611, 241.5, 0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_width": None}, "lacks image_width"),
        ({"image_height": "tall"}, "image_height must be a whole number > 0, found 'tall'"),
        ({"camera_matrix": None}, "lacks camera_matrix"),
        ({"camera_matrix": {"data": [1, 2]}}, r"camera_matrix.data must hold 3x3 = 9 numbers"),
        ({"camera_matrix": [1] * 9}, "camera_matrix must have rows, cols and data"),
        ({"camera_matrix": {"data": [0] * 9}}, "focal lengths 0, 0"),
        ({"camera_matrix": {"data": [".nan"] * 9}}, "holds numbers that are not finite|must hold"),
        ({"camera_matrix": {"data": [float("inf")] * 9}}, "not finite"),
        ({"camera_matrix": {"data": ["x"] * 9}}, "must hold numbers, found 'x'"),
        ({"distortion_model": "fish"}, "distortion_model must be one of plumb_bob.*found 'fish'"),
        ({"distortion_model": "equidistant"}, "equidistant has 4 distortion_coefficients, found 5"),
        ({"projection_matrix": {"data": [1] * 9}}, "projection_matrix.data must hold 3x4 = 12"),
    ],
)
def test_what_is_wrong_is_named(write, changes, message):
    with pytest.raises(CameraError, match=message):
        read_intrinsics(write(**changes), 640, 480)


def test_another_picture_size_is_refused(write):
    with pytest.raises(CameraError, match="for 640x480 pictures, the camera gives 1280x720"):
        read_intrinsics(write(), 1280, 720)


def test_files_that_are_none(write, tmp_path):
    with pytest.raises(CameraError, match="no calibration file at"):
        read_intrinsics(tmp_path / "gone.yaml", 640, 480)
    with pytest.raises(CameraError, match="is not YAML"):
        read_intrinsics(write("a: [1"), 640, 480)
    with pytest.raises(CameraError, match="holds no calibration"):
        read_intrinsics(write("- 1"), 640, 480)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(CameraError, match=r"cannot be read|not YAML|not UTF-8"):
        read_intrinsics(binary, 640, 480)
    with pytest.raises(CameraError, match="expected a file, found a folder"):
        read_intrinsics(tmp_path, 640, 480)


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_is_refused_with_a_camera_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "any.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(CameraError):
        read_intrinsics(path, 640, 480)
