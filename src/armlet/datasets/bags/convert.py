"""A bag of the raw topics becomes a dataset: the same aligner, contract, units and writer as live.

Bags are rosbag2's, mcap or sqlite3, read by the library `rosbags`; no ROS is needed. Frames
depend on stamps alone, so what a live recorder would have stored is what is stored here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armlet.align import (
    ACTION,
    STATE,
    Aligner,
    Frame,
    Refusal,
    Sample,
    Timing,
    command_source,
    counts_since,
    join,
    why_refused,
    worst_skew_s,
)
from armlet.camera import CameraError, jpeg, raw
from armlet.contract import Camera, Contract, Stream
from armlet.datasets.format.errors import DatasetError, GapError
from armlet.datasets.record.episode import EpisodeFrame
from armlet.datasets.record.writer import DatasetWriter, EpisodeSummary
from armlet.datasets.transform.atomic_directory import new_dataset
from armlet.datasets.vectors import Vectors
from armlet.files import printable
from armlet.robots.calibration import Calibration, CalibrationError
from armlet.robots.joints import feature_names
from armlet.robots.units import JointUnits

from .files import MCAP_RECOVERY, Recording
from .streams import TYPES, BagSource, BagStream, Plan, Stamps
from .units import check_units

Counts = Mapping[str, Mapping[str, int]]

_RECORDED = "at which it was recorded"
_BY_RECORDING = "or give --stamps recorded, which takes the time of recording instead"


@dataclass(frozen=True)
class Span:
    """An episode: frames with start_ns <= stamp < end_ns, Unix time; None: open on that side."""

    task: str
    start_ns: int | None = None
    end_ns: int | None = None

    def holds(self, stamp_ns: int) -> bool:
        return (self.start_ns is None or self.start_ns <= stamp_ns) and (
            self.end_ns is None or stamp_ns < self.end_ns
        )


@dataclass(frozen=True)
class Setup:
    """What a bag does not say: the arm, its units, and how the dataset is to be written."""

    calibration: Calibration
    units: JointUnits = "degrees"
    robot_type: str = "so101_follower"
    codec: str = "h264"
    version: str = "v3.0"
    split_at_gaps: bool = True


@dataclass
class Converted:
    """What became of a bag: episodes, the aligner's counts, and what was refused, by stream.

    doubts: what is odd about its joints and may yet be right; a line each.
    """

    episodes: list[EpisodeSummary] = field(default_factory=list)
    ledger: Counts = field(default_factory=dict)
    missed_frames: int = 0
    refused: dict[str, Refusal] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


class Bag:
    """A rosbag2 recording, opened for reading. A context manager."""

    def __init__(self, path: Path):
        """Raises DatasetError if it is no bag, or `rosbags` is not installed."""
        try:
            import rosbags.highlevel  # noqa: F401
        except ImportError as error:
            raise DatasetError(
                "bags are read by the library rosbags; install it: pip install 'armlet[bag]'"
            ) from error
        self.path = Path(path)
        try:
            self._recording = Recording(self.path)
        except Exception as error:  # rosbags meets damage with whatever its parsers raise
            raise _unreadable(self.path, error) from error

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.close()

    @property
    def start_ns(self) -> int:
        """When its first message was recorded."""
        return self._recording.start_ns

    @property
    def end_ns(self) -> int:
        """When its last message was recorded."""
        return self._recording.end_ns

    @property
    def topics(self) -> dict[str, str]:
        """Message type by topic."""
        return dict(self._recording.topics)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it should be with its files, and is read all the same; a line each."""
        return tuple(self._recording.notes)

    def messages(self, topics: Sequence[str]) -> Iterator[tuple[str, int, Any]]:
        """Topic, time of recording (ns) and message, in the order recorded."""
        try:
            yield from self._recording.messages(topics)
        except (DatasetError, CameraError, GeneratorExit):
            raise
        except Exception as error:  # rosbags meets damage with whatever its parsers raise
            raise _unreadable(self.path, error) from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    if not os.path.lexists(path):
        return DatasetError(f"{path} does not exist; give a bag's folder, or a file of it")
    reason = printable(error) or type(error).__name__
    mcap = ".mcap" in path.name or any(path.glob("*.mcap*"))
    tool = MCAP_RECOVERY if mcap else "`ros2 bag reindex` on it"
    return DatasetError(
        f"{path} is not a bag that can be read: {reason}; copy it again, or run {tool}"
    )


