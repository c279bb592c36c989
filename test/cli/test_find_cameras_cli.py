import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from terminal_session import TerminalSession

from armlet import camera
from armlet.camera import CameraError, V4l2Device, jpeg, read_counter
from armlet.camera.snapshot import contact_sheet, labelled
from armlet.cli.data import find_cameras
from armlet.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "camera"))
from fake_camera import FakeKernel, Plug, node


@pytest.fixture
def no_cameras(monkeypatch):
    monkeypatch.setattr(camera, "video_nodes", tuple)


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_without_cameras_it_says_so_and_what_to_try(no_cameras, tmp_path, capsys):
    assert main(["find-cameras", "--output", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert "no V4L2 capture device" in said
    assert "--also pattern" in said
    assert not (tmp_path / "none").exists()


def test_sources_given_by_hand_are_photographed(no_cameras, tmp_path, capsys):
    command = ["find-cameras", "--output", str(tmp_path), "--also", "pattern", "--settle", "0.05"]
    assert main([*command, "--width", "320", "--height", "240"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["device", "name", "lasting path", "formats", "picture"]
    file = tmp_path / "0-numbered-test-picture.jpg"
    assert lines[1] == ["pattern", "numbered test picture", "-", "320x240 at 30 fps", str(file)]
    picture = read(file)
    assert picture.shape[1] == 320 and picture.shape[0] > 240
    # No pixel of the camera's picture is covered by the label above it.
    assert read_counter(picture[-240:]) >= 0
    sheet = read(tmp_path / "contact-sheet.jpg")
    assert sheet.shape[0] > 240


@pytest.mark.parametrize("linked", [False, True])
def test_a_persons_picture_is_not_replaced(no_cameras, tmp_path, capsys, linked):
    command = ["find-cameras", "--output", str(tmp_path), "--also", "pattern", "--settle", "0.05"]
    assert main(command) == 0
    assert main(command) == 0, "its own pictures it may replace"
    own, sheet = tmp_path / "own.jpg", tmp_path / "contact-sheet.jpg"
    sheet.unlink()
    (own if linked else sheet).write_text("precious")
    if linked:
        sheet.symlink_to(own)
    assert main(command) == 2
    assert "not made by this command" in capsys.readouterr().err
    assert sheet.read_text() == "precious" and sheet.is_symlink() == linked


def test_in_a_terminal_a_table_and_the_launch_argument(tmp_path):
    arguments = ("--output", str(tmp_path), "--also", "pattern", "--settle", "0.01")
    with TerminalSession("find-cameras", *arguments, columns=160) as session:
        session.wait_for("cameras:=camera")
        session.wait_end()
        text = "\n".join(session.screen())
    assert "numbered test picture" in text
    assert "contact-sheet.jpg" in text


def test_a_source_that_fails_is_named_and_the_others_are_shown(no_cameras, tmp_path, capsys):
    gone = tmp_path / "gone.mp4"
    command = ["find-cameras", "--output", str(tmp_path), "--settle", "0.01"]
    assert main([*command, "--also", f"file:{gone}", "--also", "pattern"]) == 1
    printed = capsys.readouterr()
    assert f"no video file at {gone}" in printed.err
    assert "failed" in printed.out
    assert (tmp_path / "1-numbered-test-picture.jpg").exists()


@pytest.fixture
def one_camera(monkeypatch):
    """A machine with one camera, whose metadata node is passed over."""
    link = "/dev/v4l/by-id/usb-Arm_Cam_S1-video-index0"
    nodes = (node(0, links=[link]), node(1))
    kernels = {"/dev/video0": FakeKernel(), "/dev/video1": FakeKernel(device_caps=0x04A00000)}
    monkeypatch.setattr(camera, "video_nodes", lambda: nodes)
    monkeypatch.setattr(
        camera, "V4l2Device", lambda path: V4l2Device("/dev/null", kernels[path].ioctl)
    )
    return link


def test_a_camera_is_shown_with_its_formats_and_lasting_path(
    one_camera, monkeypatch, tmp_path, capsys
):
    asked = []

    def source_of(source, width, height, fps, fourcc):
        asked.append((source, width, height, fps, fourcc))
        return Plug().source_of("/dev/video0", 128, 96, 30)

    monkeypatch.setattr(camera, "source_of", source_of)
    assert main(["find-cameras", "--output", str(tmp_path), "--settle", "0.1"]) == 0
    assert asked == [(one_camera, 640, 480, 30.0, "MJPG")]
    (row,) = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    assert row[:3] == ["/dev/video0", "Arm Cam", one_camera]
    assert "YUYV: 640x480 at 30 fps" in row[3]
    assert read_counter(read(tmp_path / "0-arm-cam.jpg")[-96:, :128]) > 0


def test_a_camera_that_gives_no_picture_is_named(one_camera, monkeypatch, tmp_path, capsys):
    def source_of(*_):
        raise CameraError("camera /dev/video0 cannot be opened: another program holds it")

    monkeypatch.setattr(camera, "source_of", source_of)
    assert main(["find-cameras", "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "/dev/video0: camera /dev/video0 cannot be opened: another program" in printed.err
    assert "MJPG" in printed.out
    assert not (tmp_path / "contact-sheet.jpg").exists()


def test_the_best_mode_is_near_the_size_asked_for_and_compressed():
    kernel = FakeKernel()
    with V4l2Device("/dev/null", kernel.ioctl) as device:
        formats = device.formats()
    assert find_cameras.best_mode(formats, (640, 480)) == (640, 480, 30.0, "MJPG")
    assert find_cameras.best_mode(formats, (1920, 1080)) == (1280, 720, 30.0, "MJPG")
    assert find_cameras.best_mode(formats[1:], (640, 480)) == (640, 480, 30.0, "YUYV")
    assert find_cameras.best_mode((), (640, 480)) is None


def test_a_folder_that_cannot_be_written_is_named(no_cameras, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["find-cameras", "--also", "pattern", "--output", str(tmp_path / "file/x")])
    assert ended.value.code == 2
    assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_labels_stand_above_the_picture():
    rgb = np.full((40, 50, 3), 200, np.uint8)
    paper = labelled(rgb, ["Arm Cam", "/dev/video0 ü"])
    assert np.array_equal(paper[-40:, :50], rgb)
    assert paper[:-40].max() > 200
    assert paper.shape[1] > 50


def test_a_sheet_holds_every_picture():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    sheet = contact_sheet([(np.full((48, 64, 3), colour, np.uint8), ["x"]) for colour in colours])
    assert all(
        (np.abs(sheet.astype(int) - colour).sum(axis=2) < 3).sum() > 10_000 for colour in colours
    )
    assert jpeg.decode(jpeg.encode(sheet)).shape == sheet.shape
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
