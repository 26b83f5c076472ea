"""Programs that train through a framework of ours, where somebody names them for it."""

from .. import facts
from ..facts.options import Option


def trained_through(option: Option, word: str) -> str:
    """Return the hint that a program needs which is no framework itself; "" for any other word.

    >>> from .options import by_flag
    >>> flag = by_flag("train")["--framework"]
    >>> trained_through(flag, "verl"), trained_through(flag, "trl")
    ('take fsdp or megatron-bridge: verl runs on other trainers', '')
    """
    if option.flag != "--framework":
        return ""
    meant = word.lower().replace("_", "-")
    rows = [row for row in facts.table("other_frameworks") if row["word"] == meant]
    return "".join(
        f"take {' or '.join(row['frameworks'].split())}: {word[:60]} runs on other trainers" for row in rows
    )
