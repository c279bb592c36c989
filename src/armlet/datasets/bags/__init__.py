"""Bags of the raw topics, as datasets and as frames."""
