"""The console: one local web application over a running graph. Only `shell` and pages load its
library, NiceGUI."""
