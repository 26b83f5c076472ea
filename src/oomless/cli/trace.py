"""`oomless trace`: options -> answer on stdout -> exit code."""

import sys
import time
from typing import Any

from ..api.trace import replay_file
from ..api.trace import trace as trace_api
from ..errors import UsageError, did_you_mean
from ..files import json_text, write_whole
from ..ledger import CATEGORIES
from ..recording.traced import Traced, tree
from ..run.options import answered_of
from .files import need_place, write_svg
from .options import asking

FIRST_PROGRESS_S, EVERY_S = 0.5, 0.2


def _trace(model: str | None, **options: Any) -> int:
    how = {option.field: options.pop(option.field, None) for option in answered_of("trace")}
    if how["explain"] and how["explain"] not in ("all", *CATEGORIES):
        raise UsageError(
            f"--explain {how['explain']}: no such category",
            did_you_mean(how["explain"], ["all", *CATEGORIES], "--explain all"),
        )
    for name in ("plot", "chrome", "snapshot", "save"):
        need_place(how[name], f"--{name}", ".svg" if name == "plot" else "")
    traced = _traced(model, options, how)
    rows = _checked(model, options, how) if how["check"] else None
    against = _against(model, options, traced) if how["against"] else None
    _write(traced, how)
    if how["json"]:
        _print_json(traced, rows, against)
    else:
        from ..report.trace_text import print_against, print_check, print_trace
        from .terminal import colour, width

        print_trace(traced, tree(traced.recording, traced.peak), how["explain"], colour(), width())
        if against is not None:
            print_against(against, colour(), width())
        if rows is not None:
            print_check(rows[1], colour(), width())
    return 3 if traced.verdict == "does_not_fit" else 0


def _traced(model: str | None, options: dict[str, Any], how: dict[str, Any]) -> Traced:
    """The trace that is asked for: made now, or read from a file."""
    if how["from_file"]:
        extra = [name for name in options if name not in ("gpu", "allocator")]
        if model is not None or extra or how["check"] or how["against"]:
            word = f"--{extra[0].replace('_', '-')}" if extra else "MODEL, --check and --against"
            raise UsageError(
                f"{word} is no question to a kept trace", "--from takes --allocator and --card alone"
            )
        return replay_file(how["from_file"], options.get("gpu"), options.get("allocator", ""))
    if model is None:
        raise UsageError(
            "MODEL is missing", "name a model: oomless trace deepseek-v2-lite --precision bf16 --seq-len 1024"
        )
    options = dict(options)
    return trace_api(model, options.pop("gpu", None), progress=_progress(), **options)


def _progress() -> Any:
    """A line on stderr that is renewed while a long trace runs; nothing unless it is a terminal."""
    if not sys.stderr.isatty():
        return None
    started, shown = time.monotonic(), [0.0]

    def show(count: int, phase: str) -> None:
        now = time.monotonic()
        if now - started >= FIRST_PROGRESS_S and now - shown[0] >= EVERY_S:
            shown[0] = now
            print(
                f"\rtracing: {phase}, {count:,} operators, {now - started:.0f} s ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    return show


def _checked(model: str | None, options: dict[str, Any], how: dict[str, Any]) -> Any:
    """The same step for real, beside a trace that follows the CPU."""
    from ..api.trace import check

    assert model is not None
    return check(
        model,
        **{name: value for name, value in options.items() if name not in ("gpu", "attention", "allocator")},
    )


def _against(model: str | None, options: dict[str, Any], traced: Traced) -> Any:
    """The closed form of the same question."""
    from ..api.trace import closed_form

    assert model is not None
    return closed_form(model, traced, options)


def _write(traced: Traced, how: dict[str, Any]) -> None:
    """Every file that was asked for, whole or not at all."""
    if how["plot"]:
        from ..recording.timeline import timeline
        from ..report.trace_svg import trace_svg

        write_svg(how["plot"], trace_svg(traced, timeline(traced.recording)))
    if how["chrome"]:
        from ..report.trace_chrome import chrome_trace

        write_whole(how["chrome"], chrome_trace(traced), f"--chrome {how['chrome']}")
    if how["snapshot"]:
        from ..recording.snapshot import packed_snapshot

        write_whole(how["snapshot"], packed_snapshot(traced), f"--snapshot {how['snapshot']}")
    if how["save"]:
        from ..recording.file import packed

        write_whole(how["save"], packed(traced.recording), f"--save {how['save']}")


def _print_json(traced: Traced, rows: Any, against: Any) -> None:
    document = traced.to_json()
    if rows is not None:
        document["check"] = [row.to_json() for row in rows[1]]
    if against is not None:
        document["against"] = [row.to_json() for row in against]
    sys.stdout.write(json_text(document) + "\n")


trace = asking(
    "trace",
    _trace,
    "What MODEL allocates, tensor by tensor: the real model of transformers is run "
    "without memory, on no GPU, and every\n"
    "allocation is replayed through PyTorch's allocator.\n\n"
    "MODEL is a catalogue name, a hub id, a folder, a config.json, or module:function "
    "that returns a torch.nn.Module.",
    "\b\nExamples:\n  oomless trace deepseek-coder-1.3b --precision bf16 "
    "--optimizer adamw --seq-len 1024\n"
    "  oomless trace deepseek-v3 --precision bf16 --recompute full --plot "
    "timeline.svg --snapshot memory.pickle\n"
    "  oomless trace deepseek-v2-lite --for infer --context 8192 --card a100-80gb\n"
    "  oomless trace --from run.trace --allocator expandable_segments:True --card rtx-4090",
)
