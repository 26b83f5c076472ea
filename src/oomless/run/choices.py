"""A word that is none of an option's, refused with what was meant."""

from ..errors import UsageError, did_you_mean
from ..facts.options import ENGINE_ALSO, Option
from .option_values import choices_of

OTHER_WORDS = {
    **dict.fromkeys(
        ("llama.cpp", "llama-cpp", "llama-server", "llama_cpp", "llama-box"), "did you mean llamacpp?"
    ),
    **dict.fromkeys(("ik_llama.cpp", "ik_llama", "ik-llama.cpp"), "did you mean ik-llamacpp?"),
    **dict.fromkeys(("tensorrt-llm", "tensorrt_llm", "trt-llm", "trt"), "did you mean trtllm?"),
    **dict.fromkeys(("hf", "huggingface"), "did you mean transformers?"),
    "mindie": "MindIE's own rules are not known; vllm-ascend answers for the same cards",
    **dict.fromkeys(("kt-kernel", "kt"), "it runs inside of SGLang: --engine sglang --kt-num-gpu-experts 0"),
    **dict.fromkeys(
        ("tgi", "text-generation-inference"), "its rules are not known; vllm serves the same formats"
    ),
    **dict.fromkeys(
        ("exllama", "exllamav2", "exllamav3", "tabbyapi"),
        "its rules are not known; llamacpp serves desktop cards",
    ),
    **dict.fromkeys(
        ("koboldcpp", "lm-studio", "lmstudio", "llamafile", "jan"), "it runs llama.cpp: --engine llamacpp"
    ),
}
"""What people call engines, or ask for beside those that are known."""


def is_word(option: Option) -> bool:
    """Return whether an option takes one of a few words and nothing else."""
    return bool(option.choices) and option.kind == "text" and not option.several


def need_choice(option: Option, word: str, where: str, command: str) -> str:
    """Return the word of the option that one means, and refuse others; `command` is whose help lists them.

    >>> from .options import by_flag
    >>> need_choice(by_flag("infer")["--engine"], "mlx-lm", "--engine", "oomless infer")
    'mlx'
    """
    names = choices_of(option)
    word = ENGINE_ALSO.get(word, word) if option.field == "engine" else word
    if word in names:
        return word
    hint = OTHER_WORDS.get(word.lower()) if option.field == "engine" else None
    raise UsageError(
        f"{where} {word!r} is not one of {', '.join(names)}",
        hint or did_you_mean(word, list(names), f"{command} --help"),
        option.field,
    )
