"""The checkpoint files that users bring: what they are, and what is in them."""
