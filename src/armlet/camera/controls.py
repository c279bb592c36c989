"""Exposure, gain, white balance, focus: held still, so that pictures keep their distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .errors import CameraError, ControlError
from .v4l2 import Cid, Control, V4l2Device

AS_IS = "as_is"
AUTO = "auto"

Wish = int | str
"""A value in the device's own units, "auto" or "as_is"."""

Opener = Callable[[str], V4l2Device]


@dataclass(frozen=True)
class Knob:
    """What one parameter sets: a value, and the automatism that must be off for it to have effect.

    manual, automatic: values of the automatism's control. On a menu of more than two (exposure)
    all but `manual` are automatic in part.
    """

    name: str
    value: Cid
    automatism: Cid | None = None
    manual: int = 0
    automatic: int = 1
    # What other cameras offer as automatic where they lack the usual choice.
    second_automatic: int | None = None


# Exposure's menu: 0 auto, 1 manual, 2 shutter priority, 3 aperture priority (UVC's usual auto).
KNOBS: Mapping[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob("exposure", Cid.EXPOSURE_ABSOLUTE, Cid.EXPOSURE_AUTO, 1, 3, 0),
        Knob("gain", Cid.GAIN, Cid.AUTOGAIN),
        Knob("white_balance_k", Cid.WHITE_BALANCE_TEMPERATURE, Cid.AUTO_WHITE_BALANCE),
        Knob("focus", Cid.FOCUS_ABSOLUTE, Cid.FOCUS_AUTO),
    )
}
POWER_LINE = "power_line_hz"
# V4L2_CID_POWER_LINE_FREQUENCY's menu.
_POWER_LINE_CHOICES: Mapping[Wish, int] = {0: 0, 50: 1, 60: 2, AUTO: 3}

NAMES = (*KNOBS, POWER_LINE)

VARIABLE_RATE = "rate (exposure may take longer than a frame)"


def check_wishes(wishes: Mapping[str, Wish]) -> None:
    """ControlError for a name or a value that no camera has."""
    for name, wish in wishes.items():
        if name not in NAMES:
            raise ControlError(f"there is no control {name!r}; there are {', '.join(NAMES)}")
        if isinstance(wish, bool) or not (isinstance(wish, int) or wish in (AS_IS, AUTO)):
            raise ControlError(f'{name} must be a whole number, "auto" or "as_is"; found {wish!r}')
        if name == POWER_LINE and wish != AS_IS and wish not in _POWER_LINE_CHOICES:
            raise ControlError(f'{name} must be 50, 60, 0 (off), "auto" or "as_is"; found {wish!r}')


@dataclass(frozen=True)
class State:
    """Values by name; what the camera turns by itself; what is not where it was set."""

    values: Mapping[str, int]
    automatic: tuple[str, ...]
    changed: tuple[str, ...]


class ControlLock:
    """Sets a camera's controls as wished and reports what of it is automatic.

    After `freeze()` the values found are wishes too: a camera that was unplugged gets the same
    ones again. Every value is read back; one that is not taken is a ControlError.
    """

    def __init__(self, wishes: Mapping[str, Wish], opener: Opener = V4l2Device) -> None:
        check_wishes(wishes)
        self._wishes = {name: wish for name, wish in wishes.items() if wish != AS_IS}
        self._open = opener

    @property
    def wishes(self) -> Mapping[str, Wish]:
        """What is set, by name; controls left as they are do not occur."""
        return dict(self._wishes)

    def apply(self, path: str) -> None:
        """Set everything wished on the device at `path`. CameraError, ControlError."""
        if not self._wishes:
            return
        with self._open(path) as device:
            for name, wish in self._wishes.items():
                _fulfil(device, name, wish)

    def change(self, path: str, wishes: Mapping[str, Wish]) -> None:
        """Wish something else, and set it on the device at `path`; as_is: leave what is set.

        Raises ControlError, CameraError; then wishes and device are as they were.
        """
        check_wishes(wishes)
        wanted = {name: wish for name, wish in wishes.items() if wish != AS_IS}
        with self._open(path) as device:
            ids = [id for name in wanted for id in _ids(name) if device.control(id) is not None]
            before = [(id, device.value(id)) for id in ids]
            try:
                for name, wish in wanted.items():
                    _fulfil(device, name, wish)
            except CameraError:
                for id, value in before:
                    device.set_value(id, value)
                raise
        kept = {name: wish for name, wish in self._wishes.items() if name not in wishes}
        self._wishes = kept | wanted

    def freeze(self, path: str) -> dict[str, int]:
        """Make manual, at its present value, what is automatic now; the values by name.

        What was asked to be automatic stays so. A camera that does not report the value its
        automatism chose keeps the value it reports.
        """
        with self._open(path) as device:
            frozen: dict[str, int] = {}
            for name in _automatic(device):
                if name in KNOBS and self._wishes.get(name) != AUTO:
                    _require(device, name, KNOBS[name].value)
                    frozen[name] = device.value(KNOBS[name].value)
            # All are read before any is set: a longer exposure would move the white balance.
            for name, value in frozen.items():
                _hold(device, KNOBS[name], value)
        self._wishes |= frozen
        return frozen

    def state(self, path: str) -> State:
        """How the controls stand now."""
        with self._open(path) as device:
            found = {knob.name: _value(device, knob.value) for knob in KNOBS.values()}
            values = {name: value for name, value in found.items() if value is not None}
            automatic = tuple(_automatic(device))
            changed = tuple(
                name
                for name, wish in self._wishes.items()
                if name in values and isinstance(wish, int) and _differ(device, name, wish, values)
            )
        return State(values, automatic, changed)


