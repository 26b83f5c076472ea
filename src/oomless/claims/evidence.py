"""A claim of the guide and what settles it: a verdict, findings, and the commands that show them again."""

from typing import Literal, NamedTuple

ClaimVerdict = Literal["holds", "depends", "does not hold", "not settled"]


class Finding(NamedTuple):
    """One number of the evidence."""

    what: str
    value: float
    unit: str

    def settled(self) -> "Finding":
        """The same with nine digits of a share or a rate: a logarithm's last ones are those of the C library
        beneath, and a page in the browser has another.

        >>> Finding("sparse against dense", 23.900000000000002, "%").settled().value
        23.9
        """
        return self._replace(value=float(f"{self.value:.9g}")) if isinstance(self.value, float) else self


class Evidence(NamedTuple):
    """What was found, why, and how anyone can see it again."""

    verdict: ClaimVerdict
    because: str
    figures: tuple[Finding, ...]
    commands: tuple[str, ...]


class Claim(NamedTuple):
    """A statement of the guide, with the evidence if some code settles it."""

    id: str
    section: str
    subject: str
    statement: str
    first_reading: str
    how_to_settle: str
    evidence: Evidence


UNSETTLED = Evidence("not settled", "no part of oomless can decide it yet", (), ())
