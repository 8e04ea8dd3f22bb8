"""What Typer sees: options and help of each command; each calls one function and prints its result."""
