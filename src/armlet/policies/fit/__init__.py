"""Whether a policy fits the robot, the dataset and what it is fed."""
