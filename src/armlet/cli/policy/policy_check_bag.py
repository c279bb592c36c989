"""What a bag shows to `armlet policy check --bag`: the robot as it was, through the aligner."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armlet.datasets.bags.streams import Plan
    from armlet.policies.checkpoint.checkpoint import Checkpoint
    from armlet.policies.fit.samples import Samples
    from armlet.robots import Calibration

# Frames looked at, spread over the whole bag.
_FRAMES = 40
_USUAL_FPS = 30


def bag_samples(
    args: argparse.Namespace, checkpoint: Checkpoint, calibration: Calibration | None
) -> Samples:
    """States and pictures of a bag's frames, as a live robot's.

    Raises DatasetError for a bag that cannot be read or lacks a topic, ObservationError for a
    camera that changes its size, CameraError for pictures that cannot be decoded.
    """
    from armlet.datasets.bags.convert import Bag
    from armlet.datasets.bags.frames import BagView
    from armlet.policies.fit.samples import LiveSample

    with Bag(args.bag) as bag:
        view = BagView(bag, _plan(args, bag.topics, _rate(checkpoint)))
        sample = LiveSample(view.contract(), _FRAMES)
        gap_ns = max(1, (bag.end_ns - bag.start_ns) // _FRAMES)
        next_ns = 0
        for frame in view.frames():
            if frame.stamp_ns >= next_ns:
                sample.add(frame.radians, frame.images())
                next_ns = frame.stamp_ns + gap_ns
        seen = sample.samples(calibration)
        return dataclasses.replace(seen, source="bag", contract=view.contract())


def _rate(checkpoint: Checkpoint) -> int:
    """The rate the policy is to run at: the bag itself has none."""
    from armlet.policies.fit.check import stored_rate

    if checkpoint.contract is not None:
        return checkpoint.contract.fps
    return stored_rate(checkpoint.path) or _USUAL_FPS


def _plan(args: argparse.Namespace, topics: Mapping[str, str], fps: int) -> Plan:
    """The streams that the policy reads: all but the commands to the arm."""
    from armlet.align import ACTION
    from armlet.cli.data.dataset_convert import aligner_plan, found_cameras

    asked = argparse.Namespace(
        params=args.params,
        param=[],
        namespace=args.namespace,
        cameras=None,
        fps=fps,
        raw=False,
        output=args.bag,
        calibration=args.calibration,
    )
    if args.params is None:
        asked.raw = not found_cameras(asked, topics)
        asked.cameras = ",".join(found_cameras(asked, topics))
    plan = aligner_plan(asked, topics)
    streams = tuple(stream for stream in plan.streams if stream.name != ACTION)
    return dataclasses.replace(plan, streams=streams)
