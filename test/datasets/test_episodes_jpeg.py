"""A camera's JPEG as it is: its colours, its statistics, and what is refused."""

import array
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from made_episodes import CONTRACT, counted, counters, frame, jpeg, picture, rgb
from test_episodes_video import track

from armlet.camera import TornPicture
from armlet.camera import jpeg as jpegs
from armlet.datasets import Dataset, DatasetWriter, FrameError, VideoError, check
from armlet.datasets.format import stats
from armlet.datasets.format.pictures import Developer, sampled, stored_picture
from armlet.datasets.format.video import decode

# OpenCV before 4.7 has no choice of chroma sampling: these come from FFmpeg's encoder.
FORMATS = {"4:2:0": "yuvj420p", "4:2:2": "yuvj422p", "4:4:4": "yuvj444p", "progressive": ""}
SIZES = [(48, 64), (50, 70), (240, 320), (320, 240), (480, 640)]


def camera_jpeg(pixels, kind):
    """An RGB picture as a JPEG of one of FORMATS."""
    if not FORMATS[kind]:
        return jpeg(pixels, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.time_base = FORMATS[kind], Fraction(1, 30)
    encoder.qmin = encoder.qmax = 2
    packets = encoder.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    return b"".join(bytes(packet) for packet in [*packets, *encoder.encode(None)])


def grey(pixels):
    return cv2.imencode(".jpg", pixels[..., 0])[1].tobytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_colours_are_those_of_the_rgb_picture(tmp_path, kind):
    pictures = [picture(5 * i, 240, 320) for i in range(6)]
    jpegs = [camera_jpeg(one, kind) for one in pictures]
    one = track(tmp_path / "a.mp4", (240, 320), crf=4)
    for content in jpegs:
        one.put(content)
    found = one.finish(6)
    one.close()
    error = decode(tmp_path / "a.mp4").astype(int) - np.stack([rgb(j) for j in jpegs])
    assert np.abs(error.mean(axis=(0, 1, 2))).max() < 1.6  # decoders round down
    assert np.abs(error).mean() < 2
    assert np.abs(error).max() <= 12
    assert found["count"].tolist() == [6]


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_full_range_becomes_limited_range(level):
    """Range mistaken either way would be off by up to 16 levels."""
    content = jpeg(np.full((32, 32, 3), level, np.uint8))
    frame = Developer(32, 32).jpeg(content).frame
    luma = np.frombuffer(frame.planes[0], np.uint8)[:32]
    assert np.abs(luma - (16 + level * 219 / 255)).max() <= 0.5
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - level).max() <= 2


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", SIZES)
def test_statistics_are_those_of_the_rgb_picture(kind, size):
    rng = np.random.default_rng(1)
    noisy = np.clip(picture(3, *size) + rng.normal(0, 8, (*size, 3)), 0, 255).astype(np.uint8)
    content = camera_jpeg(noisy, kind)
    levels = Developer(*size).jpeg(content).levels
    expected = stats.count_levels(sampled(rgb(content)))
    assert (levels.sum(axis=1) == expected.sum(axis=1)).all()
    ours, theirs = stats.picture_stats(levels, 1), stats.picture_stats(expected, 1)
    for name, value in theirs.items():
        # Two decoders' inverse transforms may differ by a level.
        bound = 2.01 / 255 if name in ("min", "max") or name.startswith("q") else 0.2 / 255
        assert np.abs(ours[name] - value).max() <= bound, name


def test_a_grey_camera(tmp_path):
    pictures = [picture(i, 48, 64) for i in range(3)]
    one = track(tmp_path / "a.mp4", (48, 64), crf=4)
    for pixels in pictures:
        one.put(grey(pixels))
    one.finish(3)
    error = decode(tmp_path / "a.mp4").astype(int) - np.stack([p[..., :1] for p in pictures])
    assert np.abs(error).mean() < 3


@pytest.mark.parametrize(
    "form",
    [
        bytes,
        bytearray,
        memoryview,
        lambda b: np.frombuffer(b, np.uint8),
        lambda b: array.array("B", b),
    ],
)
def test_rows_and_jpegs_come_back_whatever_holds_their_bytes(tmp_path, form):
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for i in range(5):
            images = {c.name: form(jpeg(counted(i, c.height, c.width))) for c in CONTRACT.cameras}
            writer.add_frame(frame(i, images=images))
        writer.finish_episode()
    dataset = Dataset(tmp_path / "set")
    for camera in CONTRACT.cameras:
        assert counters(dataset.images(0, camera.name)) == list(range(5))
    assert check(dataset.root) == []


