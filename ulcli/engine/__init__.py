"""Rows out of inputs."""