def _fulfil(device: V4l2Device, name: str, wish: Wish) -> None:
    if name == POWER_LINE:
        _set(device, name, Cid.POWER_LINE_FREQUENCY, _POWER_LINE_CHOICES[wish])
    elif isinstance(wish, int):
        _hold(device, KNOBS[name], wish)
    else:
        _automate(device, KNOBS[name])


def _ids(name: str) -> list[Cid]:
    """The controls that a name sets, in the order in which old values can be set again."""
    if name == POWER_LINE:
        return [Cid.POWER_LINE_FREQUENCY]
    knob = KNOBS[name]
    return [knob.value] if knob.automatism is None else [knob.value, knob.automatism]


def _differ(device: V4l2Device, name: str, wish: int, values: Mapping[str, int]) -> bool:
    control = device.control(KNOBS[name].value)
    return control is not None and abs(values[name] - wish) >= max(control.step, 1)


def _automatic(device: V4l2Device) -> Iterator[str]:
    """Names of the knobs that turn by themselves, also of those that cannot be held."""
    for knob in KNOBS.values():
        value = _value(device, knob.automatism)
        if value is not None and value != knob.manual:
            yield knob.name
    exposes_itself = _value(device, Cid.EXPOSURE_AUTO) not in (None, KNOBS["exposure"].manual)
    if exposes_itself and _value(device, Cid.EXPOSURE_AUTO_PRIORITY):
        yield VARIABLE_RATE


def _value(device: V4l2Device, id: int | None) -> int | None:
    """A control's value; None where the device has no such control."""
    return None if id is None or device.control(id) is None else device.value(id)


def _hold(device: V4l2Device, knob: Knob, value: int) -> None:
    _require(device, knob.name, knob.value)
    if knob.automatism is not None and device.control(knob.automatism) is not None:
        _set(device, f"{knob.name}'s automatism", knob.automatism, knob.manual)
    _set(device, knob.name, knob.value, value)


def _automate(device: V4l2Device, knob: Knob) -> None:
    assert knob.automatism is not None
    control = _require(device, f"automatic {knob.name}", knob.automatism)
    choice = knob.automatic
    choices = [value for value, _ in control.menu]
    if choices and choice not in choices and knob.second_automatic in choices:
        choice = knob.second_automatic
    _set(device, f"automatic {knob.name}", knob.automatism, choice)


def _require(device: V4l2Device, name: str, id: int) -> Control:
    control = device.control(id)
    if control is None or not control.writable:
        has = ", ".join(found.name for found in device.controls().values()) or "none"
        raise ControlError(
            f'camera {device.path} has no control to set {name}: leave it "as_is"; '
            f"its controls are {has}"
        )
    return control


def _set(device: V4l2Device, name: str, id: int, value: int) -> None:
    control = _require(device, name, id)
    choices = dict(control.menu)
    if choices and value not in choices:
        raise ControlError(
            f"camera {device.path} has no choice {value} for {name}; it has "
            + ", ".join(f"{number} ({word})" for number, word in choices.items())
        )
    if not control.minimum <= value <= control.maximum:
        raise ControlError(
            f"camera {device.path} takes {name} from {control.minimum} to {control.maximum} in "
            f"steps of {control.step}, not {value}"
        )
    device.set_value(id, value)
    found = device.value(id)
    # Drivers round to their steps; further off, the value was not taken.
    if abs(found - value) >= max(control.step, 1):
        raise ControlError(
            f"camera {device.path}: {name} was set to {value}, the camera has {found} "
            f'(steps of {control.step}): it does not hold it; leave it "as_is"'
        )
