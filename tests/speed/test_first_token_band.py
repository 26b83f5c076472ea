"""The band of a first token that passes a server."""

from oomless.speed.band import Coverage, spread


def test_a_served_first_token_is_less_certain_than_a_rate_of_prompts() -> None:
    """87 % of the first tokens of SGLang and vLLM in all tables lay inside, 90 % were promised."""
    alone, served = Coverage("hbm", "sglang"), Coverage("hbm", "sglang", served=True)
    remote = served._replace(several=True, nodes=True)
    assert spread("prefill", alone) < spread("prefill", served) < spread("prefill", remote)
