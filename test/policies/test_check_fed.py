"""Pictures that come to the policy otherwise than in training, though every document agrees."""

import dataclasses

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402

from armlet.camera import jpeg  # noqa: E402
from armlet.findings import Code, Severity  # noqa: E402
from armlet.policies import Preprocessor, read_checkpoint  # noqa: E402
from armlet.policies.fit.check import check  # noqa: E402
from armlet.policies.fit.detail import detail_of, details_of  # noqa: E402
from armlet.policies.fit.samples import LiveSample  # noqa: E402


class PerFrame(Preprocessor):
    """Normalizes each picture by its own mean and std."""

    def network_input(self, arrays):
        inputs = super().network_input(arrays)
        for key, values in inputs.items():
            if self.features[key].type == "VISUAL":
                mean, std = values.mean((2, 3), keepdim=True), values.std((2, 3), keepdim=True)
                inputs[key] = (values - mean) / std
        return inputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Its contract says how fine the training pictures are."""
    images = w.dataset().images
    contract = dataclasses.replace(w.CONTRACT, detail=details_of(images))
    return read_checkpoint(w.save_good(tmp_path_factory.mktemp("fed") / "good", contract))


def found(checkpoint, change=lambda picture: picture, quality=90, code=None):
    """Findings of a code for a robot whose cameras do something to their pictures."""
    sample = LiveSample(w.CONTRACT)
    taken = w.seen(0)
    for row in range(10):
        images = {name: change(pictures[row]) for name, pictures in taken.items()}
        sample.add(np.zeros(6), images, dict.fromkeys(images, quality))
    report = check(checkpoint, robot=w.CONTRACT, samples=[sample.samples(None)])
    return [f for f in report.findings if f.code is code]


def test_a_picture_normalized_by_itself_is_refused(checkpoint):
    made = PerFrame.from_config(checkpoint.config, checkpoint.statistics)
    spoiled = dataclasses.replace(checkpoint, preprocessor=made)
    code = Code.POLICY_INPUT_NORMALIZATION
    lines = found(spoiled, code=code)
    assert [f.severity for f in lines] == [Severity.ERROR] * 2, lines
    assert found(checkpoint, code=code) == []


def enlarged(picture):
    height, width = picture.shape[:2]
    return cv2.resize(cv2.resize(picture, (width // 2, height // 2)), (width, height))


def cut_out(picture):
    height, width = picture.shape[:2]
    middle = picture[height // 8 : -(height // 8), width // 8 : -(width // 8)]
    return cv2.resize(middle, (width, height))


def sharpened(picture):
    """As of a camera that sharpens, or leaves out pixels of a larger picture."""
    seen = picture.astype(np.float64)
    return np.clip(seen + 2 * (seen - cv2.blur(seen, (3, 3))), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [enlarged, cut_out, sharpened])
def test_pictures_that_are_finer_or_less_fine_are_warned_of(checkpoint, change):
    lines = found(checkpoint, change, code=Code.POLICY_IMAGE_DETAIL)
    assert Severity.WARNING in {f.severity for f in lines}, lines


def test_training_pictures_have_their_own_detail(checkpoint):
    lines = found(checkpoint, code=Code.POLICY_IMAGE_DETAIL)
    assert [f.severity for f in lines] == [Severity.OK] * 2, lines


def test_detail_knows_neither_light_nor_contrast():
    pictures = w.seen(0)["front"]
    darker = (pictures * 0.5).astype(np.uint8)
    assert detail_of(darker) == pytest.approx(detail_of(pictures), rel=0.1)
    assert detail_of(np.full((2, 8, 8, 3), 7, np.uint8)) == 0


def test_coarse_jpeg_is_warned_of(checkpoint):
    code = Code.POLICY_IMAGE_COMPRESSED
    assert [f.severity for f in found(checkpoint, quality=15, code=code)] == [Severity.WARNING] * 2
    assert found(checkpoint, quality=50, code=code) == []


@pytest.mark.parametrize("quality", [25, 50, 75, 90])
def test_a_jpeg_says_how_it_was_compressed(quality):
    picture = w.seen(0)["front"][0]
    assert jpeg.quality(jpeg.encode(picture, quality)) == quality


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xdb\x00\x43\x00\x01", b"\xff\xd8\xff\xdb\x00\x00"]
)
def test_what_is_no_jpeg_says_nothing(data):
    assert jpeg.quality(data) is None
