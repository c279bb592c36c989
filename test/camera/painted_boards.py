"""Pictures of a ChArUco board by a camera whose intrinsics are known."""

import functools

import cv2
import numpy as np

from armlet.camera import charuco

SIZE = (640, 480)
K = np.array([[520.0, 0.0, 331.0], [0.0, 517.0, 229.0], [0.0, 0.0, 1.0]])
D = np.array([-0.18, 0.06, 0.001, -0.0015, 0.0])
_TEXTURE_PX = 40


@functools.cache
def _texture():
    board = charuco.printed()
    margin = charuco._MARGIN_MM * charuco._PRINTED_PX_MM
    own = board[margin:-margin, margin:-margin]
    size = (charuco.COLUMNS * _TEXTURE_PX, charuco.ROWS * _TEXTURE_PX)
    return cv2.resize(own, size, interpolation=cv2.INTER_AREA)


@functools.cache
def _rays():
    """Where each pixel looks, (n, 2), with the shape of a picture."""
    width, height = SIZE
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([u, v], -1).reshape(-1, 1, 2).astype(np.float64)
    rays = cv2.undistortPoints(pixels, K, D).reshape(-1, 2)
    return np.column_stack([rays, np.ones(len(rays))]), u.shape


def painted(rotation_vector, translation, bend=0.0):
    """uint8 (480, 640, 3) of the board; translation of its middle, squares.

    bend: how far a corner of the board is out of its plane, squares: no camera explains that.
    """
    rays, shape = _rays()
    rotation, _ = cv2.Rodrigues(np.array(rotation_vector, float))
    to_picture = np.column_stack([rotation[:, :2], np.array(translation, float)])
    places = rays @ np.linalg.inv(to_picture).T
    x = places[:, 0] / places[:, 2] + charuco.COLUMNS / 2
    y = places[:, 1] / places[:, 2] + charuco.ROWS / 2
    x = x + bend * np.sin(x)
    where = [(each * _TEXTURE_PX - 0.5).reshape(shape).astype(np.float32) for each in (x, y)]
    gray = cv2.remap(_texture(), *where, cv2.INTER_LINEAR, borderValue=255)
    return cv2.cvtColor(cv2.GaussianBlur(gray, (0, 0), 0.6), cv2.COLOR_GRAY2RGB)


def poses(count, seed=1):
    """Places and tilts in which all of the board is seen, or nearly."""
    dice = np.random.default_rng(seed)
    for _ in range(count):
        tilt = dice.uniform(-0.7, 0.7, 3) * (1, 1, 0.4)
        distance = dice.uniform(9.0, 14.0)
        across = dice.uniform(-0.2, 0.2, 2) * distance
        yield tilt, (*across, distance)


def boards(count, **more):
    return [painted(*pose, **more) for pose in poses(count)]
