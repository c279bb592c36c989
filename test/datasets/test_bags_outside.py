"""Bags as others make them: another unit, odd pictures, no stamps, files that a crash left."""

import contextlib
import dataclasses
import io
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="reading bags needs rosbags (pip install 'armlet[bag]')")

import lz4.frame
import made_bags
from made_bags import COMMANDS, STATES, Recorded, picture_topic, scene, write
from made_episodes import START_NS, counters, jpeg, rgb
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from test_bags import convert, joined

from armlet.camera import CameraError, raw
from armlet.camera import jpeg as jpegs
from armlet.datasets import Dataset, DatasetError
from armlet.datasets.bags import parts
from armlet.datasets.bags.streams import parameters
from armlet.datasets.format import layout
from armlet.settings.aligner import stream_settings

CASES = Path(__file__).parents[3] / "shared/cases"
FRONT = picture_topic("front")


@pytest.fixture(scope="module")
def messages():
    return scene(1.0, ("front",))


def changed(messages, topics, change):
    return [change(m) if m.topic in topics else m for m in messages]


def joints_as(messages, change, topics=(STATES, COMMANDS)):
    """Positions (6,) changed by a function, as a bag has them."""
    return changed(messages, topics, lambda m: dataclasses.replace(m, value=change(m.value)))


def refused(bag, output, capsys, *words):
    """What is said of a bag that is refused; nothing is left in its dataset's place."""
    assert convert(bag, output, *words) == 2
    assert not output.exists()
    assert [p for p in output.parent.iterdir() if p.name.startswith(f".{output.name}-")] == []
    return capsys.readouterr().err


# --- units ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        (np.degrees, "looks like degrees"),
        (lambda v: np.degrees(v) / 4, "looks like degrees"),
        (lambda v: 2047 + v * 651, "looks like ticks"),
        (lambda v: np.append(v[:5] * 100, 100.0), "looks like percent"),
        (lambda v: np.append(v[:5], 50 + 40 * v[5]), "gripper"),
        (lambda v: v * 1e4, "degrees, ticks or another unit"),
    ],
)
def test_another_unit_is_refused_before_anything_is_written(
    messages, change, guess, tmp_path, capsys
):
    bag = write(tmp_path / "bag", joints_as(messages, change))
    said = refused(bag, tmp_path / "set", capsys)
    assert "/joint_states (stream state) is not in radians" in said
    assert guess in said and "calibrated range is" in said and "publisher send radians" in said


def test_commands_alone_in_degrees_are_refused(messages, tmp_path, capsys):
    bag = write(tmp_path / "bag", joints_as(messages, np.degrees, (COMMANDS,)))
    assert f"{COMMANDS} (stream action) is not in" in refused(bag, tmp_path / "set", capsys)


def test_a_gripper_in_metres_is_doubted(messages, tmp_path, capsys):
    bag = write(tmp_path / "bag", joints_as(messages, lambda v: np.append(v[:5], abs(v[5]) / 5)))
    assert convert(bag, tmp_path / "set") == 0
    assert "metres or a share" in capsys.readouterr().err


def test_a_glitch_is_no_unit(messages, tmp_path, capsys):
    at = next(k for k, m in enumerate(messages) if m.topic == STATES and k > 100)
    glitched = list(messages)
    glitched[at] = dataclasses.replace(messages[at], value=messages[at].value + 45.0)
    assert convert(write(tmp_path / "bag", glitched), tmp_path / "set") == 0
    captured = capsys.readouterr()
    assert "state: received 99" in captured.out and "refused 1" in captured.out
    assert "positions are radians" in captured.err
    assert np.abs(joined(tmp_path / "set", layout.STATE)).max() < 101


# --- pictures -------------------------------------------------------------------------------


@dataclasses.dataclass
class Raw:
    """An Image message."""

    height: int
    width: int
    encoding: str
    step: int
    data: np.ndarray
    is_bigendian: int = 0


