"""From a state dict to the network that it is of."""
