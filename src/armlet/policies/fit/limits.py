"""From where on a check of samples speaks up: every limit by name, with its reason.

A person may set others: `armlet policy check --limit NAME=VALUE`, the policy node's `fit_limits`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, fields

from armlet.suggestions import did_you_mean


@dataclass(frozen=True)
class Limits:
    """Limits of a check; what they are held against is in comparisons,
    response and likeness.

    Attributes:
        fits: divergence (nats) of pictures up to which they fit. Pictures of the same scene on
            another day stay below 0.02, exchanged ones of two cameras of one scene are at 0.06 on.
        times: how many times better another explanation must fit than things as they are.
        changed: divergence up to which a change of light explains it.
        other_scene: divergence beyond which it is another scene, a covered lens, other exposure.
        far: standard deviations of a pose from the training mean; LeRobot's resting poses are at 2
            to 4.
        farther: the same, beyond which no unit or calibration explains the pose.
        dark: mean of every channel (0..1) below which a picture is black, as `dataset check` has
            it; a covered lens shows levels of 0 to 7 of 255, which are noise.
        compressed: JPEG quality below which pictures are coarse, as a warning. Cameras compress
            with 50 to 95, armlet with 90.
        detail: how many times finer or less fine pictures may be than the training's. The poses of
            an arm change it by 1.1, pictures that were enlarged twofold are at 1.8.
        constant: spread of a policy's answers over that of the recorded actions. A trained policy
            is near 1, one of random weights at 0.01 to 0.2, one whose head is zeroed at 0.
        faint: the same, below which a policy hardly answers to what it sees.
        wild: the same, beyond which weights are damaged.
        blind: share of an answer's change that is due to an input, below which it is warned of. Of
            the checkpoint that armlet ships 0.4 is due to pictures and 1 to joints, with random
            weights 0.06 and more. Policies that see the arm leave 0.01 to its joints.
        unconnected: the same, below which it is refused: rounding leaves 1e-6, and an input that is
            not connected 0.
        misplaced: mean squared difference, in training variances, of answers and recorded actions
            up to which a joint's answers are in their place. Two joints with motions of their own
            differ by 2.
        inverted: correlation of a joint's answers with the recorded actions, below whose negative
            the joint goes the wrong way. A policy of no use is near 0, within 0.3 by chance.
        scaled: spread of a joint's answers over that of the recorded actions beyond which their
            scale is wrong, and below 1 / of which, times the correlation. The checkpoint that
            armlet ships is at 0.93 to 1.08, with correlations of 0.96 to 1.00.
        shifted: mean of a joint's answers less the recorded actions, in training std; 0.06 of the
            checkpoint that armlet ships.
        scale: how many times too large a picture's spread at the network may be. 16 is in the
            middle, by ratio, of the right scale and one that is 255 times off.
    """

    fits: float = 0.03
    times: float = 4.0
    changed: float = 0.25
    other_scene: float = 1.5
    far: float = 4.0
    farther: float = 8.0
    dark: float = 0.03
    compressed: float = 30.0
    detail: float = 1.3
    constant: float = 0.005
    faint: float = 0.2
    wild: float = 10.0
    blind: float = 0.002
    unconnected: float = 1e-5
    misplaced: float = 0.25
    inverted: float = 0.5
    scaled: float = 2.0
    shifted: float = 0.5
    scale: float = 16.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"limit {field.name}: expected 0 or a positive number, is {value}")

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Limits:
        """The defaults with `NAME=VALUE` of each setting; empty ones are passed over.

        Raises ValueError for a name that is no limit and a value that is no number.
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, float] = {}
        for setting in filter(None, (text.strip() for text in settings)):
            name, _, value = setting.partition("=")
            if name not in names:
                raise ValueError(
                    f"limit {setting!r}: expected NAME=VALUE, a NAME among {', '.join(names)}"
                    f"{did_you_mean([name], names)}"
                )
            try:
                given[name] = float(value)
            except ValueError:
                raise ValueError(
                    f"limit {name}: expected a number, found {value!r}; as in {name}=0.5"
                ) from None
        return dataclasses.replace(cls(), **given)
