"""Programs that train through a framework of ours, where somebody names them for it."""

from .. import facts


def trained_through(flag: str, word: str) -> str:
    """Return the hint that a program needs which is no framework itself; "" for any other word.

    >>> trained_through("--framework", "nemo-rl"), trained_through("--framework", "trl")
    ('take fsdp or megatron-bridge: nemo-rl runs on other trainers', '')
    """
    if flag != "--framework":
        return ""
    meant = word.lower().replace("_", "-")
    rows = [row for row in facts.table("other_frameworks") if row["word"] == meant]
    return "".join(
        f"take {' or '.join(row['frameworks'].split())}: {word[:60]} runs on other trainers" for row in rows
    )
