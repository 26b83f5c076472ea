"""A config.json under suspicion: each key is read with its type and range, and all faults are reported at
once."""

from typing import TYPE_CHECKING, Any

from ..errors import OomlessError
from ..files import read_whole, shown
from ..limits import CONFIG, parse_json
from .irrelevant_keys import IRRELEVANT, OF_SPEED, SWITCHES

if TYPE_CHECKING:
    from pathlib import Path

MAX_LAYERS = 1_000
"""The deepest published model has under 200."""
MAX_EXPERTS = 100_000
MAX_SIZE = 1 << 40
"""No dimension of a network comes near; a larger number is a corrupt file."""


def read_config(path: "Path") -> dict[str, Any]:
    """The JSON object of a config file of bounded size."""
    content = read_whole(path, CONFIG.num_bytes, "give a config.json, not a weight file")
    value = parse_json(content, str(path), CONFIG, infinite=True)
    if not isinstance(value, dict):
        raise OomlessError(
            f"{path}: a config is a JSON object, this is a {type(value).__name__}", "check the file"
        )
    return value


MODELOPT_FILE = "hf_quant_config.json"
"""Where ModelOpt up to 0.29 wrote what later stands under quantization_config; engines read both."""


def with_modelopt(config: dict[str, Any], beside: object) -> dict[str, Any]:
    """The config with the quantisation that a file of ModelOpt beside it names."""
    quantization = beside.get("quantization") if isinstance(beside, dict) else None
    if not isinstance(quantization, dict):
        return config
    return {**config, "quantization_config": {**quantization, "quant_method": "modelopt"}}


class Config:
    """Typed reading of one JSON object. A reader takes what it needs and calls `done`, which reports every
    fault together."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where
        self.used: set[str] = {"architectures", "id2label"}  # of its head, which a few readers know
        self.faults: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the key is there with a value other than null."""
        self.used.add(key)
        return self.values.get(key) is not None

    def size(self, key: str, default: int | None = None, *, least: int = 1, most: int = MAX_SIZE) -> int:
        """A whole number in range. `default` is for keys whose absence has a meaning in the model's own
        class."""
        value = self.values.get(key)
        self.used.add(key)
        if value is None:
            if default is None:
                self.faults.append(f"{key} is missing")
                return least
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.faults.append(f"{key} is {_show(value)}, not a whole number")
            return least
        if not least <= value <= most:
            self.faults.append(f"{key} is {_show(value)}, not between {least} and {most:,}")
            return least
        return value

    def number(self, key: str, default: float) -> float:
        """A number above zero, of a size that a dimension can be multiplied with."""
        value = self.values.get(key)
        self.used.add(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SIZE:
            self.faults.append(f"{key} is {_show(value)}, not a number above 0 and at most {MAX_SIZE:,}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        self.used.add(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.faults.append(f"{key} is {_show(value)}, not true or false")
            return default
        return value

    def word(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key)
        self.used.add(key)
        if value is None:
            if default is None:
                self.faults.append(f"{key} is missing")
            return default or ""
        if not isinstance(value, str):
            self.faults.append(f"{key} is {_show(value)}, not a text")
            return ""
        return value

    def sizes(self, key: str, *, least: int = 0, most: int = MAX_SIZE) -> tuple[int, ...]:
        """A list of whole numbers in range."""
        value = self.values.get(key)
        self.used.add(key)
        if value is None:
            self.faults.append(f"{key} is missing")
            return ()
        if not isinstance(value, list) or len(value) > MAX_LAYERS:
            self.faults.append(f"{key} is {_show(value)}, not a list of at most {MAX_LAYERS:,} whole numbers")
            return ()
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not least <= item <= most:
                self.faults.append(
                    f"{key} holds {_show(item)}, not a whole number between {least} and {most:,}"
                )
                return ()
        return tuple(value)

    def section(self, key: str) -> "Config":
        """A nested object, empty if absent; its faults are reported with ours."""
        value = self.values.get(key)
        self.used.add(key)
        if value is not None and not isinstance(value, dict):
            self.faults.append(f"{key} is {_show(value)}, not an object")
            value = None
        nested = Config(value or {}, f"{self.where}: {key}")
        nested.faults = self.faults
        return nested

    def fault(self, message: str) -> None:
        self.faults.append(message)

    def check(self) -> None:
        """Raise with every fault found so far, if there is one."""
        if self.faults:
            listed = "; ".join(dict.fromkeys(self.faults))
            raise OomlessError(
                f"{self.where}: {listed}", "a config.json as its publisher wrote it has these keys"
            )

    def unread(self) -> tuple[str, ...]:
        """Return keys that no reader knows: each may change memory, so it is warned of. Null is no value."""
        return tuple(
            sorted(
                str(key)
                for key, value in self.values.items()
                if key not in self.used
                and key not in IRRELEVANT | OF_SPEED
                and value is not None
                and (value or key not in SWITCHES)
            )
        )


def _show(value: object) -> str:
    """A value as JSON has it, as a short piece of a message."""
    if isinstance(value, bool | float):
        return {"True": "true", "False": "false", "inf": "Infinity", "-inf": "-Infinity"}.get(
            str(value), str(value)
        )
    return shown(value, 40)
