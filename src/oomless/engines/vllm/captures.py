"""What vLLM's --compilation-config says of CUDA graphs."""

import json

from ...errors import UsageError
from ...records import Record

MODES = ("", "NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
NOT_COMPILED = ("0", "NONE")


class Captures(Record):
    """What --compilation-config says of graphs."""

    sizes: tuple[int, ...] | None = None
    """Tokens of the steps that are captured; None: as the release has it."""
    largest: int | None = None
    mode: str = ""
    """cudagraph_mode in capitals; "": the release's own."""

    @property
    def are_off(self) -> bool:
        return self.mode == "NONE" or self.sizes == () or self.largest == 0

    @property
    def are_pieces(self) -> bool:
        """Return whether the layers between attention are captured for every size."""
        return self.mode != "FULL_DECODE_ONLY"

    @property
    def are_whole(self) -> bool:
        """Return whether decode steps are captured whole besides; FULL captures every size whole, and that
        once."""
        return self.mode not in ("PIECEWISE", "FULL")


def captures(config: str | None) -> Captures:
    """Return what vLLM's JSON, or a level alone (-O0), says of graphs (config/compilation.py): without
    compilation there are none unless a mode asks for them.

    >>> captures('{"cudagraph_capture_sizes": [1, 2, 4]}').sizes, captures("0").are_off
    ((1, 2, 4), True)
    """
    if config is None:
        return Captures()
    try:
        found = json.loads(config)
    except (ValueError, RecursionError):
        raise UsageError(
            f"--compilation-config is {config[:60]!r}", "write vLLM's JSON", "compilation_config"
        ) from None
    keys = found if isinstance(found, dict) else {"mode": found}
    level = keys.get("mode", keys.get("level"))
    mode = str(keys.get("cudagraph_mode") or ("NONE" if str(level) in NOT_COMPILED else "")).upper()
    if mode not in MODES:
        raise UsageError(
            f"cudagraph_mode {mode[:40]!r} is not known",
            f"known are {', '.join(MODES[1:])}",
            "compilation_config",
        )
    sizes, largest = keys.get("cudagraph_capture_sizes"), keys.get("max_cudagraph_capture_size")
    whole = [*(sizes if isinstance(sizes, list) else ()), *(() if largest is None else (largest,))]
    if not isinstance(sizes, list | None) or any(type(each) is not int or each < 0 for each in whole):
        raise UsageError(
            f"--compilation-config {config[:60]!r}: sizes are whole numbers",
            'write {"cudagraph_capture_sizes": [1, 2, 4]}',
            "compilation_config",
        )
    return Captures(None if sizes is None else tuple(sorted(set(sizes))), largest, mode)


def in_pieces(config: str | None) -> str:
    """Return vLLM's JSON with pieces alone captured.

    >>> in_pieces('{"max_cudagraph_capture_size": 8}'), in_pieces(None)
    ('{"max_cudagraph_capture_size": 8, "cudagraph_mode": "PIECEWISE"}', '{"cudagraph_mode": "PIECEWISE"}')
    """
    found = {} if config is None else json.loads(config)
    keys = found if isinstance(found, dict) else {"mode": found}
    return json.dumps({**keys, "cudagraph_mode": "PIECEWISE"})