def raw_picture(pixels, encoding, padding=0, big=0):
    """A message of pixels (H, W, C) with so many bytes behind each row."""
    height, width, channels = pixels.shape
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=7)
    return Raw(height, width, encoding, width * channels + padding, rows.ravel(), big)


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("big", [0, 1])
def test_raw_pictures_of_every_layout_have_the_right_pixels(padding, big):
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    alpha = np.full((48, 64, 1), 9, np.uint8)
    for encoding, coded in (
        ("rgb8", pixels),
        ("bgr8", pixels[..., ::-1]),
        ("rgba8", np.concatenate([pixels, alpha], 2)),
        ("bgra8", np.concatenate([pixels[..., ::-1], alpha], 2)),
    ):
        assert np.array_equal(raw.rgb(raw_picture(coded, encoding, padding, big)), pixels)
    grey = raw.rgb(raw_picture(pixels[..., :1], "mono8", padding, big))
    assert all(np.array_equal(grey[..., k], pixels[..., 0]) for k in range(3))


@pytest.mark.parametrize("step", [0, 128, 191, 193, 384, 2**31])
def test_a_step_that_does_not_fit_is_refused(step):
    picture = Raw(48, 64, "rgb8", step, np.zeros(48 * 192, np.uint8))
    with pytest.raises(CameraError, match=rf"64x48 with step {step}, but 9216 bytes"):
        raw.rgb(picture)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "32FC1", "rgb16", "nv24", "8UC2", ""])
def test_depth_and_unknown_encodings_are_refused(encoding):
    said = raw.unfit(Raw(2, 2, encoding, 6, np.zeros(12, np.uint8)))
    assert "publish rgb8" in said
    assert ("more than 8 bits" in said) == (encoding not in ("nv24", "8UC2", ""))


# What R, G and B take of Y - 16, U - 128 and V - 128: by ITU-R BT.601 for bytes of 16..235, and as
# OpenCV and so cv_bridge round that, in parts of 2 ** 20.
STANDARD = np.array(
    [[1.164384, 0, 1.596027], [1.164384, -0.391762, -0.812968], [1.164384, 2.017232, 0]]
)
ROUNDED = (
    np.array([[1220542, 0, 1673527], [1220542, -409993, -852492], [1220542, 2116026, 0]]) / 2**20
)


def video_rgb(y, u, v, shares=ROUNDED):
    parts = np.stack([np.maximum(y - 16.0, 0), u - 128.0, v - 128.0], -1)
    return np.clip(np.floor(parts @ shares.T + 0.5), 0, 255)


def assert_video(found, expected_yuv):
    assert np.array_equal(found, video_rgb(*expected_yuv))
    assert np.abs(found - video_rgb(*expected_yuv, STANDARD)).max() <= 1


