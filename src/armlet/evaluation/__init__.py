"""How good a policy is: its chunks beside recorded actions, and trials of it in closed loop."""
