"""`python -m oomless`."""

from .cli import main

main()