def yuv(height, width, share_rows):
    """Brightness of each pixel, and colours of two by one or two by two: as stored, and spread."""
    random = np.random.default_rng(2)
    y = random.integers(0, 256, (height, width), np.uint8)
    shape = (height // share_rows, width // 2)
    u, v = (random.integers(0, 256, shape, np.uint8) for _ in range(2))
    spread = [each.repeat(2, axis=1).repeat(share_rows, axis=0) for each in (u, v)]
    return y, u, v, (y, *spread)


def padded(rows, height, width, encoding, pixel, padding):
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Raw(height, width, encoding, pixel * width + padding, rows.ravel())


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_pixels_of_packed_yuv_are_those_of_video(encoding, padding):
    y, u, v, expected = yuv(48, 64, 1)
    parts = [y[:, ::2], u, y[:, 1::2], v]
    if encoding in ("uyvy", "yuv422"):
        parts = [u, y[:, ::2], v, y[:, 1::2]]
    rows = np.stack(parts, -1).reshape(48, 128)
    found = raw.rgb(padded(rows, 48, 64, encoding, 2, padding))
    assert_video(found, expected)


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_pixels_of_yuv_in_two_planes_are_those_of_video(encoding, padding):
    y, u, v, expected = yuv(48, 64, 2)
    colours = np.stack([u, v] if encoding == "nv12" else [v, u], -1).reshape(24, 64)
    found = raw.rgb(padded(np.concatenate([y, colours]), 48, 64, encoding, 1, padding))
    assert_video(found, expected)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_a_bayer_picture_has_its_colours_where_they_are(encoding):
    letters = np.array(list(encoding[6:10])).reshape(2, 2)
    rgb = {"r": 200, "g": 90, "b": 30}
    mosaic = np.tile(np.vectorize(rgb.get)(letters), (4, 8)).astype(np.uint8)
    found = raw.rgb(padded(mosaic, 8, 16, encoding, 1, 16))
    assert np.array_equal(found, np.broadcast_to([200, 90, 30], (8, 16, 3)))


@pytest.mark.parametrize(
    ("encoding", "height", "width", "said"),
    [
        ("yuv422_yuy2", 4, 5, "takes an even width"),
        ("nv12", 5, 4, "takes even sides;"),
        ("bayer_rggb8", 2, 8, "takes even sides of 4 or more"),
        ("nv21", 4, 4, "takes a step of 4 or more, and 6 x step bytes"),
        ("uyvy", 4, 4, "takes a step of 8 or more, and 4 x step bytes"),
    ],
)
def test_a_size_that_an_encoding_cannot_have_is_refused(encoding, height, width, said):
    picture = Raw(height, width, encoding, 2 * width, np.zeros(2 * width * height + 1, np.uint8))
    assert said in raw.unfit(picture)


def as_raw(messages):
    """The scene with raw pictures."""
    return changed(
        messages,
        (FRONT,),
        lambda m: Recorded("/front/image_raw", m.stamp_ns, m.recorded_ns, rgb(m.value)),
    )


def test_wrong_steps_in_a_bag_are_counted_and_refused(messages, tmp_path, capsys, monkeypatch):
    made = made_bags.serialized

    def with_step(of_all):
        def serialized(message, *rest):
            kind, content = made(message, *rest)
            if kind == "sensor_msgs/msg/Image" and (of_all or message.stamp_ns % 2):
                picture = made_bags.TYPES.deserialize_cdr(content, kind)
                picture.step = 128
                content = bytes(made_bags.TYPES.serialize_cdr(picture, kind))
            return kind, content

        return serialized

    monkeypatch.setattr(made_bags, "serialized", with_step(True))
    bag = write(tmp_path / "bag", as_raw(messages))
    said = refused(bag, tmp_path / "set", capsys, "--raw")
    count = sum(m.topic == FRONT for m in messages)
    assert f"{count} refused, the first: picture of 64x48 with step 128, but 9216 bytes" in said
    monkeypatch.setattr(made_bags, "serialized", with_step(False))
    some = write(tmp_path / "some", as_raw(messages))
    assert convert(some, tmp_path / "set", "--raw", "--param", "front.tolerance_s:=0.2") == 0
    captured = capsys.readouterr()
    assert "front: received" in captured.out and "refused" in captured.out
    assert "with step 128" in captured.err
    numbers = counters(Dataset(tmp_path / "set").images(0, "front"))
    assert (np.diff(numbers) >= 0).all()


def coded(ending, pixels):
    done, data = cv2.imencode(ending, pixels)
    assert done
    return data.tobytes()


@pytest.mark.parametrize(
    ("data", "stated", "named"),
    [
        (coded(".png", np.zeros((4, 4, 3), np.uint8)), "rgb8; png compressed bgr8", "PNG"),
        (coded(".png", np.zeros((4, 4), np.uint16)), "16UC1; png compressed", "PNG"),
        (coded(".webp", np.zeros((4, 4, 3), np.uint8)), "webp", "WebP"),
        (
            bytes(12) + coded(".png", np.zeros((4, 4), np.uint16)),
            "16UC1; compressedDepth png",
            "De",
        ),
        (jpeg(np.zeros((16, 16, 3), np.uint8)), "mono16; jpeg compressed ", "JPEG"),
        (b"\x00\x00\x00\x01\x67", "h264", "H.264"),
        (b"", "", "(empty)"),
    ],
)
def test_what_is_no_jpeg_is_named(data, stated, named):
    said = jpegs.unfit(data, stated)
    assert said.startswith("expected JPEG of 8 bits, found") and named in said
    assert not stated or repr(stated) in said


@pytest.mark.parametrize("stated", ["jpeg", "", "rgb8; png compressed bgr8"])
def test_an_empty_picture_is_no_matter_of_its_format(stated):
    said = jpegs.unfit(b"", stated)
    assert "found a picture of 0 bytes" in said and "compress as JPEG" not in said


@pytest.mark.parametrize("stated", ["jpeg", "", "JPEG", "rgb8; jpeg compressed bgr8", "png"])
def test_bytes_of_a_jpeg_count_whatever_the_format_states(stated):
    assert jpegs.unfit(jpeg(np.zeros((16, 16, 3), np.uint8)), stated) == ""


def test_a_bag_of_png_is_refused_by_name(messages, tmp_path, capsys):
    png = changed(
        messages,
        (FRONT,),
        lambda m: dataclasses.replace(m, value=coded(".png", rgb(m.value)[..., ::-1])),
    )
    said = refused(write(tmp_path / "bag", png), tmp_path / "set", capsys)
    assert "expected JPEG of 8 bits, found PNG, and its format states 'jpeg'" in said


# --- stamps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (None, "header.stamp is zero"),
        (-START_NS + 5_000_000_000, "counted from a start"),
        (3600 * 10**9, "is not the time at which it was recorded, +3"),
        (-3600 * 10**9, "is not the time at which it was recorded, -3"),
    ],
)
def test_stamps_of_another_time_are_named_with_a_way_on(messages, shift, said, tmp_path, capsys):
    def stamped(message):
        stamp_ns = 0 if shift is None else message.stamp_ns + shift
        return dataclasses.replace(message, stamp_ns=stamp_ns)

    bag = write(tmp_path / "bag", changed(messages, (STATES, COMMANDS), stamped))
    message = refused(bag, tmp_path / "set", capsys)
    assert (
        "gave no frames; action refused: " in message
        or "gave no frames; state refused: " in message
    )
    assert said in message
    assert message.count("--stamps recorded") == 1  # of two topics
    assert message.count("have it stamp them") <= 1
    assert message.count(said) == 2
    assert (
        convert(bag, tmp_path / "set", "--stamps", "recorded", "--param", "front.tolerance_s:=0.1")
        == 0
    )
    assert Dataset(tmp_path / "set").info.total_frames > 20


