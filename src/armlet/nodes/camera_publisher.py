"""The topics of one camera, the same for a device and for the emulated bench."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from armlet.camera import Intrinsics, Picture

from .messages import to_time
from .node import RECORDING_QOS, STATE_QOS
from .pictures import camera_info, compressed_image, image

# Raw pictures kept for a subscriber that is not run for a while: a third of a second, 9 MB at
# 640x480. Of JPEG it is seconds.
RAW_DEPTH = 10


def picture_qos(kind: type) -> QoSProfile:
    """How pictures are published: reliable, kept for a subscriber that is away for a moment."""
    return QoSProfile(depth=RAW_DEPTH) if kind is Image else RECORDING_QOS


class CameraPublisher:
    """Publishes pictures under a prefix: raw and JPEG only while somebody listens.

    What a picture already is, is not made again: a camera's JPEG goes out as it came, and is
    decoded only for listeners to raw pictures, once.
    """

    def __init__(
        self,
        node: Node,
        prefix: str,
        frame_id: str,
        jpeg_quality: int,
        intrinsics: Intrinsics | None = None,
    ):
        self._frame_id = frame_id
        self.jpeg_quality = jpeg_quality
        self._intrinsics = intrinsics
        self._raw = node.create_publisher(Image, f"{prefix}image_raw", picture_qos(Image))
        self._jpeg = node.create_publisher(
            CompressedImage, f"{prefix}image_raw/compressed", picture_qos(CompressedImage)
        )
        self._info = node.create_publisher(CameraInfo, f"{prefix}camera_info", STATE_QOS)
        self._info_message: CameraInfo | None = None
        self.published = 0
        self.decoded = 0
        self.encoded = 0

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to the pictures."""
        return bool(self._raw.get_subscription_count() or self._jpeg.get_subscription_count())

    @property
    def listeners(self) -> dict[str, int]:
        """How many subscriptions each topic of pictures has."""
        return {p.topic_name: p.get_subscription_count() for p in (self._raw, self._jpeg)}

    def publish(self, picture: Picture, width: int, height: int) -> None:
        """Send one picture; its stamp is its time of acquisition.

        Raises TornPicture where raw pictures are listened to and it does not decode.
        """
        self.published += 1
        if self._info.get_subscription_count():
            self._info.publish(self._info_of(picture, width, height))
        if self._jpeg.get_subscription_count():
            self.encoded += picture.jpeg is None
            data = picture.as_jpeg(self.jpeg_quality)
            self._jpeg.publish(compressed_image(data, picture.stamp_ns, self._frame_id))
        if self._raw.get_subscription_count():
            self.decoded += picture.rgb is None
            self._raw.publish(image(picture.as_rgb(), picture.stamp_ns, self._frame_id))

    def _info_of(self, picture: Picture, width: int, height: int) -> CameraInfo:
        if self._info_message is None:
            self._info_message = camera_info(self._intrinsics, (width, height), self._frame_id)
        self._info_message.header.stamp = to_time(picture.stamp_ns)
        return self._info_message
