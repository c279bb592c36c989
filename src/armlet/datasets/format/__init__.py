"""LeRobot's files, v3.0 and v2.1: layout, tables, statistics, videos; each whole or absent."""
