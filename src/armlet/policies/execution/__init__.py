"""From chunks to the action that is executed now."""
