"""torchtune: the configurations of its recipes."""

from ..record import of_facts
from .configuration import read

RECORDS = {"torchtune": of_facts("torchtune")._replace(title="torchtune", reads=read)}
