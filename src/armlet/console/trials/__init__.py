"""Trials of policies for a browser, without a server: found, shown, compared, judged by hand.

Nothing here imports ROS or the console's library.
"""
