"""Trials of a policy in closed loop: tasks, what came of each trial, and what all of them show."""
