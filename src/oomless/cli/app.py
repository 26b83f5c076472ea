"""The click application: commands are imported when they run, names complete in the shell."""

import os
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import OomlessError, UsageError, did_you_mean
from .help_text import Spoken, speaking

COMMANDS = {
    "infer": ("infer", "Will it serve: memory by category and rank, capacity of the cache."),
    "speed": (
        "speed",
        "How fast it serves: first token, time a token, tokens a second; workloads simulated.",
    ),
    "plan": ("plan", "Which cards and which setting, ranked; each with its launch command."),
    "tune": ("tune", "The best setting of the engine's own flags on these cards."),
    "cost": ("plan", "Buy or rent: month by month, break-even, what it hangs on."),
    "guide": ("guide", "Compress, fit, monitor, reconcile: each step as commands with its numbers."),
    "train": ("train", "Will it train: memory by category and rank at the worst moment of a step."),
    "trace": (
        "trace",
        "What a model allocates, tensor by tensor: the real one is run without memory and without a GPU.",
    ),
    "compress": ("compress", "Make a checkpoint smaller for real: bytes and quality before and after."),
    "compare-models": ("compress", "Which checkpoint writes as well in less memory, on one text."),
    "run": ("run", "Predict a command, start it untouched, lay its log beside the prediction."),
    "reconcile": ("reconcile", "What really happened, beside what was predicted: logs and OOM texts."),
    "monitor": (
        "monitor",
        "A run that was watched: memory by line, leaks, what would have fitted.",
    ),
    "top": ("top", "Cards and processes now, predicted beside used."),
    "validate": ("validate", "Score the estimator against a table of measured rows."),
    "accuracy": ("validate", "How far predictions were off: blind rounds, every table now, known misses."),
    "claims": ("guide", "The guide's numbers, with verdict and evidence."),
    "models": ("catalogues", "Models of the catalogue."),
    "gpus": ("catalogues", "Cards, their names and what a process sees of their memory."),
    "engines": ("catalogues", "Serving engines and the versions whose rules are known."),
    "web": (".web.command", "The page, and the same answers over HTTP, on this machine alone."),
    "mcp": (".web.command", "Tools for agents: the same questions over the Model Context Protocol."),
    "config": ("config", "The user's own defaults, and who sets them."),
    "doctor": ("catalogues", "This machine, its cards, caches and extras."),
    "completion": ("catalogues", "A script that completes commands, models and cards in the shell."),
}
"""Name -> module and line of help; a module of another way in has a dot in front."""


class Lazy(click.Group):
    """A group that imports a command's module when it is needed, and suggests names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return speaking(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], list(COMMANDS), "oomless --help")
            raise UsageError(f"unknown command {args[0]!r}", BEGINS if "--gpu" in args else hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EPILOG = """\b
