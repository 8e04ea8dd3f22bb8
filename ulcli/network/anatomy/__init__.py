"""Where a network's features are: its classifier, and the layers before."""
