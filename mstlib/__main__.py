"""`python -m mstlib` is `mst`."""

from mstlib.cli.main import main

main()
