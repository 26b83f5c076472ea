"""What the name of a checkpoint says: whose shape it has, and in which form its weights are."""

import re

from .. import facts
from .mlx_forms import mlx_form
from .quantization_scheme import REQUANTISED, WIDENED


def instead_of(repo_id: str, known: str | None) -> str:
    r"""Return what the catalogue has in place of a repository that cannot be read, as the end of a hint; ""
    if nothing: itself, or the model whose name it begins with and the form that it ends with.

    >>> instead_of("Qwen/Qwen3-14B-AWQ", None)
    '; the catalogue has its shape: qwen3-14b --quantization awq'
    >>> instead_of("org/DeepSeek-R1-Distill-Llama-70B-FP8-dynamic", None)
    '; the catalogue has its shape: deepseek-r1-distill-llama-70b --quantization fp8-dynamic'
    >>> instead_of("bartowski/google_gemma-4-26B-A4B-it-GGUF", None)
    '; the catalogue has its shape: gemma-4-26b-a4b'
    >>> instead_of("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", None)
    '; the catalogue has its shape: llama-3.1-405b --quantization fp8'
    >>> instead_of("someone/DeepSeek-V3.1-BF16", None)
    '; the catalogue has its shape: deepseek-v3.1 --hf-overrides \'{"quantization_config": null}\''
    >>> instead_of("microsoft/Phi-4-mini-flash-reasoning", None)
    ''
    """
    if known:
        return f"; the catalogue has it as {known}"
    model, rest = shape_by_name(repo_id)
    if not model:
        return ""
    form = mlx_form(repo_id) or form_in_name(rest)
    flag = f" --quantization {form}" if form else ""
    if is_widened(rest, model):
        flag = f" --hf-overrides '{WIDENED}'"
    return f"; the catalogue has its shape: {model}{flag}"


def shape_by_name(repo_id: str) -> tuple[str, str]:
    """Return (model of the catalogue whose name that of a repository begins with, what follows): one after
    whose name a form follows, else the longest. Two empty words: it is of no known shape, or of another one.

    >>> shape_by_name("zai-org/GLM-4.6-FP8"), shape_by_name("microsoft/Phi-4-mini-flash-reasoning")
    (('glm-4.6', '-fp8'), ('', ''))
    >>> shape_by_name("stelterlab/Qwen3-Coder-30B-A3B-Instruct-AWQ")  # another repository of the same shape
    ('qwen3-30b-a3b-2507', '-awq')
    >>> shape_by_name("Qwen3.8-27B-DFlash2-W4A16")  # a head that drafts for it
    ('', '')
    >>> shape_by_name("RedHatAI/Qwen3-235B-A22B-FP8-dynamic")  # not another one of qwen3-235b-a22b-fp8
    ('qwen3-235b-a22b', '-fp8-dynamic')
    """
    maker, _, rest = repo_id.rpartition("/")[2].lower().partition("_")
    name = (rest if rest and maker.isalpha() else "_".join(filter(None, (maker, rest)))).removeprefix("meta-")
    begins = [
        (bool(form_in_name(name[len(short) :])), len(short), row["name"])
        for row in facts.table("catalogue")
        for short in (
            row["name"],
            row["hub_id"].rpartition("/")[2].lower().removesuffix("-bf16"),
            *(each.rpartition("/")[2].lower() for each in row["aliases"].split(";") if "/" in each),
        )
        if short and name.startswith(f"{short}-")
    ]
    _, length, model = max(begins, default=(False, 0, ""))
    return ("", "") if not model or re.search(OTHER_SHAPE, name[length:]) else (model, name[length:])


def shape_within(repo_id: str) -> str:
    """Return the model of the catalogue whose name, with a size, stands in that of a repository: what is made
    of a model has its shape; "" if none does.

    >>> shape_within("AI-ModelScope/Skywork-Reward-Llama-3.1-8B-v0.2"), shape_within("org/EAGLE3-LLaMA3-8B")
    ('llama-3.1-8b', '')
    >>> shape_within("unsloth/DeepSeek-R1-0528-BF16"), shape_within("Qwen/Qwen2.5-VL-72B-Instruct-GPTQ-Int4")
    ('deepseek-r1-0528', 'qwen2.5-vl-72b')
    """
    name = repo_id.rpartition("/")[2].lower()
    found = [
        (at.end() - at.start(), row["name"], name[at.end() :])
        for row in facts.table("catalogue")
        for short in (row["name"], row["hub_id"].rpartition("/")[2].lower().removesuffix("-bf16"))
        if short and (at := _word(short, name))
    ]
    _, shape, rest = max(found, default=(0, "", ""))
    return "" if re.search(OTHER_SHAPE, rest) or re.search(DRAFTS, name) else shape


