"""An engine that is derived from another has all of its record but what its entry says."""

import pytest

from oomless.engines import engine
from oomless.facts.derived_engines import DERIVED

OWN = {"name", "label", "cards", "rows", "log_signs"}
"""What an entry of facts/derived_engines.py says."""


@pytest.mark.parametrize("name", [each.name for each in DERIVED.values() if not each.module])
def test_an_entry_alone_is_a_whole_engine(name: str) -> None:
    row = DERIVED[name]
    found, parent = engine(name), engine(row.of)
    differs = {field for field, one, other in zip(parent._fields, found, parent, strict=True) if one != other}
    assert differs <= OWN
    assert (found.name, found.label, found.rows.words) == (name, row.label, (row.label,))


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_engine_has_the_flags_and_the_log_of_its_parent(name: str) -> None:
    row = DERIVED[name]
    assert engine(name).log.partition(".")[0] == engine(row.of).log.partition(".")[0]
    assert not row.makers or engine(name).cards.only == row.makers
