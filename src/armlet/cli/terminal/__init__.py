"""What the commands share: arguments, keys, tables, screens."""
