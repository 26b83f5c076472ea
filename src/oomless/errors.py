"""What can go wrong, as the user meets it: what, where, what to do - and an exit code.

OomlessError            1  a file, config, hub or network failed
+-- UsageError          2  flags, unknown model, card or engine, bare numbers
+-- UnsupportedError    4  a model kind, or a format that engine or card cannot run
+-- MissingExtra        5  an optional dependency is not installed
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .records import Record


class Refusal(Record):
    """Why something is not answered, as a value: code decides by the field, people read the rest."""

    field: str
    """The option that it hangs on (run/options.py); "" if on none alone."""
    why: str
    hint: str


MOST_MESSAGE = 2_000
"""Characters."""
FLAG = re.compile(r"(?<![\w-])--?[a-z][\w-]*")


class OomlessError(Exception):
    """A failure that a user can act on: `message` says what and where, `hint` what to do, `field` which
    option it hangs on."""

    code = 1
    """With which the process ends."""

    def __init__(self, message: str, hint: str = "", field: str = "") -> None:
        if len(message) > MOST_MESSAGE:  # a value of a file may be as long as the file
            message = f"{message[: MOST_MESSAGE - 200]} ... {message[-100:]}"
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        self.words: Mapping[str, str] = {}
        """What a command that was pasted calls flags of ours."""

    def __str__(self) -> str:
        return self.said(f"{self.message}\n  {self.hint}" if self.hint else self.message)

    def said(self, text: str) -> str:
        """Return a text of it, in any language, with flags as the user wrote them."""
        return FLAG.sub(lambda found: self.words.get(found[0], found[0]), text) if self.words else text

    @property
    def refusal(self) -> Refusal:
        """Return the same as a value.

        >>> UsageError("--tp is 0", "it must be between 1 and 65,536", "tp").refusal.field
        'tp'
        """
        return Refusal(self.field, self.message, self.hint)

    def to_json(self) -> dict[str, object]:
        """Return what stands on stderr under `--json`.

        >>> UsageError("--tp is 0", "", "tp").to_json()
        {'error': {'code': 2, 'field': 'tp', 'message': '--tp is 0', 'hint': ''}}
        """
        return {
            "error": {
                "code": self.code,
                "field": self.field or None,
                "message": self.said(self.message),
                "hint": self.said(self.hint),
            }
        }


class HubSilent(OomlessError):  # noqa: N818 - it says what happened, not what was wrong
    """A hub gives no answer: no network, no such host, or nothing of it may be asked and nothing was kept."""


class UsageError(OomlessError):
    """The question was put wrongly."""

    code = 2


class UnsupportedError(OomlessError):
    """The question is clear, but nothing here can answer it rightly, so nothing is guessed."""

    code = 4


class MissingExtra(OomlessError):  # noqa: N818 - the name is part of the public contract
    """An optional dependency is missing; the hint is the line that installs it."""

    code = 5


def meant(error: Exception) -> OomlessError:
    """Return an error as one that a user can act on; what nobody meant is called a defect of ours.

    >>> meant(KeyError("x")).message
    "internal error: KeyError: 'x'"
    >>> meant(OSError(36, "File name too long", "a.log")).message
    "'a.log': File name too long"
    """
    if isinstance(error, OomlessError):
        return error
    if isinstance(error, MemoryError):
        return OomlessError(
            "not enough memory on this machine for this input", "check that the file is what you meant"
        )
    if isinstance(error, OSError) and error.filename is None:
        return OomlessError(f"the answer could not be written: {error.strerror}", "check where stdout goes")
    if isinstance(error, OSError):
        return OomlessError(f"{str(error.filename)[:80]!r}: {error.strerror}", "check the path")
    return OomlessError(
        f"internal error: {type(error).__name__}: {error}",
        "this is a defect of oomless; run again with --debug and report what it prints",
    )


@contextmanager
def faults_of(where: str, flags: Collection[str] = ()) -> Iterator[None]:
    """Within it, a question put wrongly is a fault of the file that puts it: it is named, and nobody used a
    command wrongly. But for `flags`, which stand on the command line."""
    try:
        yield
    except UsageError as error:
        if error.field in flags:
            raise
        fault = OomlessError(f"{where}: {error.message}", error.hint, error.field)
        fault.words = error.words
        raise fault from None


@contextmanager
def told_by(words: Mapping[str, str]) -> Iterator[None]:
    """Within it, an error names flags of ours as a command that was pasted does.

    >>> with told_by({"--max-num-seqs": "--max_batch_size"}):
    ...     raise UsageError("--max-num-seqs is 0")
    Traceback (most recent call last):
    oomless.errors.UsageError: --max_batch_size is 0
    """
    try:
        yield
    except OomlessError as error:
        error.words = error.words or words
        raise


def did_you_mean(word: str, known: "list[str] | tuple[str, ...]", what: str = "") -> str:
    """A hint with the nearest known names, and with the command that lists them; the list itself if there is
    none.

    >>> did_you_mean("deepseek-v33", ["deepseek-v3", "llama-3.1-8b"], "oomless models")
    'did you mean deepseek-v3? `oomless models` lists all'
    >>> did_you_mean("adamv", ["adamw", "sgd"])
    'did you mean adamw? known are adamw, sgd'
    """
    from difflib import get_close_matches  # imported late: only a failing command pays for it

    wanted = word.lower()
    begun = sorted(
        (name for name in known if len(name) > 2 and wanted.startswith(name.lower())), key=len, reverse=True
    )
    near = [*begun[:1], *_about_as_near(wanted, get_close_matches(wanted, known, n=3, cutoff=0.6))]
    near = near or sorted((name for name in known if wanted and wanted in name.lower()), key=len)
    near = list(dict.fromkeys(near))[:3]
    all_of_them = f"`{what}` lists all" if what else f"known are {', '.join(dict.fromkeys(known))}"
    return f"did you mean {' or '.join(near)}? {all_of_them}" if near else all_of_them


CLOSE_BEHIND = 0.1
"""Of likeness, 0 to 1: a name that is further behind the nearest one is not what was meant."""


def _about_as_near(word: str, names: list[str]) -> list[str]:
    """Return the names that are about as like a word as the first of them.

    >>> _about_as_near("deepsek-r1", ["deepseek-r1", "deepseek-ocr", "deepseek-v3.1"])
    ['deepseek-r1']
    """
    from difflib import SequenceMatcher

    likeness = [SequenceMatcher(None, name, word).ratio() for name in names]
    return [name for name, like in zip(names, likeness, strict=True) if like >= likeness[0] - CLOSE_BEHIND]


def need(module: str, extra: str) -> Any:
    """A module of an optional extra, imported now; without it, the line that installs it.

    >>> need("json", "trace").dumps([1])
    '[1]'
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        package = module.partition(".")[0]
        raise MissingExtra(f"{package} is not installed", f"pip install 'oomless[{extra}]'") from None
    except (ImportError, MemoryError, SystemError) as error:
        limit = address_space_limit()
        if limit is None:
            raise
        raise OomlessError(
            f"{module} cannot be imported within this process's address space of "
            f"{limit:,} bytes: {str(error)[:100]}",
            "raise the limit (ulimit -v); torch maps about 700,000,000 bytes before a model is there",
        ) from None


def address_space_limit() -> int | None:
    """Bytes of address space that the system lets this process have; None if it has not limited it.

    >>> address_space_limit() is None or address_space_limit() > 0
    True
    """
    from importlib import import_module

    try:
        resource = import_module("resource")
    except ModuleNotFoundError:  # not on Windows
        return None
    limit = int(resource.getrlimit(resource.RLIMIT_AS)[0])
    return None if limit == resource.RLIM_INFINITY else limit
