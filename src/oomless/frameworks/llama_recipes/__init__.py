"""Meta's llama-recipes, now llama-cookbook: the words of its finetuning.py."""

from ..record import of_facts
from .configuration import read

RECORDS = {"llama-recipes": of_facts("llama-recipes")._replace(title="llama-recipes", reads=read)}
