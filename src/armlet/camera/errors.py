"""The camera package's exceptions."""


class CameraError(Exception):
    """A camera or a picture is not what was asked for; the text says what to do about it."""


class EndOfVideo(CameraError):
    """A video file that does not loop has no further picture."""
