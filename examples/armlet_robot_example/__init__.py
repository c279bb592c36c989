"""An arm of four joints: `model: four_joints` in a robot file."""

from pathlib import Path

MODEL = Path(__file__).with_name("four_joints.yaml")