def convert_bag(
    bag: Bag,
    output: Path,
    plan: Plan,
    setup: Setup,
    spans: Sequence[Span],
    progress: Callable[[EpisodeSummary], None] | None = None,
) -> Converted:
    """Write a bag's episodes into a dataset, new or there already, as the recorder would have.

    spans follow each other in time. Raises DatasetError naming a topic that is absent or of
    another type, joints that the calibration lacks, a span without frames, or what does not fit
    the dataset.
    """
    _check_spans(spans)
    check_topics(bag, plan)
    vectors = _vectors(bag, plan, setup)
    converted = Converted(doubts=check_units(bag, plan, setup.calibration))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        _write(bag, output, plan, setup, spans, vectors, converted, progress)
    else:
        with new_dataset(output) as folder:
            _write(bag, folder, plan, setup, spans, vectors, converted, progress)
    return converted


def _write(
    bag: Bag,
    output: Path,
    plan: Plan,
    setup: Setup,
    spans: Sequence[Span],
    vectors: Vectors,
    converted: Converted,
    progress: Callable[[EpisodeSummary], None] | None,
) -> None:
    """Write a bag's episodes into a dataset. Raises DatasetError if a span has no frames."""
    aligner = Aligner(
        (source.config for stream in plan.streams for source in stream.sources),
        plan.fps,
        plan.max_wait_s,
        plan.give_up_s,
    )
    with DatasetWriter(
        output,
        vectors.contract,
        robot_type=setup.robot_type,
        codec=setup.codec,
        version=setup.version,
    ) as writer:
        recording = _Recording(writer, aligner, plan, setup, vectors, converted, progress)
        for frame in aligned(bag, plan, aligner, converted.refused):
            recording.add(frame, spans)
        recording.finish()
    converted.ledger = aligner.ledger.counts()
    converted.missed_frames = aligner.ledger.missed_frames
    if not converted.episodes:
        raise DatasetError(f"{bag.path} gave no frames; {why(aligner, converted.refused)}")
    empty = [span for span in spans if span not in recording.used]
    if empty:
        raise DatasetError(
            f"{bag.path}: no frame lies in {empty[0].start_ns} .. {empty[0].end_ns} ns; "
            f"{why(aligner, converted.refused)}"
        )


def _check_spans(spans: Sequence[Span]) -> None:
    if not spans:
        raise DatasetError("no episodes: give at least one span")
    for span in spans:
        if None not in (span.start_ns, span.end_ns) and span.start_ns >= span.end_ns:  # type: ignore[operator]
            raise DatasetError(f"an episode must end after it begins, found {span}")
    for before, after in itertools.pairwise(spans):
        if before.end_ns is None or after.start_ns is None or after.start_ns < before.end_ns:
            raise DatasetError(f"episodes must follow each other, found {before} before {after}")


def check_topics(bag: Bag, plan: Plan) -> None:
    """Raises DatasetError naming a topic that a plan needs and the bag lacks, or has otherwise."""
    for topic, sources in plan.sources().items():
        wanted = TYPES[sources[0].kind]
        if topic not in bag.topics:
            raise DatasetError(
                f"{bag.path} has no topic {topic} (stream {sources[0].config.name}); it has "
                f"{sorted(bag.topics)}: give the topic, or the namespace"
            )
        if bag.topics[topic] != wanted:
            raise DatasetError(
                f"{bag.path}: {topic} is {bag.topics[topic]}, stream {sources[0].config.name} "
                f"takes {wanted}; set its type"
            )


