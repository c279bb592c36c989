"""Times and velocities of the control cycle."""

from __future__ import annotations

from dataclasses import dataclass

from .feedback import Feedback


@dataclass(frozen=True)
class ControlSettings:
    """Times in seconds, velocities in rad/s.

    period_s: time between cycles.
    answer_share: share of the period in which servos that did not answer are asked again.
    answer_wait_s: they are waited for at least this long, by the wall clock: in simulated time an
    emulated line takes none of the period, however slow the computer is.
    feedback: what every cycle reads: position and velocity ("state"), or all readings ("full").
    telemetry_hz: how often each servo's other readings are taken, one servo at a time.
    command_timeout_s: without a command for this long the commander is gone, and the arm holds.
    command_delay_s: commands are played that much after their stamp, interpolated, so that the
    jitter of transport and of two unsynchronised loops does not reach the arm.
    ramp_velocity: speed at which a new source of commands is joined, until caught up.
    blend_s: time in which a newer trajectory takes over from the one in play.
    max_state_age_s: no goal is sent while any joint's last reading is older.
    silence_s: without an answer of some joint for this long the arm has to be armed again.
    """

    period_s: float = 0.01
    answer_share: float = 0.7
    answer_wait_s: float = 0.0
    feedback: Feedback = "state"
    telemetry_hz: float = 2.0
    command_timeout_s: float = 0.5
    command_delay_s: float = 0.02
    ramp_velocity: float = 1.0
    blend_s: float = 0.1
    max_state_age_s: float = 0.1
    silence_s: float = 0.5
    caught_up_rad: float = 0.05

    @property
    def max_step_s(self) -> float:
        """A cycle that comes late moves the goal no further than this much time allows."""
        return 2 * self.period_s
