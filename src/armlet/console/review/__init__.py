"""Recorded datasets for a person to look at and to edit: what the console's page of them shows.

Plain data, and processes for what takes long; it knows no ROS and no web server. `routes` alone is
of the server: what a browser fetches beside the page.
"""
