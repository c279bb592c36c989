"""Whether the recorder that a policy must not drive without can record."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

# The recorder says it twice a second.
SILENCE_S = 2.0


class RequiredRecorder:
    """What a recorder said last of its readiness, and when."""

    def __init__(self) -> None:
        self._heard_ns: int | None = None
        self._refusal = ""

    @property
    def heard(self) -> bool:
        """Whether it has said anything yet."""
        return self._heard_ns is not None

    def hear(self, message: DiagnosticArray, now_ns: int) -> None:
        """Take a message of its `~/readiness`."""
        self._heard_ns = now_ns
        refusals = [s.message for s in message.status if s.level != DiagnosticStatus.OK]
        self._refusal = "; ".join(refusals)

    def refusal(self, now_ns: int) -> str:
        """Why nothing can be recorded, in words; empty if it can."""
        if self._heard_ns is None:
            return "waiting for the recorder"
        silent_s = (now_ns - self._heard_ns) * 1e-9
        if silent_s > SILENCE_S:
            return f"no message from the recorder for {silent_s:.1f} s: is it still running?"
        return f"the recorder cannot record: {self._refusal}" if self._refusal else ""
