"""`python -m oomless`."""

from .cli import process

process()