# --- files ----------------------------------------------------------------------------------


def frames_of(bag, output):
    assert convert(bag, output) == 0
    return joined(output, layout.STATE)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_metadata_may_be_absent_empty_or_wrong(messages, storage, tmp_path, capsys):
    whole = write(tmp_path / "whole", messages, storage)
    expected = frames_of(whole, tmp_path / "set")
    capsys.readouterr()
    text = (whole / "metadata.yaml").read_text()
    name = next(p.name for p in whole.iterdir() if p.suffix != ".yaml")
    for number, content in enumerate(
        (
            None,
            "",
            text.replace(f"storage_identifier: {storage}", "storage_identifier: ''"),
            text.replace(name, "gone.mcap"),
            text.replace("version: 9", "version: 99"),
            "{}",
        )
    ):
        bag = shutil.copytree(whole, tmp_path / f"bag{number}")
        (bag / "metadata.yaml").unlink()
        if content is not None:
            (bag / "metadata.yaml").write_text(content)
        assert np.array_equal(frames_of(bag, tmp_path / f"set{number}"), expected)
        assert "metadata.yaml" in capsys.readouterr().err


@pytest.mark.representatives(1)
@pytest.mark.parametrize("ending", ["mcap", "sqlite3"])
def test_of_a_cut_file_what_is_whole_is_read(messages, ending, tmp_path, capsys):
    whole = write(tmp_path / "whole", messages, ending)
    expected = frames_of(whole, tmp_path / "set")
    file = next(p for p in whole.iterdir() if p.suffix != ".yaml")
    size = file.stat().st_size
    counts = []
    for share in (0.9, 0.6):
        file.write_bytes(file.read_bytes()[: int(size * share)])
        found = frames_of(whole, tmp_path / f"set{share}")
        assert "is cut off after" in capsys.readouterr().err
        counts.append(len(found))
        assert np.array_equal(found[:-2], expected[: len(found) - 2])
    assert len(expected) >= counts[0] > counts[1] > 5
    file.write_bytes(file.read_bytes()[:200])
    assert "before its first message" in refused(whole, tmp_path / "none", capsys)


