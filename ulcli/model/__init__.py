"""Checkpoint files, backbones, feature extraction and its cache, the head and its fitting."""
