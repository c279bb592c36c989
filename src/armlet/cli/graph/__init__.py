"""Commands about a whole graph of nodes."""
