"""Servo buses: what is on the wire, what stands in for it, and what cuts the torque."""
