"""What is fitted and written: the head, the density, thresholds, and the file that holds them."""
