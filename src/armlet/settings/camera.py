"""Parameters of camera."""

from __future__ import annotations

from .setting import Change, Fixed, Setting

DEVICE = Fixed("the camera is opened with it, and frames are announced with it")
PUBLISHED = Fixed("listeners take what is published with it to stay the same")
LOCK = Fixed("controls are locked once, after the camera was opened; set exposure, gain, ... now")

# As armlet.camera.controls has them, which needs more than whoever starts nodes should load.
AS_IS, AUTO = "as_is", "auto"

_UNITS = {
    "exposure": "Exposure time (0.1 ms)",
    "gain": "Gain (the camera's units)",
    "white_balance_k": "White balance (K)",
    "focus": "Focus (the camera's units)",
    "power_line_hz": "Mains frequency for flicker reduction: 50, 60 or 0 (off)",
}


CONTROL_SETTINGS = (
    *(
        Setting(
            name,
            AS_IS,
            f"{_UNITS[name]}, auto, or as_is to leave it unchanged.",
            words=(AS_IS, AUTO),
            change=Change.FREE,
        )
        for name in _UNITS
    ),
    Setting(
        "lock_auto",
        False,
        "Let automatic controls settle, then fix them at the values they have reached.",
        change=LOCK,
    ),
    Setting(
        "settle_s",
        2.0,
        "How long automatic controls may settle before they are fixed (s).",
        0.1,
        60.0,
        change=LOCK,
    ),
)


SETTINGS = (
    Setting(
        "source",
        "",
        "Device (/dev/v4l/by-id/..., /dev/video0), video file (file:clip.mp4, with "
        "?loop, ?fast), pattern, or scheme:address of a plug-in.",
        change=DEVICE,
    ),
    Setting("width", 640, "Image width (pixels).", 1, 8192, change=DEVICE),
    Setting("height", 480, "Image height (pixels).", 1, 8192, change=DEVICE),
    Setting("fps", 30.0, "Frame rate requested from the camera (Hz).", 1.0, 240.0, change=DEVICE),
    Setting(
        "fourcc",
        "MJPG",
        "Pixel format requested from the device. MJPG frames are published without decoding.",
        change=DEVICE,
    ),
    Setting(
        "frame_id",
        "camera_optical_frame",
        "Optical frame of the images (REP-103).",
        change=PUBLISHED,
    ),
    Setting(
        "jpeg_quality",
        90,
        "JPEG quality where this node encodes: pattern, video files and raw formats.",
        1,
        100,
        change=Change.FREE,
    ),
    Setting(
        "camera_info_file",
        "",
        "Calibration YAML of ROS's camera_calibration. Empty: publish no camera_info.",
        change=PUBLISHED,
    ),
    Setting(
        "frozen_s",
        2.0,
        "Report an error when the device has sent the same image for this long (s). 0 "
        "disables the check.",
        change=Change.FREE,
    ),
    Setting("reopen_frozen", True, "Open a device again when it is frozen.", change=Change.FREE),
    Setting(
        "slow_share",
        0.9,
        "Warn when the frame rate is below this share of fps.",
        0.0,
        1.0,
        change=Change.FREE,
    ),
    *CONTROL_SETTINGS,
)
