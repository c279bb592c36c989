"""ROS 2 control and inference stack for small servo arms."""

__version__ = "0.1.0"
