"""Ways in. `main` answers, and turns every failure into a message and an exit code; `process` is the console
script around it."""

import gc
import os
import sys
from contextlib import suppress


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; never returns."""
    words = sys.argv[1:] if arguments is None else arguments
    if sys.stderr is None:  # closed by the caller (2>&-): who does not listen is not told
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    if sys.stdout is None:
        print(
            "oomless: the answer could not be written: stdout is closed\n  give it a "
            "place: oomless ... > answer",
            file=sys.stderr,
        )
        sys.exit(1)
    from .terminal import plain_streams

    with plain_streams():
        sys.exit(answered(words))


def answered(words: list[str]) -> int:
    """Answer a command line on stdout, or say on stderr why not, and return the exit code."""
    from .fast import read_words

    try:
        words = in_own_language(words)
        quick = read_words(words)
        if quick is not None:
            from .answer import answer_infer

            code = answer_infer(*quick)
        else:
            from .app import run

            gc.enable()
            code = run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has what it wanted (| head -1): no message, and nothing left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        from .failure import explain

        code = explain(error, "--debug" in words, "--json" in words)
    return code


def in_own_language(words: list[str]) -> list[str]:
    """Put what is printed from here on into the user's language, and return the words without --lang: JSON
    has none, and scripts pay for none."""
    as_json = "--json" in words
    if as_json and not any(word.startswith("--lang") for word in words):
        return words
    from .language import with_language
    from .terminal import speak

    kept, language = with_language(words, os.environ)
    if language == "zh" and not as_json:
        speak(language)
    return kept


def process() -> None:
    """The console script: `main`, and then out at once. Taking a process down object by object costs as much
    as a small answer, and one that answers once is gone before a collection would pay: `answered` switches it
    on again for what may run longer."""
    gc.disable()
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):  # `answered` has flushed what must arrive
                stream.flush()
    os._exit(code)
