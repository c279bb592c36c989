"""Finding an arm's calibration with a person's hands."""
