"""The `ul` command line: fit, check and use an evidential head on an image classifier."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("uncertainty-loss")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "unknown"
