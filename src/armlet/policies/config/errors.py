"""How a checkpoint is refused."""

from __future__ import annotations

from armlet.files import FileError, PointerError, UnreadableError, reason
from armlet.findings import Code, Finding, Severity


class CheckpointError(ValueError):
    """A checkpoint (or the statistics or configuration for one) that must not be run as it is.

    finding is the refusal as a check reports it; its code says of which kind it is. None where
    another package raised the error without one.
    """

    finding: Finding | None = None

    @classmethod
    def found(
        cls, code: Code, where: object, what: str, *, expected: object, found: object, fix: str
    ) -> CheckpointError:
        """One line: the file, what is wrong, what was expected and found, how to fix it.

        found may be the error that was met; a Git LFS pointer, and a file that the computer does
        not give, have a code and a fix of their own.
        """
        if isinstance(found, PointerError):
            code, fix, found = Code.POLICY_FILE_NOT_FETCHED, found.fix, found.instead
        elif isinstance(found, UnreadableError | OSError):
            code, fix = Code.POLICY_FILE_UNREADABLE, "see that this user may read it, and the disk"
            found = found.found if isinstance(found, UnreadableError) else reason(found)[0]
        elif isinstance(found, FileError):
            found = found.found
        found = "nothing" if found is None else found
        error = cls(f"{where}: {what}: expected {expected}, found {found}; {fix}")
        subject = f"{where}: {what}"
        error.finding = Finding(code, Severity.ERROR, subject, str(expected), str(found), fix)
        return error

    @classmethod
    def of(
        cls, code: Code, error: Exception, where: object = "", *, expected: str, fix: str
    ) -> CheckpointError:
        """An error whose text says it all, but for the file: where, if it does not name it.

        expected and fix are for the finding, whose parts programs read.
        """
        refusal = cls(f"{where}: {error}" if where else str(error))
        found, subject = " ".join(str(error).split()), str(where) or "checkpoint"
        refusal.finding = Finding(code, Severity.ERROR, subject, expected, found, fix)
        return refusal

    @classmethod
    def of_settings(cls, error: Exception, where: object) -> CheckpointError:
        """An error of settings that are each right, and not together. where: their file."""
        return cls.of(
            Code.POLICY_SETTING_INVALID,
            error,
            where,
            expected="settings that fit together",
            fix="restore the file LeRobot wrote",
        )
