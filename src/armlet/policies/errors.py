"""What this package refuses with."""


class CheckpointError(ValueError):
    """A checkpoint (or the statistics or configuration for one) that must not be run as it is."""

    @classmethod
    def found(
        cls, where: object, what: str, *, expected: object, found: object, mend: str
    ) -> "CheckpointError":
        """One line: the file, what is wrong, what was expected and found, how to mend it."""
        return cls(f"{where}: {what}: expected {expected}, found {found}; {mend}")


class ObservationError(ValueError):
    """An observation that is not the one the policy was trained on."""
