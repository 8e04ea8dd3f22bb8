"""The user's classifier: reading its file, building it, the one pass of every image through it."""
