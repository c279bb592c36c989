"""A chain of Dynamixel servos on one serial line, seen from the host."""

from __future__ import annotations

from armlet.motors.dynamixel.models import XL330_M288_MODEL
from armlet.motors.dynamixel.packets import FRAMING, Instruction, Packet
from armlet.motors.protocol import MotorModel
from armlet.motors.wire.bus import LineBus
from armlet.motors.wire.sync import check_ids
from armlet.motors.wire.transaction import Request


class Bus(LineBus):
    """Dynamixel servos of the X series, Protocol 2.0; see `LineBus`."""

    framing = FRAMING

    @property
    def usual_model(self) -> MotorModel:
        return XL330_M288_MODEL

    def reboot(self, id: int) -> None:
        """Starts a servo up again: its RAM is lost, its torque off, its error state ends.

        Raises:
            InstructionRefused: the servo did not.
            NoReply: it was sent, and not acknowledged in time.
            CorruptReply: something answered, but not intact.
            PortError: the port is lost.
        """
        check_ids((id,))
        request = Request(Packet(id, Instruction.REBOOT), (id,), 0, FRAMING, must_send=True)
        self._check_refusal(self._ask(request), request)
