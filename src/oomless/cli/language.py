"""In which language a person is answered: `--lang`, then OOMLESS_LANG, then the locale. JSON is the same in
all."""

from collections.abc import Mapping
from typing import Literal

from ..errors import UsageError

FLAG = "--lang"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set counts, as in gettext."""


def with_language(words: list[str], environ: Mapping[str, str]) -> tuple[list[str], Literal["en", "zh"]]:
    """Return a command line without --lang, and the language.

    >>> with_language(["infer", "deepseek-r1", "--lang", "zh"], {})
    (['infer', 'deepseek-r1'], 'zh')
    >>> (
    ...     with_language(["gpus"], {"LANG": "zh_CN.UTF-8"}),
    ...     with_language(["gpus"], {"LC_ALL": "C", "LANG": "zh_CN"}),
    ... )
    ((['gpus'], 'zh'), (['gpus'], 'en'))
    """
    end = words.index("--") if "--" in words else len(words)  # what stands behind is another's command
    ours, rest = words[:end], words[end:]
    said: str | None = None
    kept: list[str] = []
    each = iter(ours)
    for word in each:
        flag, has_value, value = word.partition("=")
        if flag != FLAG:
            kept.append(word)
            continue
        said = value if has_value else next(each, "")
        if said not in ("en", "zh"):
            raise UsageError(f"--lang {said} is not known", "known are zh, en", "lang")
    if said is None:
        locale = next((environ[name] for name in LOCALE if environ.get(name)), "")
        said = environ.get("OOMLESS_LANG") or locale
    return [*kept, *rest], "zh" if said.lower().startswith("zh") else "en"
