"""Recording: episodes whole or not at all, and what a crash leaves of them."""
