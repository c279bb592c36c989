"""A checkpoint's configuration files, read strictly."""
