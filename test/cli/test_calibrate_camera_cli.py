"""`armlet calibrate-camera`: pictures of a board become a calibration and a robot file's entry."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import armlet.camera
from armlet.camera import Picture, charuco, read_intrinsics
from armlet.cli.data import calibrate_camera
from armlet.cli.main import main
from armlet.robots.robot_file import read

sys.path.append(str(Path(__file__).parents[1] / "camera"))

from painted_boards import SIZE, K, boards, painted

if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
    pytest.skip("this OpenCV knows no ChArUco boards", allow_module_level=True)


@pytest.fixture(scope="module")
def pictures():
    return boards(14)


@pytest.fixture
def robot(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("cameras:\n  front: {source: pattern, width: 640, height: 480, fps: 30}\n")
    return path


class Shown:
    """A camera before which a person holds a board; its cable is loose once."""

    def __init__(self, pictures):
        self.pictures = iter(pictures)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, timeout_s):
        rgb = next(self.pictures, None)
        if rgb is None:
            raise armlet.camera.EndOfVideo("no more")
        if isinstance(rgb, Exception):
            raise rgb
        return Picture(0, rgb=rgb)


def test_a_camera_of_the_robot_file_is_calibrated_and_the_file_says_so(
    robot, pictures, monkeypatch, capsys
):
    opened = []

    def source_of(*asked):
        opened.append(asked)
        return Shown([pictures[0], armlet.camera.NoPicture("loose"), *pictures])

    monkeypatch.setattr(armlet.camera, "source_of", source_of)
    (robot.parent / "front.camera.yaml").write_text("of another lens")
    command = ["calibrate-camera", "front", "--views", "10", "--robot", str(robot)]
    assert main(command) == 0
    assert opened == [("pattern", 640, 480, 30.0, "MJPG")]
    said = capsys.readouterr().out
    assert "view 10 of 10" in said and "focal lengths 5" in said
    kept = robot.parent / "front.camera.yaml.bak"
    assert kept.read_text() == "of another lens" and f"{kept} is the calibration of before" in said
    entry = read(robot).cameras["front"]
    assert entry["source"] == "pattern"
    found = read_intrinsics(Path(entry["camera_info_file"]), *SIZE)
    assert found.camera_name == "front"
    np.testing.assert_allclose(found.k, K.ravel(), rtol=0.01, atol=1e-9)


def test_pictures_in_a_folder_do_without_a_camera(tmp_path, pictures, capsys):
    for number, rgb in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rgb)
    output = tmp_path / "top.yaml"
    command = ["calibrate-camera", "--pictures", str(tmp_path), "--output", str(output)]
    assert main([*command, "--robot", "none"]) == 0
    assert read_intrinsics(output, *SIZE).k[0] == pytest.approx(K[0, 0], rel=0.01)
    assert f"camera_info_file: {output}" in capsys.readouterr().out


def test_what_is_not_good_enough_is_not_written(robot, monkeypatch, capsys):
    alike = [painted((0.0, 0.0, 0.1 * n), (0.1 * n, 0, 12)) for n in range(10)]
    monkeypatch.setattr(armlet.camera, "source_of", lambda *_: Shown(alike))
    before = robot.read_text()
    assert main(["calibrate-camera", "front", "--robot", str(robot)]) == 1
    assert "armlet calibrate-camera: " in capsys.readouterr().err
    assert robot.read_text() == before and [*robot.parent.iterdir()] == [robot]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "name a camera of the robot file, or give --source SRC or --pictures DIR"),
        (["side"], 2, "expected a camera of the robot file, found 'side'; cameras there: front"),
        (["--pictures", "."], 1, "expected pictures (.jpg, .png) in ., found none"),
        (["front", "--views", "0"], 2, "--views: expected at least 1, found 0"),
    ],
)
def test_what_cannot_be_done_is_said(robot, tmp_path, monkeypatch, capsys, words, status, message):
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate-camera", *words, "--robot", str(robot)]) == status
    assert message in capsys.readouterr().err


def without_end(png):
    return png[: len(png) // 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda png: b"", "the picture cannot be decoded"),
        (lambda png: b"no picture", "the picture cannot be decoded"),
        (without_end, "the picture cannot be decoded"),
        (lambda png: png[:16] + b"\0\0\x9c\x40" * 2 + png[24:], "40000x40000 pixels"),
    ],
)
def test_a_file_that_is_no_picture_of_a_camera_is_named(tmp_path, capsys, changed, message):
    _, png = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "bad.png").write_bytes(changed(png.tobytes()))
    assert main(["calibrate-camera", "--pictures", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "bad.png" in said and message in said and "take it out" in said


def test_the_board_that_is_printed_is_the_one_that_is_found(tmp_path, capsys):
    path = tmp_path / "board.png"
    assert main(["calibrate-camera", "--print", str(path)]) == 0
    small = cv2.resize(cv2.imread(str(path)), (800, 600), interpolation=cv2.INTER_AREA)
    view = charuco.Detector().find(small)
    assert len(view.corners) == (charuco.COLUMNS - 1) * (charuco.ROWS - 1)
    assert "A4" in capsys.readouterr().out
    assert calibrate_camera.SQUARE_MM == charuco.SQUARE_MM
