"""`python -m fraud.cli` is the same as `mimamori`."""

from fraud.cli import main

main()