def _bad(content, kind):
    return {
        "half": content[: len(content) // 2],
        "no end": content[:-2],
        "empty": b"",
        "a PNG": cv2.imencode(".png", picture(0, 48, 64))[1].tobytes(),
        "marks only": b"\xff\xd8\xff\xd9",
        "size": jpeg(picture(0, 64, 48)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("half", "is cut off"),
        ("no end", "is cut off"),
        ("empty", "are not a JPEG"),
        ("a PNG", "are not a JPEG"),
        ("marks only", "states no size"),
        ("size", "expected 64x48, found a JPEG of 48x64"),
    ],
)
def test_what_is_no_whole_jpeg_is_refused_and_leaves_the_episode_as_it_was(tmp_path, kind, message):
    good = {c.name: jpeg(picture(0, c.height, c.width)) for c in CONTRACT.cameras}
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        with pytest.raises(FrameError, match=f"image front.*{message}"):
            writer.add_frame(frame(0, images={**good, "front": _bad(good["front"], kind)}))
        writer.add_frame(frame(0, images=good))
        assert writer.finish_episode().frames == 1


@pytest.mark.parametrize("padding", [0, 1, 63, 64, 4095, 4096, 100_000])
def test_padding_behind_the_end_is_alike_for_camera_aligner_bag_and_recorder(tmp_path, padding):
    """D4: the recorder called 4,096 zeros and more half a JPEG, which ended the recording."""
    pictures = {c.name: jpeg(picture(0, c.height, c.width)) for c in CONTRACT.cameras}
    padded = {name: content + bytes(padding) for name, content in pictures.items()}
    assert all(jpegs.is_whole(content) for content in padded.values())
    assert all(np.array_equal(jpegs.decode(padded[n]), rgb(pictures[n])) for n in pictures)
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for index in range(3):
            writer.add_frame(frame(index, images=padded))
        assert writer.finish_episode().damaged == {}
    shown = Dataset(tmp_path / "set").images(0, "front")
    assert np.abs(shown[2].astype(int) - rgb(pictures["front"])).mean() < 4


def oriented(content, orientation):
    """The JPEG with an EXIF orientation: the same rows, said to be turned."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    body = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_exif_orientation_is_ignored_by_policy_recorder_and_stored_pictures(
    tmp_path, orientation
):
    """D3: the policy saw the picture turned, the recorder stored it as its rows are."""
    plain = {c.name: jpeg(picture(0, c.height, c.width)) for c in CONTRACT.cameras}
    turned = {name: oriented(content, orientation) for name, content in plain.items()}
    upright = cv2.imdecode(np.frombuffer(turned["front"], np.uint8), cv2.IMREAD_COLOR)
    assert not np.array_equal(upright[..., ::-1], rgb(plain["front"]))  # OpenCV alone would turn it
    assert np.array_equal(jpegs.decode(turned["front"]), rgb(plain["front"]))
    assert np.array_equal(stored_picture({"bytes": turned["front"]}, ""), rgb(plain["front"]))
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for index in range(3):
            writer.add_frame(frame(index, images=turned))
        writer.finish_episode()
    recorded = Dataset(tmp_path / "set").images(0, "front")[1].astype(int)
    assert np.abs(recorded - jpegs.decode(turned["front"])).mean() < 4


def test_a_jpeg_that_states_more_pixels_than_any_camera_has_is_not_decoded():
    content = bytearray(jpeg(picture(0, 48, 64)))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 65500, 65500)
    with pytest.raises(TornPicture, match="65500x65500 pixels"):
        jpegs.decode(bytes(content))


def _scan(content):
    return content.index(b"\xff\xda")


def test_a_jpeg_that_cannot_be_decoded_ends_the_episode_by_name(tmp_path):
    arithmetic = b"\xff\xc9"  # a coding that no decoder here knows
    broken = jpeg(picture(0, 48, 64)).replace(b"\xff\xc0", arithmetic, 1)
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        writer.add_frame(frame(0))
        writer.add_frame(frame(1, images={**frame(1).images, "front": broken}))
        with pytest.raises(VideoError, match=r"front.*picture 1: a JPEG"):
            writer.finish_episode()
        writer.discard_episode()
    assert check(tmp_path / "set") == []


def test_a_partly_damaged_jpeg_is_stored_and_named(tmp_path):
    content = jpeg(picture(0, 48, 64))
    torn = content[: (_scan(content) + len(content)) // 2] + b"\xff\xd9"
    with DatasetWriter(tmp_path / "set", CONTRACT) as writer:
        writer.begin_episode("pick")
        for i in range(4):
            images = {**frame(i).images, "front": torn if i == 2 else content}
            writer.add_frame(frame(i, images=images))
        summary = writer.finish_episode()
    assert (summary.frames, summary.damaged) == (4, {"front": [2]})
    assert Dataset(tmp_path / "set").damaged(0) == {"front": [2]}
    assert Dataset(tmp_path / "set").ledger(0) is None
    assert check(tmp_path / "set") == [
        "episode 0: 1 picture(s) of front came damaged from the camera, first at frame 2"
    ]


def test_stock_decoders_see_what_the_camera_saw(tmp_path):
    """OpenCV and PyAV without our reader: tags, not luck, make the colours right."""
    colours = [(250, 250, 250), (220, 40, 30), (30, 200, 60), (40, 60, 210), (5, 5, 5)]
    one = track(tmp_path / "a.mp4", (64, 64), crf=4)
    for colour in colours:
        one.put(jpeg(np.full((64, 64, 3), colour, np.uint8)))
    one.finish(len(colours))
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    by_opencv = [video.read()[1][..., ::-1].mean(axis=(0, 1)) for _ in colours]
    video.release()
    with av.open(str(tmp_path / "a.mp4")) as container:
        by_av = [f.to_ndarray(format="rgb24").mean(axis=(0, 1)) for f in container.decode(video=0)]
    assert np.abs(np.array(by_av) - colours).max() <= 3
    assert np.abs(np.array(by_opencv) - colours).max() <= 3
