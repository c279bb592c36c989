"""The topics of one camera, the same for a device and for the emulated bench."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from armlet.camera import Picture

from .messages import compressed_image, image, to_time
from .node import STATE_QOS


class CameraPublisher:
    """Publishes pictures under a prefix: raw and JPEG only while somebody listens."""

    def __init__(self, node: Node, prefix: str, frame_id: str, jpeg_quality: int):
        self._frame_id = frame_id
        self._jpeg_quality = jpeg_quality
        self._raw = node.create_publisher(Image, f"{prefix}image_raw", STATE_QOS)
        self._jpeg = node.create_publisher(
            CompressedImage, f"{prefix}image_raw/compressed", STATE_QOS
        )
        self._info = node.create_publisher(CameraInfo, f"{prefix}camera_info", STATE_QOS)
        self.published = 0

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to the pictures."""
        return bool(self._raw.get_subscription_count() or self._jpeg.get_subscription_count())

    def publish(self, picture: Picture, width: int, height: int) -> None:
        """Send one picture; its stamp is its time of acquisition. Raises CameraError."""
        if self._jpeg.get_subscription_count():
            data = picture.as_jpeg(self._jpeg_quality)
            self._jpeg.publish(compressed_image(data, picture.stamp_ns, self._frame_id))
        if self._raw.get_subscription_count():
            self._raw.publish(image(picture.as_rgb(), picture.stamp_ns, self._frame_id))
        info = CameraInfo(width=width, height=height)
        info.header.stamp = to_time(picture.stamp_ns)
        info.header.frame_id = self._frame_id
        self._info.publish(info)
        self.published += 1
