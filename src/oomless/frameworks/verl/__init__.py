"""verl: the words of its commands."""

from ..record import of_facts
from .configuration import read

RECORDS = {"verl": of_facts("verl")._replace(title="verl", reads=read)}
