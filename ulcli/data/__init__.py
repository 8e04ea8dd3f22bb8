"""What goes in: data sets by name, folders, manifests, safe image decoding, built-in OOD sets."""
