"""`python -m mstlib` is `mst`."""

from mstlib.cli import main

main()
