"""Programs' side of a running graph: watch it, direct it, record, replay."""
