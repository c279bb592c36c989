"""Which registers hold what control reads of its servos, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armlet.motors.protocol import Alarm, MotorModel, Quantity, Register

STATE = (Quantity.POSITION, Quantity.VELOCITY)
READINGS = (
    *STATE,
    Quantity.LOAD,
    Quantity.VOLTAGE,
    Quantity.TEMPERATURE,
    Quantity.STATUS,
    Quantity.WATCHDOG,
    Quantity.MOVING,
    Quantity.CURRENT,
)
HEALTH = (Quantity.TORQUE_ENABLED, Quantity.TORQUE_LIMIT, *READINGS[2:])


class Row:
    """One servo's values in the reply to a sync_read of some quantities.

    Servos of several models are asked for the same registers, so what the first model has decides;
    how a value is scaled is each model's own.

    Args:
        model: the first joint's.
        quantities: what is wanted. What the model lacks is left out.

    Attributes:
        registers: to ask for, in order of address.
    """

    def __init__(self, model: MotorModel, quantities: Iterable[Quantity]) -> None:
        there = [quantity for quantity in quantities if quantity in model.measures]
        there.sort(key=lambda quantity: model.measures[quantity].register.address)
        self.registers: tuple[Register, ...] = tuple(model.measures[q].register for q in there)
        self._at = {quantity: at for at, quantity in enumerate(there)}

    def at(self, quantity: Quantity) -> int:
        """Where in the row it is. Raises KeyError if it is not."""
        return self._at[quantity]

    def count(self, values: Sequence[int], quantity: Quantity) -> int | None:
        """As the servo counts it; None if it is not in the row."""
        at = self._at.get(quantity)
        return None if at is None else values[at]

    def value(self, model: MotorModel, values: Sequence[int], quantity: Quantity) -> float | None:
        """In the quantity's unit; None if it is not in the row, or not of this model."""
        at, measure = self._at.get(quantity), model.measures.get(quantity)
        return None if at is None or measure is None else measure.value(values[at])

    def alarms(self, model: MotorModel, values: Sequence[int]) -> Alarm:
        """What the status registers in the row report."""
        found = Alarm.NONE
        for quantity in (Quantity.STATUS, Quantity.WATCHDOG):
            at = self._at.get(quantity)
            if at is not None:
                found |= model.alarms(quantity, values[at])
        return found
