"""Intrinsics from painted boards of a known camera, and what is refused."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from painted_boards import SIZE, D, K, boards, painted

from armlet.camera import CameraError, charuco, intrinsics_text, read_intrinsics
from armlet.camera.charuco import Collection, Detector, gathered, measured

if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
    pytest.skip("this OpenCV knows no ChArUco boards", allow_module_level=True)


@pytest.fixture(scope="module")
def collection():
    collection = Collection()
    list(gathered(boards(30), collection))
    return collection


def test_intrinsics_of_painted_boards_are_the_cameras(collection):
    """Tolerances: 0.5 % of the focal length, 2 px of the centre."""
    found = measured(collection.views, "front")
    k = np.array(found.intrinsics.k).reshape(3, 3)
    assert found.views == charuco.VIEWS and found.error_px < 0.2 and not found.doubt
    np.testing.assert_allclose(np.diag(k)[:2], np.diag(K)[:2], rtol=0.005)
    np.testing.assert_allclose(k[:2, 2], K[:2, 2], atol=2.0)
    assert 0 < found.deviations_px[0] < 5.0
    # What distortion does at the edge of the picture, px.
    edge = np.array([[[0.5, 0.38, 1.0]]])
    theirs, _ = cv2.projectPoints(edge, np.zeros(3), np.zeros(3), K, D)
    ours, _ = cv2.projectPoints(edge, np.zeros(3), np.zeros(3), k, np.array(found.intrinsics.d))
    assert np.abs(theirs - ours).max() < 2.0


def test_what_is_written_is_read_again_by_the_camera_node(collection, tmp_path):
    found = measured(collection.views, "front").intrinsics
    (tmp_path / "front.yaml").write_text(intrinsics_text(found))
    read = read_intrinsics(tmp_path / "front.yaml", *SIZE)
    assert read.camera_name == "front" and read.distortion_model == "plumb_bob"
    for name in ("k", "d", "r", "p"):
        np.testing.assert_allclose(getattr(read, name), getattr(found, name), atol=1e-8)


def test_a_view_that_was_there_is_not_taken_again():
    collection, detector = Collection(), Detector()
    view = detector.find(painted((0.3, 0.1, 0), (0, 0, 10)))
    assert collection.add(view) and not collection.add(view)
    assert collection.add(detector.find(painted((0.3, -0.4, 0), (0, 0, 10))))


def test_a_picture_without_the_board_is_no_view():
    assert Detector().find(np.full((480, 640, 3), 90, np.uint8)) is None


def test_pictures_of_another_size_are_refused():
    collection, detector = Collection(), Detector()
    picture = painted((0.3, 0.1, 0), (0, 0, 10))
    collection.add(detector.find(picture))
    with pytest.raises(CameraError, match="differ in size: 640x480, then 600x460"):
        collection.add(detector.find(np.ascontiguousarray(picture[:460, :600])))


def test_too_few_views_are_refused(collection):
    with pytest.raises(CameraError, match="at least 8 different views of the board, found 3"):
        measured(collection.views[:3])


def test_a_bent_board_is_doubted():
    collection = Collection(10)
    list(gathered(boards(20, bend=0.1), collection))
    assert "glue the board on something flat" in measured(collection.views).doubt


def test_views_that_are_all_alike_are_doubted():
    detector = Detector()
    shots = [painted((0.0, 0.0, 0.02 * n), (0.1 * n, 0, 12)) for n in range(8)]
    found = measured([detector.find(each) for each in shots])
    assert "tilt the board more" in found.doubt


@pytest.mark.parametrize(
    "error_px, deviations_px", [(np.nan, (1.0,) * 4), (0.2, (1.0, np.nan, 1, 1))]
)
def test_what_is_no_number_is_doubted(collection, error_px, deviations_px):
    found = measured(collection.views)
    assert replace(found, error_px=error_px, deviations_px=deviations_px).doubt


def test_a_name_with_quotes_is_read_again(collection, tmp_path):
    found = measured(collection.views, 'the "front"').intrinsics
    (tmp_path / "front.yaml").write_text(intrinsics_text(found))
    assert read_intrinsics(tmp_path / "front.yaml", *SIZE).camera_name == 'the "front"'
