"""A chain of emulated servos behind a pseudo-terminal, for any program that speaks the protocol."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from armlet.motors.emulated_port import sign_of
from armlet.motors.emulation.body import ServoBody
from armlet.motors.emulation.chain import Chain
from armlet.motors.emulation.chain import Write as Write
from armlet.motors.emulation.faults import Faults as Faults
from armlet.motors.emulation.kinds import KINDS
from armlet.motors.emulation.line import Exchange, Pty
from armlet.motors.emulation.protection import Supply
from armlet.motors.emulation.servo import EmulatedServo as EmulatedServo

_log = logging.getLogger(__name__)

_SOMEBODY_COMES_S = 0.5
"""A torque watchdog whose driver has died opens the port within this."""

_LOOK_S = 0.01


class EmulatedBus:
    """Servos on a serial line that ends in a pseudo-terminal.

    A thread answers requests as the chain of servos would; it blocks in the kernel while there is
    nothing to do. A servo hears a program only if the program's line speed is the servo's. If the
    thread fails, the error is logged at once and raised by `check`, `hang_up` and `close`.

    Args:
        ids: one servo each. An id may occur twice: such servos answer at once and garble each
            other.
        link: symbolic link to make to the pseudo-terminal, so that its path stays the same.
        baudrate: speed the servos are set to.
        paced: bytes take their time on the wire, and servos their Return_Delay_Time.
        volts: of the supply that all servos share, without a load; None: what the servos are made
            for.
        supply_ohms: its resistance, cables included: its voltage sags with what servos draw.
        clock: seconds, monotonic, of the servos' motion; tests give their own.
        motors: name of the servos' model, one of `kinds.KINDS`; or one for each servo, all of one
            family.

    Attributes:
        model: of the first servo.
        faults: what goes wrong.
        supply: of the first servo and those that take the same voltage; may be changed.
    """

    def __init__(
        self,
        ids: Iterable[int] = (1, 2, 3, 4, 5, 6),
        *,
        link: str | Path | None = None,
        baudrate: int = 1_000_000,
        paced: bool = False,
        volts: float | None = None,
        supply_ohms: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        motors: str | Sequence[str] = "sts3215",
    ) -> None:
        ids = list(ids)
        names = [motors] * len(ids) if isinstance(motors, str) else list(motors)
        kinds = [KINDS[name] for name in names]
        kind = KINDS[motors if isinstance(motors, str) else names[0]]
        self.model = kind.model
        self._framing = kind.framing
        self.faults = Faults()
        supplies = {
            each.volts: Supply(each.volts if volts is None else volts, supply_ohms)
            for each in (kind, *kinds)
        }
        self.supply = supplies[kind.volts]
        servos = [
            each.make(id, supplies[each.volts], baudrate, clock)
            for id, each in zip(ids, kinds, strict=True)
        ]
        self._models = {servo: each.model for servo, each in zip(servos, kinds, strict=True)}
        waits = kind.framing.waits_for_turn
        self._chain = Chain(servos, self.faults, clock, kind.word, waits)
        self._link = None if link is None else Path(link)
        self._sign: socket.socket | None = None
        self._paced = paced
        self._plugging = threading.Lock()
        self._pty: Pty | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def chain(self) -> tuple[ServoBody, ...]:
        """The servos on the line, in the order of the cable, those that share an id as well."""
        return self._chain.servos

    @property
    def servos(self) -> dict[int, ServoBody]:
        """The servos by the id they have now; of those that share an id, the last."""
        return {servo.id: servo for servo in self._chain.servos}

    @property
    def writes(self) -> deque[Write]:
        """What was written to servos, oldest first, the last 10000."""
        return self._chain.writes

    def calibrate(
        self, id: int, homing_offset: int, range_min: int, range_max: int, drive_mode: int = 0
    ) -> None:
        """Stores a calibration in a servo's EEPROM, as LeRobot's does."""
        servo = self.servos[id]
        model = self._models[servo]
        if model.counts_turns:  # else it ignores large offsets
            servo.poke(model.registers["Operating_Mode"], model.body.stored["Operating_Mode"])
        if model.drive_mode is not None:
            servo.poke(model.drive_mode, drive_mode)
        servo.poke(model.homing_offset, homing_offset)
        servo.poke(model.min_position, range_min)
        servo.poke(model.max_position, range_max)

    @property
    def plugged(self) -> bool:
        """Whether the port is there; once a program has seen the hang-up, it is not."""
        with self._plugging:
            return self._pty is not None

    @property
    def port(self) -> str:
        """Path to open: the link if there is one, else the pseudo-terminal.

        Raises:
            RuntimeError: not plugged in, and no link.
        """
        if self._link is not None:
            return str(self._link)
        if self._pty is None:
            raise RuntimeError("the emulated bus is not plugged in: enter it, or call plug()")
        return self._pty.path

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self, servos: Iterable[ServoBody]) -> None:
        """Puts these servos on the line in place of those there; new ones start up."""
        connected = tuple(servos)
        for servo in connected:
            if servo not in self._chain.servos:
                servo.power_cycle()
        self._chain.servos = connected

    def plug(self, power_cycle: bool = False) -> None:
        """Makes the port appear. Servos keep their state unless their power is cycled too.

        Raises:
            RuntimeError: already plugged in.
            FileExistsError: the link's path is taken by something that is no emulator's link.
        """
        with self._plugging:
            if self._pty is not None:
                raise RuntimeError("the emulated bus is plugged in already")
            if power_cycle:
                for servo in self._chain.servos:
                    servo.power_cycle()
            self._pty = Pty(self._link)
            if self._link is not None and self._sign is None:
                self._sign = sign_of(self._link)
            self._thread = threading.Thread(
                target=self._serve, args=(self._pty,), name="emulated-servo-bus", daemon=True
            )
            self._thread.start()

    def hang_up(self) -> None:
        """Unplugs the adapter: programs see a hang-up, the port disappears, servos stay powered.

        Raises:
            RuntimeError: the thread had failed; the cause is attached.
        """
        pty, thread = self._pty, self._thread
        if pty is None or thread is None:
            return
        pty.stop()
        thread.join()
        self._unplug(pty)
        self.check()

    def close(self) -> None:
        """Unplugs for good. Raises RuntimeError as `hang_up` does."""
        try:
            self.hang_up()
        finally:
            if self._sign is not None:
                self._sign.close()
                self._sign = None

    def wait_until_released(self, timeout_s: float) -> bool:
        """Wait until no program holds the port; whether none does.

        While servos have torque, one that comes to cut it is waited for a moment longer.
        """
        deadline = time.monotonic() + timeout_s
        free_s = time.monotonic()
        while True:
            with self._plugging:
                taken = self._pty is not None and self._pty.taken
            now_s = time.monotonic()
            if taken:
                free_s = now_s
            held = any(servo.torque_on for servo in self.chain)
            if not taken and (not held or now_s - free_s > _SOMEBODY_COMES_S):
                return True
            if now_s > deadline:
                return False
            time.sleep(_LOOK_S)

    def check(self) -> None:
        """Raises RuntimeError, with its cause, if the serving thread has failed."""
        if self._failure is not None:
            raise RuntimeError("the emulated bus stopped serving") from self._failure

    def _serve(self, pty: Pty) -> None:
        try:
            pulled = Exchange(
                pty, self._chain.answer, self.faults, self._paced, self._framing
            ).run()
        except Exception as error:
            self._failure = error
            _log.exception("the emulated bus stopped serving %s", pty.path)
            return
        if pulled:
            self.faults.hang_up_after_bytes = None
            self._unplug(pty)

    def _unplug(self, pty: Pty) -> None:
        with self._plugging:
            pty.close()
            if self._pty is pty:
                self._pty = self._thread = None
