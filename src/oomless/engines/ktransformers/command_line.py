"""KTransformers' words in ours."""

from ...model.gguf_names import type_in_name
from ..command_words import CommandWords
from .release import KtransformersRules
from .rules_file import rules_file

CHAT = "local_chat"
ANSWER, PROMPT = 1000, 1000
"""Tokens of a chat's answer where the command says none, and of a prompt, which no command says."""


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of KTransformers in our words: the file says the type of the experts, the rules file
    the cards; a chat has a cache for its prompt and --max_new_tokens, a server one of --cache_lens
    (local_chat.py; server/args.py)."""
    flags, unknown = dict(said.flags), said.unknown
    path = flags.pop("gguf_path", None)
    kind = type_in_name(str(path or said.model or "").rstrip("/"))
    if kind is not None:
        flags["quantization"] = kind
    elif path is not None:
        unknown = [*unknown, f"--gguf_path {path}, whose name says no type"]
    answer = flags.pop("max_new_tokens", ANSWER)
    if any(CHAT in word for word in said.before):
        flags["context"] = answer + PROMPT
        flags.pop("max_total_tokens", None)
    else:
        flags.setdefault("max_total_tokens", KtransformersRules.cache_lens)
    flags["pp"] = rules_file(flags.get("optimize_config_path")).num_cards
    if "USE_NUMA=1" in said.before:
        flags["numa_copies"] = 2
    return said._replace(flags=flags, unknown=unknown)
