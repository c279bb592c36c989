"""May this setup append to that dataset?"""

from __future__ import annotations

from pathlib import Path

from armlet.contract import Contract, ContractError, fit, load

from . import layout
from .errors import DatasetError
from .layout import Info
from .video import stream_name


def misfits(root: Path, info: Info, contract: Contract, robot_type: str, codec: str) -> list[str]:
    """What does not fit, one line each: expected (the dataset), found (the setup), the mend.

    Raises DatasetError if the dataset has no contract, or one that cannot be read.
    """
    return [
        *_contract_lines(root, contract),
        *_setting_lines(info, contract, robot_type),
        *_feature_lines(info, contract),
        *_codec_lines(info, codec),
    ]


def _contract_lines(root: Path, contract: Contract) -> list[str]:
    path = root / layout.CONTRACT
    try:
        stored = load(path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is absent: joint units and calibration of the recorded episodes are "
            "unknown, so nothing can be appended safely; record into a new dataset"
        ) from error
    except ContractError as error:
        raise DatasetError(str(error)) from error
    return [str(verdict) for verdict in fit(stored, contract) if not verdict.ok]


def _setting_lines(info: Info, contract: Contract, robot_type: str) -> list[str]:
    pairs = [("info.json fps", info.fps, contract.fps)]
    pairs += [("robot_type", info.robot_type, robot_type)]  # type: ignore[list-item]
    return [
        f"WRONG {item}: expected {there}, found {here}; record as the dataset was recorded"
        for item, there, here in pairs
        if there != here
    ]


def _feature_lines(info: Info, contract: Contract) -> list[str]:
    wanted = layout.features_of(contract)
    lines = []
    for key in dict.fromkeys([*info.features, *wanted]):
        there, here = info.features.get(key), wanted.get(key)
        told = [
            "absent" if f is None else f"{f.dtype} {f.shape} {f.names or ''}".strip()
            for f in (there, here)
        ]
        if told[0] != told[1]:
            lines.append(
                f"WRONG feature {key}: expected {told[0]}, found {told[1]}; "
                "set up cameras, joints and streams as in the dataset, or record into a new one"
            )
    return lines


def _codec_lines(info: Info, codec: str) -> list[str]:
    known = {
        key: feature.info["video.codec"]
        for key, feature in info.features.items()
        if feature.info and "video.codec" in feature.info
    }
    return [
        f"WRONG codec of {key}: expected {there}, found {stream_name(codec)}; "
        "choose the codec the dataset was recorded with"
        for key, there in known.items()
        if there != stream_name(codec)
    ]
