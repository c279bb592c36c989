"""A dataset made from another, or put right."""
