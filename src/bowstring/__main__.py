"""`python -m bowstring`."""

from .cli import main

main()