def _vectors(bag: Bag, plan: Plan, setup: Setup) -> Vectors:
    try:
        return Vectors(_frames_contract(bag, plan), setup.calibration, setup.units)
    except CalibrationError as error:
        raise DatasetError(f"joints of state and action: {error}") from error


def _frames_contract(bag: Bag, plan: Plan) -> Contract:
    names = feature_names(plan.joints)
    return Contract(
        fps=plan.fps,
        cameras=tuple(bag_camera(bag, stream) for stream in plan.cameras),
        state_names=names,
        action_names=names,
        alignment=tuple(
            Stream(stream.name, stream.policy.value, stream.tolerance_s) for stream in plan.streams
        ),
    )


def bag_camera(bag: Bag, stream: BagStream) -> Camera:
    """Size and coding by the first picture that is whole. Raises DatasetError if none is."""
    (source,) = stream.sources
    refused, reason = 0, "it has no messages"
    with contextlib.closing(bag.messages([source.topic])) as messages:  # type: ignore[type-var]
        for _, _, message in messages:
            try:
                height, width = _picture_size(source, message)
            except CameraError as error:
                reason = str(error) if not refused else reason
                refused += 1
                continue
            codec = "jpeg" if stream.kind == "compressed" else "raw"
            return Camera(stream.name, height, width, codec=codec)
    count = f"{refused} refused, the first: " if refused else ""
    raise DatasetError(f"{bag.path}: no picture of {source.topic} can be read: {count}{reason}")


def _picture_size(source: BagSource, message: Any) -> tuple[int, int]:
    """Height and width of an Image's or CompressedImage's picture. Raises CameraError."""
    if reason := source.unfit(message):
        raise CameraError(reason)
    if source.kind == "raw":
        return int(message.height), int(message.width)
    height, width = jpeg.decode(message.data.tobytes()).shape[:2]
    return height, width


def aligned(
    bag: Bag,
    plan: Plan,
    aligner: Aligner,
    refused: dict[str, Refusal],
    through: Callable[[Iterable[Sample]], Iterable[Sample]] = iter,
) -> Iterator[Frame]:
    """A bag's frames. The first reason why a stream's messages are refused is put into `refused`.

    through: what the samples pass on their way. What is no sample is counted in the ledger.
    """
    topics = {s.config.name: s.topic for stream in plan.streams for s in stream.sources}

    def note(sample: Sample, timing: Timing, received_ns: int) -> None:
        reason = why_refused(timing, topics[sample.stream], sample.stamp_ns, received_ns, _RECORDED)
        if plan.stamps is Stamps.HEADER:
            reason = replace(reason, fixes=(*reason.fixes, _BY_RECORDING))
        refused.setdefault(sample.stream, reason)

    return aligner.replay(through(samples(bag, plan, aligner, refused)), note)


def samples(
    bag: Bag, plan: Plan, aligner: Aligner, refused: dict[str, Refusal]
) -> Iterator[Sample]:
    """A bag's messages as samples, in the order recorded.

    What is no sample is counted in the aligner's ledger; the first reason by stream is put into
    `refused`.
    """
    sources = plan.sources()
    for topic, recorded_ns, message in bag.messages(list(sources)):
        for source in sources[topic]:
            sample = _sample(source, message, recorded_ns, aligner, plan, refused)
            if sample is not None:
                yield sample


def _sample(
    source: BagSource,
    message: Any,
    recorded_ns: int,
    aligner: Aligner,
    plan: Plan,
    refused: dict[str, Refusal],
) -> Sample | None:
    name = source.config.name
    stamp = message.header.stamp
    try:
        value, mark = source.sample(message, plan.any_unit)
    except ValueError as error:
        aligner.ledger.streams[name].refused += 1
        refused.setdefault(name, Refusal(str(error)))
        return None
    stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    if plan.stamps is Stamps.RECORDED:
        stamp_ns = recorded_ns
    return Sample(name, stamp_ns, value, mark, recorded_ns, source.origin(message))


