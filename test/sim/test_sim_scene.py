import threading

import cv2
import numpy as np
import pytest

from armlet.robots.kinematics import HOME, forward, solve_reach
from armlet.sim.demonstrator import WORKSPACE_X, WORKSPACE_Y, demonstrate_reach
from armlet.sim.optics import lens
from armlet.sim.scene import Scene, View, target_point

SMALL = {name: View(name, 128, 96) for name in ("front", "wrist")}
TARGET = np.array([0.25, 0.05])


@pytest.fixture(scope="module")
def scene():
    return Scene()


def above(height):
    return target_point(TARGET) + np.array([0.0, 0.0, height])


def red_pixels(picture):
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return np.argwhere((red > 90) & (red > 2 * green) & (red > 2 * blue))


@pytest.mark.parametrize("size", [(128, 96), (640, 480), (320, 240), (97, 101)])
@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_pictures_have_the_asked_size_and_structure(scene, camera, size):
    picture = scene.render(View(camera, *size), HOME, TARGET)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 20


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_the_target_moves_in_the_picture(scene, camera):
    here = scene.render(SMALL[camera], HOME, TARGET)
    there = scene.render(SMALL[camera], HOME, TARGET - np.array([0.0, 0.03]))
    moved = red_pixels(there).mean(axis=0) - red_pixels(here).mean(axis=0)
    assert np.abs(moved).max() > 4


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_every_joint_shows(scene, camera, joint):
    start = solve_reach(above(0.08), 0.0)
    moved = start.copy()
    moved[joint] += 0.15
    before = scene.render(SMALL[camera], start, TARGET).astype(int)
    after = scene.render(SMALL[camera], moved, TARGET)
    assert (np.abs(after - before).max(axis=2) > 25).sum() > 20


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_the_target_is_seen_over_the_workspace_all_through_a_reach(scene, camera):
    rng = np.random.default_rng(0)
    seen = []
    for x in np.linspace(*WORKSPACE_X, 5):
        for y in np.linspace(*WORKSPACE_Y, 5):
            reach = demonstrate_reach(HOME, np.array([x, y]), rng)
            for share in (0.0, 0.3, 0.6, 0.8, 1.0):
                joints = reach.joints(share * reach.duration_s)
                picture = scene.render(SMALL[camera], joints, np.array([x, y]))
                seen.append(len(red_pixels(picture)) >= 5)
    assert np.mean(seen) > 0.97


def test_nothing_but_the_target_is_red(scene):
    for camera in SMALL.values():
        assert len(red_pixels(scene.render(camera, HOME, np.array([-3.0, 0.0])))) == 0


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_geometry_does_not_depend_on_the_size(scene, camera):
    joints = solve_reach(above(0.06))
    large = scene.render(View(camera, 640, 480), joints, TARGET)
    shrunk = cv2.resize(large, (128, 96), interpolation=cv2.INTER_AREA)
    small = scene.render(SMALL[camera], joints, TARGET)
    assert np.abs(shrunk.astype(int) - small).mean() < 8
    centre_large = (red_pixels(large).mean(axis=0) + 0.5) / 5 - 0.5
    assert np.abs(centre_large - red_pixels(small).mean(axis=0)).max() < 1.0


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_the_target_is_painted_where_the_pinhole_says(scene, camera):
    view = View(camera, 640, 480)
    seen_by = lens(view, forward(HOME))
    x, y, z = seen_by.to_camera(target_point(TARGET)[None])[0]
    column, row = seen_by.focal * np.array([x, y]) / z + seen_by.centre
    found = red_pixels(scene.render(view, HOME, TARGET)).mean(axis=0)
    assert np.abs(found - [row, column]).max() < 6


def test_the_table_lies_where_the_pinhole_says(scene):
    # The mat's left border, 0.31 m left of the base: wood is brighter than the mat beside it.
    view = View("front", 640, 480)
    seen_by = lens(view, forward(HOME))
    picture = scene.render(view, HOME, TARGET).astype(int)
    for x in (0.05, 0.15):
        spots = np.array([[x, 0.29, 0.0], [x, 0.33, 0.0], [x, -0.27, 0.0]])
        seen = seen_by.to_camera(spots)
        pixels = seen_by.focal * seen[:, :2] / seen[:, 2:] + seen_by.centre
        for (column, row), wooden in zip(pixels, (False, True, False), strict=True):
            if 0 <= row < 480 and 0 <= column < 640:
                red, _, blue = picture[round(row), round(column)]
                assert (red > blue) == wooden


def test_shadow_darkens_the_table(scene):
    view = SMALL["front"]
    lit = scene.render(view, HOME, np.array([-3.0, 0.0])).astype(int)
    shadowed = scene.render(view, solve_reach(target_point(TARGET)), np.array([-3.0, 0.0]))
    assert (shadowed.astype(int).sum(axis=2) < lit.sum(axis=2) - 60).sum() > 50


def test_rendering_is_repeatable_and_leaves_no_trace(scene):
    first = scene.render(SMALL["front"], HOME, TARGET)
    scene.render(SMALL["front"], np.zeros(6), TARGET)
    assert np.array_equal(first, scene.render(SMALL["front"], HOME, TARGET))


def test_noise_is_seeded_and_of_the_asked_strength():
    clean = Scene().render(SMALL["front"], HOME, TARGET).astype(int)
    one, two = (Scene(seed=7, noise=4.0).render(SMALL["front"], HOME, TARGET) for _ in range(2))
    assert np.array_equal(one, two)
    assert (one - clean).std() == pytest.approx(4.0, rel=0.1)
    noisy = Scene(seed=7, noise=4.0)
    assert not np.array_equal(
        noisy.render(SMALL["front"], HOME, TARGET), noisy.render(SMALL["front"], HOME, TARGET)
    )


def test_threads_get_the_same_pictures():
    shared = Scene()
    expected = Scene().render(SMALL["front"], HOME, TARGET)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(shared.render(SMALL["front"], HOME, TARGET)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(expected, picture) for picture in found)


@pytest.mark.parametrize("joints", [np.zeros(6), np.array([0, -1.7, -1.5, -1.6, 2.7, 0.9])])
def test_any_pose_can_be_rendered(scene, joints):
    for view in SMALL.values():
        assert scene.render(view, joints, TARGET).shape == (96, 128, 3)


def test_unknown_cameras_and_sizes_are_refused():
    with pytest.raises(ValueError, match="front and wrist"):
        View("top", 128, 96)
    with pytest.raises(ValueError, match="too small"):
        View("front", 4, 4)
