"""What this package refuses with."""

from __future__ import annotations

from armlet.files import PointerError
from armlet.findings import Code, Finding, Severity


class CheckpointError(ValueError):
    """A checkpoint (or the statistics or configuration for one) that must not be run as it is.

    finding is the refusal as a check reports it, where it was raised by `found`.
    """

    finding: Finding | None = None

    @classmethod
    def found(
        cls, where: object, what: str, *, expected: object, found: object, fix: str
    ) -> CheckpointError:
        """One line: the file, what is wrong, what was expected and found, how to fix it.

        found may be the error that was met; a Git LFS pointer has a fix of its own.
        """
        if isinstance(found, PointerError):
            fix, found = found.fix, found.found
        found = "nothing" if found is None else found
        error = cls(f"{where}: {what}: expected {expected}, found {found}; {fix}")
        code, subject = Code.POLICY_CHECKPOINT_UNUSABLE, f"{where}: {what}"
        error.finding = Finding(code, Severity.ERROR, subject, str(expected), str(found), fix)
        return error


class ObservationError(ValueError):
    """An observation that is not the one the policy was trained on."""
