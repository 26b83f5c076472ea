"""OpenRLHF: the words of its commands."""

from ..record import of_facts
from .configuration import read

RECORDS = {"openrlhf": of_facts("openrlhf")._replace(title="OpenRLHF", reads=read)}
