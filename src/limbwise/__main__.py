"""`python -m limbwise` is the command `limbwise`."""

from .cli import main

main()
