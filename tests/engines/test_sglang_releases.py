"""The very releases at which rules of SGLang begin and end: its post-releases change defaults, too."""

import pytest

from oomless.engines.sglang.release import RELEASES

BOUNDARIES = [
    ("share_of_vision_models", "0.4.4.post3", "0.4.4.post4"),
    ("share_of_vision_models", "0.4.9.post2", "0.4.9.post3"),
    ("cuts_no_prompt_of_vision_models", "0.4.4.post3", "0.4.4.post4"),
    ("replicates_attention_by_rank", "0.4.4", "0.4.4.post1"),
    ("drafts_for_32", "0.4.4.post3", "0.4.4.post4"),
    ("clones_shared_experts", "0.4.5.post1", "0.4.5.post2"),
    ("holds_loaded_experts", "0.4.6.post4", "0.4.6.post5"),
    ("gib_reserved_for_drafts", "0.4.6.post5", "0.4.7"),
    ("reserves_by_class", "0.4.7", "0.4.7.post1"),
    ("chunks_by_class", "0.4.7", "0.4.7.post1"),
    ("share_of_largest_cards", "0.4.7", "0.4.7.post1"),
    ("copies_page_tables", "0.4.5", "0.4.5.post1"),
    ("copies_page_tables", "0.4.10.post1", "0.4.10.post2"),
    ("has_one_page_table", "0.5.0", "0.5.1"),
    ("sparse_mla_share", "0.5.3", "0.5.3.post1"),
    ("divides_pool_by_index_rows", "0.5.3", "0.5.3.post1"),
    ("shares_pool_with_states", "0.5.3.post1", "0.5.3.post2"),
    ("slots_of_buffered_states", "0.5.3.post1", "0.5.3.post2"),
    ("counts_states_by_requests", "0.5.3.post1", "0.5.3.post2"),
    ("multiplies_states_by_drafts", "0.5.3.post1", "0.5.3.post2"),
    ("pages_mla_on_blackwell", "0.5.3.post1", "0.5.3.post2"),
    ("graphs_of_35_gib", "0.5.4", "0.5.4.post1"),
    ("shows_share_beside_aiter", "0.5.4", "0.5.4.post1"),
    ("reserves_for_prefills", "0.5.5", "0.5.5.post1"),
    ("spreads_remainder", "0.5.5.post3", "0.5.6"),
]


@pytest.mark.parametrize(("rule", "before", "since"), BOUNDARIES)
def test_a_rule_changes_between_two_neighbours(rule: str, before: str, since: str) -> None:
    values = [getattr(RELEASES.at(version), rule) for version in (before, since)]
    assert values[0] != values[1]
