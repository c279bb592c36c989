"""ament_python entry: what colcon and `ros2` look for beside the Python package.

Metadata lives in pyproject.toml. The node executables are data files under lib/armlet, where
`ros2 run` and `launch_ros` look for them, in a colcon install and in a pip environment alike.
"""

from pathlib import Path

from setuptools import setup

CONFIG = ("rviz", "xml", "yaml")


def files(pattern: str) -> list[str]:
    return sorted(str(path) for path in Path().glob(pattern) if path.is_file())


setup(
    python_requires=">=3.11",
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/armlet"]),
        ("share/armlet", ["package.xml"]),
        ("share/armlet/launch", files("launch/*.launch.py")),
        ("share/armlet/config", [file for kind in CONFIG for file in files(f"config/*.{kind}")]),
        ("share/armlet/config/calibration", files("config/calibration/*.json")),
        ("share/armlet/checkpoints/reach", files("checkpoints/reach/*")),
        ("lib/armlet", files("executables/*")),
    ],
)
