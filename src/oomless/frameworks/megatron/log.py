"""How Megatron-LM's log reads, and what its list of arguments asks. Its "MB" is MiB: it divides by powers of
1,024."""

from ...recording.log_lines import NUMBER, LogLine, LogReader, Said, says
from ...run.training import TrainingAsked
from ..logged import RANK, LoggedTraining, LogWords
from .args import OTHER_KINDS, read_arguments
from .argument_reader import Value, scalar

N = NUMBER
WORD = r"([A-Za-z]\w{2,60})"
LOG = LogReader(
    "megatron",
    (
        LogLine(
            b"| max allocated:",
            rf"memory \(MB\) \| allocated: {N} \| max allocated: {N} \| reserved: {N} \| max reserved: {N}",
            (
                Said("allocated", "MiB", "last"),
                Said("peak_allocated", "MiB", "most"),
                Said("reserved", "MiB", "last"),
                Said("peak_reserved", "MiB", "most"),
            ),
        ),
        LogLine(
            b"model parallel rank (",
            r"number of parameters on \(tensor, pipeline\) model parallel rank \((\d+), (\d+)\)",
            (),
        ),
        LogLine(
            b" tensor_model_parallel_size ", r"tensor_model_parallel_size \.{3,} (\d+)\s*$", says("tp count")
        ),
        LogLine(
            b" pipeline_model_parallel_size ",
            r"pipeline_model_parallel_size \.{3,} (\d+)\s*$",
            says("pp count"),
        ),
        LogLine(b" data_parallel_size ", r"data_parallel_size \.{3,} (\d+)\s*$", says("dp count")),
        LogLine(
            b" expert_model_parallel_size ", r"expert_model_parallel_size \.{3,} (\d+)\s*$", says("ep count")
        ),
        LogLine(
            b" ......",
            rf"^(?:\S+:)?[> ]*{WORD} \.{{3,}} (\S.*?)\s*$",
            says("arguments name", "arguments named"),
        ),
        LogLine(b"building ", r"\bbuilding (GPT|BERT|T5) model", says("family text")),
        LogLine(
            b"padded vocab (size:", r"with \d+ dummy tokens \(new size: (\d+)\)", says("padded_vocab count")
        ),
        LogLine(b"using world size:", r"using world size: (\d+)\b", says("world_size count"), "start"),
        LogLine(
            b"using world size:",
            r"world size: \d+, data-parallel[- ]size: (\d+)\b",
            says("dp count", rank=1),
        ),
        LogLine(
            b"using world size:",
            r"(?<!encoder-)tensor-model-parallel[- ]size: (\d+)\b",
            says("tp count", rank=1),
        ),
        LogLine(
            b"using world size:",
            r"(?<!encoder-)pipeline-model-parallel[- ]size: (\d+)\b",
            says("pp count", rank=1),
        ),
        LogLine(
            b"elapsed time per iteration", r"iteration +(\d+)/", says("steps count", keep="last"), "ready"
        ),
    ),
    label=RANK,
    is_training=True,
)
SWITCHED_OFF = {
    "masked_softmax_fusion": "no-masked-softmax-fusion",
    "gradient_accumulation_fusion": "no-gradient-accumulation-fusion",
    "apply_rope_fusion": "no-rope-fusion",
    "add_bias_linear": "disable-bias-linear",
    "bert_binary_head": "bert-no-binary-head",
    "bias_gelu_fusion": "no-bias-gelu-fusion",
    "bias_swiglu_fusion": "no-bias-swiglu-fusion",
    "use_layer_wise_param_layout": "no-use-layer-wise-param-layout",
}
"""Variables that a flag sets to False (training/arguments.py: action='store_false', dest=...)."""
OTHER_NAMES = {
    "fp8": "fp8-format",
    "microbatch_group_size_per_vp_stage": "microbatch-group-size-per-virtual-pipeline-stage",
}
"""Variables that are named otherwise than their flags."""
TYPES = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.uint8": "fp8"}


def given(printed: dict[str, str]) -> dict[str, Value]:
    """Return the arguments that a printed list of variables means. What is None or False was not given;
    variables of other programs that share the list have a default there.

    >>> given({"num_layers": "24", "bf16": "True", "add_bias_linear": "False", "vocab_size": "None"})
    {'num-layers': 24, 'bf16': True, 'disable-bias-linear': True}
    """
    found: dict[str, Value] = {}
    for name, text in printed.items():
        flag = OTHER_NAMES.get(name, name.replace("_", "-"))
        if name in SWITCHED_OFF:
            if text == "False":
                found[SWITCHED_OFF[name]] = True
        elif text not in ("None", "False") and flag not in OTHER_KINDS:
            found[flag] = scalar(TYPES.get(text, text.removeprefix("AttnBackend.")))
    return found


def asks(words: LogWords) -> LoggedTraining | None:
    """Return the run of the arguments that a log prints; None: it prints none."""
    if "num_layers" not in words.arguments:
        return None
    arguments = given(dict(words.arguments))
    if (padded := words.number("padded_vocab")) and "padded-vocab-size" not in arguments:
        arguments["padded-vocab-size"] = padded
    run = read_arguments(arguments, words.number("world_size"), (words.said("family") or "gpt").lower())
    return LoggedTraining("", TrainingAsked(framework="megatron-lm"), run.world_size, (), run)