MADE_OF = {
    r"l(?:lama)?-?(2|3|3\.1|3\.3)-(\d+b)": r"llama-\1-\2",
    r"(13b)": "llama-2-13b",
    r"(70b)": "llama-3.1-70b",
    r"(12b)": "mistral-nemo-12b",
    r"(22b)": "mistral-small-22b-2409",
    r"(24b)": "mistral-small-24b-2501",
    r"(123b)": "mistral-large-2407",
}
"""What is made of a model that many make something of, and goes by its size: its words -> the model."""


def shape_of_size(name: str) -> str:
    """Return the model of the catalogue of which a file was made that says no more than a size; "" if more
    than one has it, or experts.

    >>> shape_of_size("mythomax-l2-13b"), shape_of_size("cydonia-24b-v4zk"), shape_of_size("lfm2-24b-a2b")
    ('llama-2-13b', 'mistral-small-24b-2501', '')
    >>> shape_of_size("l3-8b-lunaris-v1"), shape_of_size("mine-8b")
    ('llama-3-8b', '')
    """
    if re.search(rf"{DRAFTS}|-a\d", name):
        return ""
    found = ((re.search(rf"(?:^|[-_.]){words}(?=[-_.]|$)", name), model) for words, model in MADE_OF.items())
    shape = next((at.expand(model) for at, model in found if at), "")
    return shape if any(row["name"] == shape for row in facts.table("catalogue")) else ""


DRAFTS = r"(^|[-_.])(eagle|dflash|medusa|mtp|draft|reap|pruned)"
"""Names of heads that draft for a model, and of what has fewer experts or layers."""


def _word(short: str, name: str) -> "re.Match[str] | None":
    """Return where a model's name stands in another, as a word of its own: at its beginning, or with a size
    that no other name has by chance."""
    sized = re.search(r"-(\d+x)?\d+(\.\d+)?b($|-)", short)
    begins = r"^(meta-)?" if not sized else r"(?:^|(?<=[-_.]))"
    return re.search(begins + re.escape(short) + r"(?=[-_.]|$)", name)


PACKED_IN_BITS = r"(?<!gptq-)(?<!awq-)"
OTHER_SHAPE = (
    r"-(multimodal|vision|vl|audio|omni|mini|nano|lite|flash|assistant|(eagle|dflash)\d?|"
    rf"{PACKED_IN_BITS}[\d.]+b)(-|$)"
)
"""What makes a name that begins with another's one of another shape."""


def is_widened(name: str, model: str) -> bool:
    """Return whether the name of a checkpoint says 16 bit where the model of the catalogue is published in
    fewer.

    >>> is_widened("DeepSeek-R1-BF16", "deepseek-r1"), is_widened("Qwen3-8B-BF16", "qwen3-8b")
    (True, False)
    """
    wide = re.search(r"(^|[-_.])(bf16|fp16|bfloat16|float16)([-_.]|$)", name.lower())
    return wide is not None and "quantization_config" in facts.model_config(model)


def form_in_name(name: str) -> str:
    """Return the form of weights that the name of a checkpoint says; "" if it says none.

    >>> form_in_name("DeepSeek-R1-0528-W4AFP8"), form_in_name("DeepSeek-R1-Channel-INT8"), form_in_name("R1")
    ('w4afp8', 'w8a8', '')
    >>> [form_in_name(f"Qwen3-8B-{words}") for words in ("AWQ-4bit", "AWQ-8bit", "GPTQ-4bit", "bnb-4bit")]
    ['awq', 'w8a8', 'gptq', 'bitsandbytes']
    >>> [
    ...     form_in_name(f"Qwen3-8B-int4-{words}")
    ...     for words in ("AutoRound", "mixed-AutoRound", "AutoRound-gs32")
    ... ]
    ['auto-round', 'w4a16', 'w4a16']
    """
    if re.search(AUTOROUND, name.lower()) and not re.search(NOT_BY_DEFAULT, name.lower()):
        return "auto-round"
    forms = [form for form in (*REQUANTISED, *FORMS_SPELLED) if form in name.lower() and form != "auto-round"]
    form = max(forms, key=len, default="")
    return FORMS_SPELLED.get(form, form)


AUTOROUND = r"auto[-_]?round"
NOT_BY_DEFAULT = r"mixed|int[2358]|w[2358]|fp[48]|[2358]-?bit|gs?-?(16|32|64)\b"
"""What the name of a checkpoint says that AutoRound made by another scheme than its own."""
FORMS_SPELLED = {
    "awq-4bit": "awq",
    "gptq-int8": "w8a16",
    "gptq-8bit": "w8a16",
    "int4": "w4a16",
    "4bit": "bitsandbytes",
    "int8": "w8a8",
    "8bit": "w8a8",
    "fp4": "nvfp4",
}
"""How names of repositories spell a form in other words than engines do."""
UNREAD_FORMS = r"(^|[-_./])(ggml|exl\d|onnx|openvino|hqq|aqlm|eetq|lora|adapter|[\d.]+bpw)([-_./]|$)"
"""Words for a form whose bytes a name does not say, and for what is no model by itself."""
