"""What is wrong with a dataset, and what a strict reviewer would say of it."""