Examples:
  oomless infer deepseek-r1 --gpu h200:8
  oomless infer deepseek-r1 --gpu h100:16 --context 32768 --concurrency 64
  oomless infer ./config.json --gpu 80GiB --explain kv_cache
  oomless infer deepseek-v3 --gpu h200:8 --json | jq .kv_cache"""


@click.group(cls=Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="oomless %(version)s")
@click.option(
    "--lang",
    metavar="en|zh",
    expose_value=False,
    help="Language of text; without it OOMLESS_LANG, then the locale. JSON is the same in both.",
)
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
def app(debug: bool) -> None:
    """How much accelerator memory a language model needs, which hardware holds it, and proof that the answer
    was right."""


app.context_class = Spoken
BEGINS = "a question begins with a command: oomless infer MODEL --gpu G, oomless train MODEL --gpu G"
PASTED = "a pasted command stands in quotes behind --command: --command 'vllm serve MODEL ...' --gpu G"


SERVING = "infer plan speed tune"
OTHER_WORDS: tuple[tuple[str, str, str], ...] = (
    ("train", "lora qlora peft peft-type finetuning-type", "what is trained is --method full, lora or qlora"),
    ("train", "batch-size batch bs", "sequences of a step on a card are --micro-batch"),
    ("train", "max-seq-length max-seq-len cutoff-len context", "tokens of a sequence are --seq-len"),
    ("train", "bf16 fp16 dtype torch-dtype", "types of weights and gradients are --precision"),
    ("train", "gradient-checkpointing", "--recompute full keeps the inputs of layers alone"),
    ("train", "zero1 zero2 zero3 zero-stage", "the stage of ZeRO is --zero"),
    ("train", "config config-file yaml toml deepspeed", "the file that starts a run is --from FILE"),
    ("train", "epochs lr learning-rate dataset", "it does not change memory: leave it out"),
    ("infer speed tune", "b num-batch", "the micro-batch alone counts: --ubatch-size"),
    ("plan", "train training", "training is planned with --for train"),
    ("plan", "budget price max-price", "a limit of the rent is --budget-usd-per-hour"),
    (
        f"{SERVING} train",
        "model model-path model-name model-name-or-path",
        "MODEL stands by itself: oomless COMMAND MODEL --gpu G",
    ),
    ("plan guide", "command", "`oomless infer`, `speed` and `tune` read a pasted command"),
    (SERVING, "batch-size batch bs users num-users requests", "sequences at once are --concurrency"),
    (
        "speed",
        "ctx seq-len context max-seq-length tokens",
        "tokens of a sequence are --input-len and --output-len",
    ),
    (
        "infer plan tune",
        "c ctx ctx-size num-ctx seq-len input-len max-seq-length tokens",
        "all tokens of a sequence are --context",
    ),
    (
        f"{SERVING} train",
        "gpus num-gpus gpu-count n-gpus num-devices",
        "cards stand behind the name: --gpu h100:8",
    ),
    (
        f"{SERVING} train",
        "nodes num-nodes nnodes",
        "machines stand behind the cards: --gpu h100:8x2 is two of eight",
    ),
    (f"{SERVING} train", "vram gpu-memory gpu-mem memory", "a size is a card too: --gpu 24GiB:2"),
    (f"{SERVING} train", "bits quant quantize precision format", "types of weights are --quantization"),
)
"""Commands, words that other tools have, and what to write here; asked of words alone that are no option."""


def refuse_empty(words: list[str]) -> None:
    """An empty value is a variable of the shell that nobody set: taken as "not given" it would answer another
    question."""
    for before, word in zip(["oomless", *words], words, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            if before == "--allocator":  # "" is torch's own setting, as in an empty PYTORCH_CUDA_ALLOC_CONF
                continue
            where = (
                f"{before} is followed by an empty argument" if not word.strip() else f"{word[:-1]} is empty"
            )
            raise UsageError(where, "give a value, or leave the option out")


def is_pasted(words: list[str]) -> bool:
    """Whether an engine's command stands among the words of a question that takes one behind --command."""
    if "--command" in words or words[0] not in ("infer", "speed", "tune"):
        return False
    from ..engines.command_line import starts_in

    try:
        return bool(starts_in(" ".join(words[1:]))[0])
    except OomlessError:  # of a text that is no command either
        return False


def in_our_words(words: list[str], option: str) -> str:
    """Return what another tool's word is called here; "" where nobody knows.

    >>> in_our_words(["infer", "m", "--nodes", "2"], "--nodes")
    'machines stand behind the cards: --gpu h100:8x2 is two of eight'
    """
    name = option.lstrip("-").replace("_", "-")
    for commands, names, hint in OTHER_WORDS:
        if words[0] in commands.split() and name in names.split():
            return hint
    return ""


def refusal(words: list[str], error: click.UsageError) -> UsageError:
    """Return what click complains of with what to do about it."""
    where = error.ctx.command_path if error.ctx else "oomless"
    if is_pasted(words):
        return UsageError(error.format_message(), PASTED)
    if isinstance(error, click.NoSuchOption) and (hint := in_our_words(words, error.option_name)):
        return UsageError(f"No such option '{error.option_name}'.", hint)
    return UsageError(error.format_message(), f"`{where} --help` lists the options")


def run(words: list[str]) -> int:
    """Run the application; click's own complaints become ours.

    Not `app.main`: it turns a closed pipe into exit code 1. Completion alone needs it.
    """
    words = [word for word in words if word != "--debug"]
    refuse_empty(words)
    if "_OOMLESS_COMPLETE" in os.environ:
        app.main(args=words, prog_name="oomless")
    try:
        with app.make_context("oomless", words) as context:
            code: Any = app.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.exceptions.Abort:
        return 130
    except click.UsageError as error:
        raise refusal(words, error) from None
    except UsageError as error:
        if is_pasted(words):
            raise UsageError(error.message, PASTED, error.field) from None
        raise
    return code if isinstance(code, int) else 0
