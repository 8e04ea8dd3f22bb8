"""Makes `oracle` importable from the tests beside this file and in its sub-folders."""
