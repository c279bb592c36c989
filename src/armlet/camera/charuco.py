"""Intrinsics of a camera, measured on pictures of a ChArUco board.

The board is a chessboard with a marker in each white square, so that a part of it is enough. The
size of its squares does not matter here: intrinsics are about directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CameraError
from .intrinsics import Intrinsics
from .source import Rgb

Points = NDArray[np.float32]

COLUMNS, ROWS = 8, 6
SQUARE_MM = 30
"""As the board is printed on A4."""

VIEWS = 20
FEWEST_VIEWS = 8
MOST_ERROR_PX = 1.0
"""Reprojection error of a board that is bent, or of a picture that is blurred, is above it."""

MOST_DEVIATION = 0.01
"""Standard deviation, as a share of the focal length: beyond, the views are too alike."""

_MARKER = 0.73
_FEWEST_CORNERS = 12
_FEWEST_LINES = 3
_APART = 0.08
_PRINTED_PX_MM = 12
_TILT = "tilt the board more, in all directions"
_MARGIN_MM = 10


@dataclass(frozen=True, eq=False)
class View:
    """The board in one picture.

    size: of the picture, width and height. corners: float32 (n, 2), pixels. board: float32 (n, 2),
    where they are on the board, squares.
    """

    size: tuple[int, int]
    corners: Points
    board: Points


@dataclass(frozen=True)
class Measured:
    """Intrinsics, and how well they are known.

    error_px: RMS distance of corners from where the intrinsics have them. deviations_px: standard
    deviations of fx, fy, cx and cy. tilt: by how much the board's perspective differs among views,
    as the share of its size by which its far edge is smaller.
    """

    intrinsics: Intrinsics
    views: int
    error_px: float
    deviations_px: tuple[float, ...]
    tilt: float

    @property
    def doubt(self) -> str:
        """Why they are not to be used, with what to do; empty if they are."""
        # What is no number is no result.
        if not self.error_px <= MOST_ERROR_PX:
            return (
                f"corners are {self.error_px:.2f} px from where they should be, expected at most "
                f"{MOST_ERROR_PX:g}: glue the board on something flat, and hold it still"
            )
        share = float(np.max(self.deviations_px)) / self.intrinsics.k[0]
        if not 0 <= share <= MOST_DEVIATION:
            return (
                f"focal lengths and centre are only known to {share:.1%} of the focal length, "
                f"expected {MOST_DEVIATION:.0%}: {_TILT}"
            )
        # Boards that all face the camera fit any focal length, with deviations that OpenCV 4.10
        # gives as small ones.
        if not self.tilt >= _APART:
            return f"the board faces the camera alike in all {self.views} views: {_TILT}"
        return ""


class Detector:
    """Finds the board in pictures. Raises CameraError where OpenCV is too old for it."""

    def __init__(self) -> None:
        self._board = _board()
        self._detector = cv2.aruco.CharucoDetector(self._board)
        self._places: Points = np.asarray(self._board.getChessboardCorners())[:, :2]

    def find(self, rgb: Rgb) -> View | None:
        """The board in a picture uint8 (H, W, 3); None if too little of it is seen."""
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        corners, ids, _, _ = self._detector.detectBoard(gray)
        if ids is None or len(ids) < _FEWEST_CORNERS:
            return None
        places: Points = self._places[np.asarray(ids).ravel()]
        if min(len(np.unique(np.round(places[:, axis]))) for axis in (0, 1)) < _FEWEST_LINES:
            return None
        found: Points = np.asarray(corners, np.float32).reshape(-1, 2)
        return View((rgb.shape[1], rgb.shape[0]), found, places)


@dataclass
class Collection:
    """Views that differ, of one size."""

    wanted: int = VIEWS
    views: list[View] = field(default_factory=list)
    _seen: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there are as many as wanted."""
        return len(self.views) >= self.wanted

    def add(self, view: View) -> bool:
        """Whether the view is another one than all before, and was taken.

        Raises CameraError for a picture of another size.
        """
        if self.views and view.size != self.views[0].size:
            (width, height), (w, h) = self.views[0].size, view.size
            raise CameraError(f"pictures differ in size: {width}x{height}, then {w}x{h}")
        pose = _pose(view)
        if not np.isfinite(pose).all() or any(
            np.abs(pose - other).max() < _APART for other in self._seen
        ):
            return False
        self.views.append(view)
        self._seen.append(pose)
        return True


def gathered(pictures: Iterable[Rgb], collection: Collection) -> Iterator[View]:
    """Adds the board's views in pictures to a collection until it is complete; each as it comes."""
    detector = Detector()
    for picture in pictures:
        view = detector.find(picture)
        if view is not None and collection.add(view):
            yield view
        if collection.complete:
            return


def measured(views: list[View], name: str = "") -> Measured:
    """The intrinsics of the camera, of its name, that has these views.

    Raises CameraError for fewer than FEWEST_VIEWS.
    """
    if len(views) < FEWEST_VIEWS:
        raise CameraError(
            f"expected at least {FEWEST_VIEWS} different views of the board, found {len(views)}: "
            "hold it at other places, distances and tilts"
        )
    points = [np.column_stack([view.board, np.zeros(len(view.board))]) for view in views]
    # A webcam's third coefficient is not known from so few pictures, and falsifies the others.
    error, k, d, _, _, deviations, *_ = cv2.calibrateCameraExtended(
        [each.astype(np.float32) for each in points],
        [view.corners for view in views],
        views[0].size,
        np.eye(3),
        np.zeros(5),
        flags=cv2.CALIB_FIX_K3,
    )
    matrix = tuple(float(number) for number in np.asarray(k).ravel())
    return Measured(
        Intrinsics(
            *views[0].size,
            "plumb_bob",
            tuple(float(number) for number in np.asarray(d).ravel()[:5]),
            matrix,
            (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
            (*matrix[:3], 0.0, *matrix[3:6], 0.0, *matrix[6:], 0.0),
            name,
        ),
        len(views),
        float(error),
        tuple(float(number) for number in np.asarray(deviations).ravel()[:4]),
        float(np.ptp([_pose(view)[3:] for view in views], axis=0).max()),
    )


def printed() -> NDArray[np.uint8]:
    """The board to print, uint8 (h, w): squares of SQUARE_MM where it is printed at 304.8 dpi."""
    size = [(count * SQUARE_MM + 2 * _MARGIN_MM) * _PRINTED_PX_MM for count in (COLUMNS, ROWS)]
    margin = _MARGIN_MM * _PRINTED_PX_MM
    return np.asarray(_board().generateImage(size, marginSize=margin), np.uint8)


def _board() -> cv2.aruco.CharucoBoard:
    if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
        raise CameraError(
            f"ChArUco boards need OpenCV 4.7 or newer, found {cv2.__version__}: "
            "pip install --upgrade opencv-python-headless"
        )
    markers = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    return cv2.aruco.CharucoBoard((COLUMNS, ROWS), 1.0, _MARKER, markers)


def _pose(view: View) -> NDArray[np.float64]:
    """What differs between views: place, size and tilt of the board (5,), as shares."""
    # From the board's middle, so that tilt and place are told apart.
    board = view.board - (COLUMNS / 2, ROWS / 2)
    wide = float(max(view.size))
    homography, _ = cv2.findHomography(board, view.corners / wide)
    if homography is None:
        return np.full(5, np.nan)
    h = homography / homography[2, 2]
    size = np.sqrt(abs(np.linalg.det(h[:2, :2] - np.outer(h[:2, 2], h[2, :2]))))
    return np.array([h[0, 2], h[1, 2], size * COLUMNS, *(h[2, :2] * COLUMNS)])
