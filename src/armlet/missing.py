"""What to install when a command or node needs a Python package that is not there."""

from __future__ import annotations

import importlib.util

# The extra of armlet that brings a package.
EXTRAS = {
    "torch": "policy",
    "safetensors": "policy",
    "tokenizers": "policy",
    "onnx": "export",
    "onnxruntime": "export",
    "openvino": "export",
    "rosbags": "bag",
    "matplotlib": "plot",
    "mujoco": "sim",
    "tensorboard": "tensorboard",
    "nicegui": "console",
}
# Every install by pip brings these; one on a ROS distribution may lack them.
_REQUIRED = {
    "av": "av",
    "cv2": "opencv-python-headless",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "rich": "rich",
    "serial": "pyserial",
    "yaml": "pyyaml",
}
_ROS = {"rclpy", "builtin_interfaces", "rcl_interfaces", "std_srvs"}


def how_to_install(error: ModuleNotFoundError) -> str | None:
    """One line: what is missing, how to install it. None for a module that is no dependency."""
    package = (error.name or "").partition(".")[0]
    if package == "control_msgs":
        return (
            "ROS 2's package control_msgs is not installed, and pip has none: "
            "sudo apt install ros-$ROS_DISTRO-control-msgs"
        )
    if package in _ROS or package.endswith("_msgs"):
        return (
            f"ROS 2's Python package {package} is not installed: source the setup file of your "
            "ROS 2, or pip install 'armlet[ros]'"
        )
    if package in EXTRAS:
        wanted = f"'armlet[{EXTRAS[package]}]'"
    elif package in _REQUIRED:
        wanted = _REQUIRED[package]
    else:
        return None
    return f"the Python package {package} is not installed: pip install {wanted}"


def require(*packages: str) -> None:
    """ModuleNotFoundError if one is not installed: asked before nodes end with a traceback each."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
