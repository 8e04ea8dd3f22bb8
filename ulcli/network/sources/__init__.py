"""Where networks come from, a file a source."""
