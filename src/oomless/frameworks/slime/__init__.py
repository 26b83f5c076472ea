"""slime: the words of its commands; Megatron-Bridge stands for its actors."""

from ..megatron import RECORDS as MEGATRON
from .configuration import read

RECORDS = {"megatron-bridge": MEGATRON["megatron-bridge"]._replace(reads=read)}
