"""Trials of a policy in closed loop: what came of each trial, and what all of them show."""
