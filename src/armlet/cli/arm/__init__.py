"""Commands about an arm and its servos."""
