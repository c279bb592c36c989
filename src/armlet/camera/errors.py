"""The camera package's exceptions."""


class CameraError(Exception):
    """A camera or a picture is not what was asked for; the text says what to do about it."""


class EndOfVideo(CameraError):
    """A video file that does not loop has no further picture."""


class NoPicture(CameraError):
    """No picture within the time given; a further read may yield one."""


class ControlError(CameraError):
    """A camera lacks a control, or does not take the value asked for; trying again won't help."""


class SchemeError(CameraError):
    """A source's scheme is not known, or its plug-in is broken; trying again won't help."""


class TornPicture(CameraError):
    """A JPEG picture is cut off or is no JPEG; the next one may be whole."""