class _Recording:
    """Frames into episodes by the spans they lie in."""

    def __init__(
        self,
        writer: DatasetWriter,
        aligner: Aligner,
        plan: Plan,
        setup: Setup,
        vectors: Vectors,
        converted: Converted,
        progress: Callable[[EpisodeSummary], None] | None,
    ):
        self._writer = writer
        self._aligner = aligner
        self._plan = plan
        self._setup = setup
        self._vectors = vectors
        self._converted = converted
        self._progress = progress
        self._span: Span | None = None
        self._mark: Counts = {}
        self.used: list[Span] = []

    def add(self, frame: Frame, spans: Sequence[Span]) -> None:
        """Take a frame; an episode ends where its span does."""
        span = next((span for span in spans if span.holds(frame.stamp_ns)), None)
        if self._span is not None and span is not self._span:
            self.finish()
        if span is None:
            return
        made = _episode_frame(frame, self._plan, self._vectors)
        if self._span is None:
            self._begin(span)
        try:
            self._writer.add_frame(made)
        except GapError:
            if not self._setup.split_at_gaps:
                raise
            self.finish()
            self._begin(span)
            self._writer.add_frame(made)

    def finish(self) -> None:
        """End the open episode, if there is one."""
        if self._span is None:
            return
        self._span = None
        counts = counts_since(self._aligner.ledger.counts(), self._mark)
        summary = self._writer.finish_episode(counts)
        self._converted.episodes.append(summary)
        if self._progress is not None:
            self._progress(summary)

    def _begin(self, span: Span) -> None:
        self._span = span
        if span not in self.used:
            self.used.append(span)
        self._mark = self._aligner.ledger.counts()
        self._writer.begin_episode(span.task)


def _episode_frame(frame: Frame, plan: Plan, vectors: Vectors) -> EpisodeFrame:
    radians: dict[str, NDArray[np.float64]] = {}
    images: dict[str, Any] = {}
    skew_s: dict[str, float] = {}
    for stream in plan.streams:
        if stream.parts:
            radians[stream.name] = join(stream.parts, plan.joints, frame.values)
            skew_s[stream.name] = worst_skew_s(stream.parts, frame.skew_s)
        else:
            images[stream.name] = picture(frame.values[stream.name])
            skew_s[stream.name] = frame.skew_s[stream.name]
    (commanded,) = (stream for stream in plan.streams if stream.name == ACTION)
    return EpisodeFrame(
        vectors.state(radians[STATE]),
        vectors.action(radians[ACTION]),
        images,
        frame.stamp_ns,
        skew_s,
        command_source.of_parts(commanded.parts, frame.origins),
    )


def picture(message: Any) -> Any:
    """A JPEG's bytes as they are, or the pixels (H, W, 3) of a raw picture, RGB."""
    if not hasattr(message, "encoding"):
        return message.data.tobytes()
    return np.ascontiguousarray(raw.rgb(message))


def fixes(refused: Mapping[str, Refusal]) -> list[str]:
    """What is to be done about refused messages, each once."""
    return list(dict.fromkeys(fix for reason in refused.values() for fix in reason.fixes))


def why(aligner: Aligner, refused: Mapping[str, Refusal]) -> str:
    """Why frames are missing: what was refused first, each fix once, then the aligner's counts."""
    said = [f"{name} refused: {reason.cause}" for name, reason in refused.items()]
    said += fixes(refused)
    said += [
        f"{name}: " + ", ".join(f"{what} {count}" for what, count in counts.items())
        for name, counts in aligner.ledger.counts().items()
    ]
    return "; ".join(said)
