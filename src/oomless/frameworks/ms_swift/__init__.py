"""ms-swift: the words of its commands, with the Trainer and with Megatron-Core."""

from ..megatron import MODULES
from ..record import of_facts
from .configuration import read
from .megatron import read as read_megatron

RECORDS = {
    "ms-swift": of_facts("ms-swift")._replace(title="ms-swift", reads=read),
    "megatron-swift": of_facts("megatron-swift")._replace(
        title="Megatron-SWIFT", reads=read_megatron, modules=MODULES
    ),
}
