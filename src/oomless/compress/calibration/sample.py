"""The text that a calibration runs on if none is given."""

from importlib.resources import files


def sample() -> str:
    """Return the sample: documentation of this project in English and Chinese, and Python.

    >>> 40_000 < len(sample()) < 60_000
    True
    """
    return (files(__package__) / "sample.txt").read_text(encoding="utf-8")
