"""`python -m ulcli`: the same as `ul`, where another program of that name comes first on the PATH."""

from ulcli.app import main

main()
