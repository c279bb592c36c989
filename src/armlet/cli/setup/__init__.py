"""Commands that walk a person through several others."""
