"""ms-swift: the words of its commands."""

from ..record import of_facts
from .configuration import read

RECORDS = {"ms-swift": of_facts("ms-swift")._replace(title="ms-swift", reads=read)}
