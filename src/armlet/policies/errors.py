"""What this package refuses with."""

from __future__ import annotations

from armlet.contract import Verdict


class CheckpointError(ValueError):
    """A checkpoint (or the statistics or configuration for one) that must not be run as it is.

    verdict is the refusal as a line of a check, where it was raised by `found`.
    """

    verdict: Verdict | None = None

    @classmethod
    def found(
        cls, where: object, what: str, *, expected: object, found: object, fix: str
    ) -> CheckpointError:
        """One line: the file, what is wrong, what was expected and found, how to fix it."""
        error = cls(f"{where}: {what}: expected {expected}, found {found}; {fix}")
        error.verdict = Verdict(f"{where}: {what}", str(expected), str(found), fix)
        return error


class ObservationError(ValueError):
    """An observation that is not the one the policy was trained on."""
