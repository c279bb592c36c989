"""A half-duplex serial line of servos, whatever protocol they speak: see `Framing`."""
