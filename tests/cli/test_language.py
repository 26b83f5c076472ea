"""`--lang`, OOMLESS_LANG and the locale choose the language of text; JSON, flags, names and numbers never
change with it."""

import pytest

from command import call
from oomless.report.messages import is_english

LOCALES = ("OOMLESS_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
QUESTIONS = (
    ("infer", "deepseek-r1", "--gpu", "h20:8", "--concurrency", "64", "--context", "32k"),
    ("infer", "deepseek-v4-flash", "--gpu", "h200:8"),
    ("infer", "deepseek-v4-flash", "--gpu", "a100-80gb:8"),
    ("infer", "deepseek-r1", "--gpu", "h20:8", "--tp", "7"),
    ("infer", "deepsek-r1", "--gpu", "h20:8"),
    ("train", "deepseek-v2-lite", "--gpu", "a100-80gb:8"),
    ("train", "deepseek-v2-lite", "--gpu", "h100:8", "--method", "lora"),
)


@pytest.fixture(autouse=True)
def no_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOCALES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("words", QUESTIONS)
def test_chinese_text_has_no_english_sentence(words: tuple[str, ...]) -> None:
    english, chinese = call(*words), call(*words, "--lang", "zh")
    assert chinese.code == english.code
    lines = f"{chinese.out}{chinese.err}".splitlines()
    assert lines != f"{english.out}{english.err}".splitlines()
    assert not [line for line in lines if is_english(line)]


def test_json_is_the_same_in_both_languages() -> None:
    for words in QUESTIONS:
        assert call(*words, "--json", "--lang", "zh") == call(*words, "--json")


def test_the_flag_comes_before_the_variable_and_the_variable_before_the_locale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = QUESTIONS[3]
    english, chinese = call(*words).err, call(*words, "--lang=zh").err
    assert english != chinese
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert call(*words).err == chinese
    monkeypatch.setenv("LC_ALL", "C")
    assert call(*words).err == english
    monkeypatch.setenv("OOMLESS_LANG", "zh")
    assert call(*words).err == chinese
    assert call(*words, "--lang", "en").err == english


def test_another_language_is_refused() -> None:
    found = call("gpus", "--lang", "fr")
    assert (found.code, found.out) == (2, "")
    assert "--lang fr is not known" in found.err
