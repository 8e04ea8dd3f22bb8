"""One command a file: settings in, a result out, no printing."""
