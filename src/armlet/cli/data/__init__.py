"""Commands about datasets and cameras."""
