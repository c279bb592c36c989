"""May this setup append to that dataset?"""

from __future__ import annotations

from pathlib import Path

from armlet.contract import Contract, ContractError, fit, load
from armlet.datasets.format import layout, stats, tables
from armlet.datasets.format.errors import DatasetError
from armlet.datasets.format.layout import Feature, Info
from armlet.datasets.format.video import CODECS, stream_name
from armlet.findings import Code, Finding, Severity, compared
from armlet.robots.joints import is_gripper
from armlet.robots.units import GRIPPER_UNIT

_ALIKE = "set up cameras, joints and streams as in the dataset, or record into a new one"
_OTHER_CODEC = "armlet does not encode this one: record into a new dataset"
_NEW = "armlet records no such column: record into a new dataset"


def misfits(
    root: Path,
    info: Info,
    contract: Contract,
    robot_type: str,
    codec: str,
    adopt: bool = False,
    calibration_tolerance_deg: float = 0.0,
) -> list[Finding]:
    """What does not fit: expected (the dataset), found (the setup), the fix.

    adopt: a dataset without a contract is compared by what LeRobot's files say of it, and by
    whether its joint values can be in the contract's units at all. Another calibration is accepted
    up to calibration_tolerance_deg. Raises DatasetError if the dataset has
    no contract and is not to be adopted, or one that cannot be read.
    """
    foreign = adopt and not (root / layout.CONTRACT).exists()
    return [
        *(
            _unit_lines(root, contract)
            if foreign
            else _contract_lines(root, contract, calibration_tolerance_deg)
        ),
        *_setting_lines(info, contract, robot_type),
        *_feature_lines(info, contract),
        *_codec_lines(info, codec),
    ]


def _unit_lines(root: Path, contract: Contract) -> list[Finding]:
    """Joint values that the contract's units cannot hold. Percentages end at 100, with rounding."""
    lines = []
    ranges = _ranges(root)
    for key, names in (
        (layout.STATE, contract.state_names),
        (layout.ACTION, contract.action_names),
    ):
        for name, (low, high) in zip(names, ranges.get(key, []), strict=False):
            gripper = is_gripper(name)
            if not gripper and contract.joint_units != "range_m100_100":
                continue
            least = -0.5 if gripper else -100.5
            if low < least or high > 100.5:
                unit = GRIPPER_UNIT if gripper else contract.joint_units
                lines.append(
                    Finding(
                        Code.DATASET_APPEND_UNITS,
                        Severity.ERROR,
                        f"units of {key} {name}",
                        f"{low:.1f}..{high:.1f}, which the dataset holds",
                        unit,
                        "set joint_units as the dataset was recorded",
                    )
                )
    return lines


def _ranges(root: Path) -> dict[str, list[tuple[float, float]]]:
    """Least and greatest value per joint, over all episodes whose statistics are there."""
    parts = [row.stats for row in tables.read_episodes(root) if row.stats]
    return {
        key: list(zip(found["min"].ravel(), found["max"].ravel(), strict=True))
        for key, found in stats.aggregate(parts).items()
        if key in (layout.STATE, layout.ACTION)
    }


def _contract_lines(root: Path, contract: Contract, tolerance_deg: float) -> list[Finding]:
    path = root / layout.CONTRACT
    try:
        stored = load(layout.locate(root, layout.CONTRACT))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is absent: joint units and calibration of the recorded episodes are "
            "unknown, so nothing can be appended safely; write it again (`armlet dataset bind`), "
            "record into a new dataset, or, knowing that units and calibration are the same, say "
            "adopt"
        ) from error
    except ContractError as error:
        raise DatasetError(str(error)) from error
    return [finding for finding in fit(stored, contract, tolerance_deg) if not finding.ok]


def _setting_lines(info: Info, contract: Contract, robot_type: str) -> list[Finding]:
    fix = "record as the dataset was recorded"
    settings = [compared(Code.CONTRACT_RATE, "info.json fps", info.fps, contract.fps, fix)]
    if robot_family(info.robot_type) != robot_family(robot_type):
        code = Code.DATASET_APPEND_ROBOT
        settings.append(
            Finding(code, Severity.ERROR, "robot_type", info.robot_type, robot_type, fix)
        )
    return [finding for finding in settings if not finding.ok]


def robot_family(name: str | None) -> str | None:
    """LeRobot from 0.4.3 on says so_follower for both models that differ in their gears only."""
    return "so_follower" if name in ("so100_follower", "so101_follower") else name


def _feature_lines(info: Info, contract: Contract) -> list[Finding]:
    # Whoever made the dataset has chosen whether it says which rows a person commanded.
    wanted = layout.features_of(contract, layout.INTERVENTION in info.features)
    lines = []
    for key in dict.fromkeys([*info.features, *wanted]):
        if key in (layout.STAMP, layout.SKEW) and key not in info.features:
            continue  # LeRobot does not record them; nor will this episode have them
        if key in info.language_keys and not info.is_v2:
            continue  # An annotation fills them; until then nothing is said in this episode
        there, here = info.features.get(key), wanted.get(key)
        expected, found = (
            "absent" if f is None else f"{f.dtype} {f.shape} {_names(f)}".strip()
            for f in (there, here)
        )
        if expected != found:
            lines.append(
                Finding(
                    Code.DATASET_APPEND_FEATURE,
                    Severity.ERROR,
                    f"feature {key}",
                    expected,
                    found,
                    _ALIKE if there is None or _recordable(key, there) else _NEW,
                )
            )
    return lines


def _recordable(key: str, feature: Feature) -> bool:
    """Whether some setup records such a column."""
    if key.startswith(layout.IMAGES):
        return feature.dtype == "video" and not feature.is_depth
    return key in (layout.STATE, layout.ACTION, layout.STAMP, layout.SKEW)


def _names(feature: Feature) -> tuple[str, ...] | str:
    """A picture's names are of its axes, and some versions leave them out."""
    return "" if feature.is_picture else feature.names or ""


def _codec_lines(info: Info, codec: str) -> list[Finding]:
    known = {
        key: feature.info["video.codec"]
        for key, feature in info.features.items()
        if feature.info and "video.codec" in feature.info
    }
    return [
        Finding(
            Code.DATASET_APPEND_CODEC,
            Severity.ERROR,
            f"codec of {key}",
            there,
            stream_name(codec),
            _codec_fix(there),
        )
        for key, there in known.items()
        if there != stream_name(codec)
    ]


def _codec_fix(there: str) -> str:
    names = [name for name in CODECS if stream_name(name) == there]
    return f"set codec to {names[0]}" if names else _OTHER_CODEC
