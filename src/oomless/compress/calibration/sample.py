"""The text that a calibration runs on if none is given."""

from importlib.resources import files


def sample() -> str:
    """Return the sample: stories, letters, lessons and manuals written for it, three openings in the public
    domain, documentation of this project in English and Chinese, Python and a little of other languages.

    No text on which quality was judged is in it.

    >>> 40_000 < len(sample()) < 60_000
    True
    """
    return (files(__package__) / "sample.txt").read_text(encoding="utf-8")
