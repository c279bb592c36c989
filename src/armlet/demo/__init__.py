"""The demo: record demonstrations on the emulated bench, let a policy drive, report."""