def test_rows_of_a_cut_sqlite_file_are_whole_or_absent(tmp_path):
    """A row on pages that are gone was read with zeros in their place."""
    path = tmp_path / "whole.db3"
    values = np.random.default_rng(1)
    rows = [
        (1 + i, values.integers(1, 255, values.choice([60, 600, 20_000]), np.uint8).tobytes())
        for i in range(60)
    ]
    with contextlib.closing(sqlite3.connect(path)) as bag:
        bag.execute("CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT)")
        bag.execute(
            "CREATE TABLE messages "
            "(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
        )
        bag.execute("INSERT INTO topics VALUES (1, '/joint_states', 'JointState')")
        bag.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)", rows)
        bag.commit()
    content = path.read_bytes()
    counts = set()
    for size in range(4200, len(content), 3001):
        trimmed = tmp_path / "cut.db3"
        with trimmed.open("w+b") as output:
            parts.trim_sqlite(io.BytesIO(content[:size]), output)
        found = [
            (stamp, data) for _, stamp, data in parts.CutSqlite(trimmed).messages(["/joint_states"])
        ]
        assert found == rows[: len(found)]
        counts.add(len(found))
    assert len(counts) > 5 and max(counts) > 50


def test_a_cut_sqlite_bag_is_not_sent_to_mcaps_tool(messages, tmp_path, capsys):
    whole = write(tmp_path / "whole", messages, "sqlite3")
    file = next(whole.glob("*.db3"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    frames_of(whole, tmp_path / "set")
    said = capsys.readouterr().err
    assert "its complete part is read; for the rest, copy it again" in said
    assert "mcap" not in said


def test_a_bag_that_does_not_exist_is_said_to(tmp_path, capsys):
    said = refused(tmp_path / "nosuch", tmp_path / "set", capsys)
    assert "nosuch does not exist; give a bag's folder, or a file of it" in said
    assert "copy" not in said and "Errno" not in said


def test_several_files_without_metadata_are_one_recording(messages, tmp_path):
    half = len(messages) // 2
    expected = frames_of(write(tmp_path / "whole", messages), tmp_path / "set")
    bag = tmp_path / "bag"
    bag.mkdir()
    # By number, not by letter; and by time, whatever their names.
    for name, part in (("rec_10.mcap", messages[half:]), ("rec_9.mcap", messages[:half])):
        made = write(tmp_path / name.removesuffix(".mcap"), part)
        shutil.copy(next(made.glob("*.mcap")), bag / name)
    assert np.array_equal(frames_of(bag, tmp_path / "two"), expected)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE", "STORAGE"])
def test_compressed_bags(messages, mode, tmp_path):
    expected = frames_of(write(tmp_path / "plain", messages), tmp_path / "set")
    storage = "mcap" if mode == "STORAGE" else "sqlite3"
    bag = tmp_path / "bag"
    writer = Writer(bag, version=9, storage_plugin=made_bags.STORAGE[storage])
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for message in messages:
            kind, content = made_bags.serialized(message)
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, kind, typestore=made_bags.TYPES
                )
            writer.write(connections[message.topic], message.recorded_ns, content)
    assert np.array_equal(frames_of(bag, tmp_path / "packed"), expected)
    if mode != "MESSAGE":
        (bag / "metadata.yaml").unlink()
        assert np.array_equal(frames_of(bag, tmp_path / "bare"), expected)


@pytest.mark.parametrize("coding", ["zstd", "lz4"])
def test_of_a_cut_chunk_what_is_there_is_unpacked(coding):
    content = np.random.default_rng(0).bytes(1 << 20)
    packed = (lz4.frame if coding == "lz4" else parts.zstd()).compress(content)
    found = parts.decompressed(coding, packed[: len(packed) // 2], 1 << 20)
    assert len(found) > 1 << 18 and content.startswith(found)
    with pytest.raises(ValueError):
        parts.decompressed(coding, content, 1 << 20)


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "namespace", "taken"),
    [
        ("aligner", None, True),
        ("/aligner", None, True),
        ("/**", None, True),
        ("/**/aligner", None, True),
        ("/**/aligner", "a/b", True),
        ("/*/aligner", "a", True),
        ("/*/aligner", "a/b", False),
        ("/*", None, True),
        ("/a/*", "a", True),
        ("/a/**", "a/b", True),
        ("a/aligner", "a", True),
        ("a/aligner", None, True),
        ("a/aligner", "b", False),
        ("aligner", "a", False),
        ("front_camera", None, False),
        ("aligner_two", None, False),
        ("my_aligner", None, False),
        ("/front/camera", "front", False),
    ],
)
def test_blocks_apply_by_the_nodes_full_name(name, namespace, taken, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(f"{name}: {{ros__parameters: {{fps: 15}}}}\n")
    if taken:
        assert parameters(file, namespace) == {"fps": 15}
    else:
        with pytest.raises(DatasetError, match="expected parameters of /"):
            parameters(file, namespace)


def test_of_several_blocks_the_later_counts_and_other_nodes_do_not(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "/**: {ros__parameters: {fps: 10, use_sim_time: true, qos_overrides: {/a: {depth: 1}}}}\n"
        "left: {aligner: {ros__parameters: {fps: 20}}, camera: {ros__parameters: {fps: 5}}}\n"
        "camera: {ros__parameters: {fps: 15}}\n"
    )
    assert parameters(file) == {"fps": 20}
    assert parameters(file, "right") == {"fps": 10}
    file.write_text(
        "left/aligner: {ros__parameters: {fps: 20}}\nright/aligner: {ros__parameters: {fps: 5}}\n"
    )
    with pytest.raises(DatasetError, match="give --namespace"):
        parameters(file)
    assert parameters(file, "right") == {"fps": 5}


# --- live -----------------------------------------------------------------------------------


def test_the_aligner_node_refuses_the_same_in_the_same_words():
    raw_streams = pytest.importorskip("armlet.nodes.raw_streams", reason="needs ROS 2")
    from sensor_msgs.msg import CompressedImage, Image, JointState

    def source(name, kind):
        given = {"topic": "x", "type": kind, "policy": "nearest", "tolerance_s": 0.1}

        def value(full):
            settings = {s.name: s.default for s in stream_settings(name)}
            return given.get(full.partition(".")[2], settings[full])

        return raw_streams.raw_stream(name, ["pan"], value).sources[0]

    with pytest.raises(ValueError, match="positions are radians; 45 for pan looks like degrees"):
        source("state", "joint_state").sample(JointState(name=["pan"], position=[45.0]))
    picture = Image(height=48, width=64, encoding="rgb8", step=128, data=bytes(9216))
    with pytest.raises(ValueError, match="64x48 with step 128, but 9216 bytes"):
        source("front", "raw").sample(picture)
    png = coded(".png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="found PNG, and its format states 'png'"):
        source("front", "compressed").sample(CompressedImage(format="png", data=png))


# --- the cases of public reports ------------------------------------------------------------


@pytest.mark.parametrize(
    ("bag", "words", "said"),
    [
        ("13-bag-in-degrees/degrees_slow", (), "looks like degrees"),
        ("25-raw-picture-step/raw_rgb8_badstep", ("--raw",), "64x48 with step 128, but 9216"),
        ("27-zero-stamps/zero_stamps", (), "header.stamp is zero"),
        ("30-png-in-compressed/png_compressed", (), "'rgb8; png compressed bgr8'"),
        ("30-png-in-compressed/webp", (), "'rgb8; webp compressed bgr8'"),
        ("29-bags-that-a-reindex-left/no_metadata", (), 59),
        ("29-bags-that-a-reindex-left/storage_id_empty", (), 59),
        ("29-bags-that-a-reindex-left/truncated_mcap", (), 37),
        ("11-params-of-another-node/good", ("--params",), 59),
    ],
)
def test_cases_of_public_reports(bag, words, said, tmp_path, capsys):
    if not CASES.is_dir():
        pytest.skip("the cases of public reports are not here")
    if words == ("--params",):
        words = ("--params", CASES / "11-params-of-another-node/other_fps.yaml")
    words = (*words, "--calibration", CASES / bag.partition("/")[0] / "good.json")
    if isinstance(said, str):
        assert said in refused(CASES / bag, tmp_path / "set", capsys, *words)
    else:
        assert convert(CASES / bag, tmp_path / "set", *words) == 0
        assert Dataset(tmp_path / "set").info.total_frames == said
        assert Dataset(tmp_path / "set").info.fps == 30
