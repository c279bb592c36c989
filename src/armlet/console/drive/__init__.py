"""What the page of a driving policy shows and computes. Knows neither NiceGUI nor ROS.

checkpoints (what lies in the folders named, and what it says of itself) · fits (whether each fits
the running graph) · plots (planned and measured) · tables (the rest as HTML).
"""
