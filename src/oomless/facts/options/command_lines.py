"""How the engines' own commands begin, and how their numbers are written."""

from collections.abc import Mapping
from typing import NamedTuple

from ...units import GB, GIB, KB, KIB, MB, MIB
from . import LLAMA, VLLM


class CommandLine(NamedTuple):
    """The command line that some engines share."""

    engines: str
    """With blanks between; a command is read as one of the first."""
    begins: tuple[str, ...]
    """Patterns of its first words; a container image that starts an engine counts as its command."""
    program: str
    """The words before the model."""
    suffixes: Mapping[str, int] = {}
    """Of whole numbers: 32K is 32,768 for vLLM and 32,000 for SGLang."""
    drafts: str = ""
    """The word for the model's own draft layers: what --speculative-config or the like takes."""
    underscores: bool = False
    """Long flags are written with underscores, as TensorRT-LLM's releases up to 1.3 spell them."""
    own_words: Mapping[tuple[str, str], str] = {}
    """(field, word of ours) -> the word that its parser knows."""
    prompts: bool = False
    """It takes a name of its own library and a prompt; what touches memory are variables before it."""
    image: str = ""
    """The container image, whose tag names a release."""
    release: str = r"v?(\d+(?:\.\d+)+)"
    """How the tag names it."""
    config_flags: tuple[str, ...] = ()
    """The flags that name a YAML file of more flags."""
    config_wins: bool = False
    """What the file says takes the place of what was typed, and its keys may have keys of their own."""
    table: str = ""
    """Its rows of engine_flags.csv: flags that touch no memory."""
    beside: Mapping[str, str] = {}
    """Flags that name a file which is loaded beside the model -> what it is."""
    orders: tuple[str, ...] = ()
    """Words among its flags that say what is done, not with what."""
    of_router: str = ""
    """How flags begin of a router that starts it (sglang_router/launch_server.py of 0.1.4 to 0.3.2)."""
    drafts_in_json: bool = False
    """What drafts is said in JSON; elsewhere by its method or, without `drafts`, by how many tokens."""
    flag_variables: str = ""
    """How variables begin that are flags in other letters."""
    off: Mapping[str, str] = {}
    """A field that -1 or 0 switches off -> the field of that switch."""
    beginnings: bool = False
    """Its parser, Python's argparse, takes the beginning of a flag where no other begins so."""


BUILD_PY = r"(\S*/)?python[\w.]* \S*examples/\w+/build\.py"
"""TensorRT-LLM's builds of each family, to 0.7; then trtllm-build."""
COMMAND_LINES = (
    CommandLine(
        VLLM,
        (
            r"(\S*/)?vllm (serve|bench (throughput|latency))",
            r"(\S*/)?python[\w.]* -m (vllm\.entrypoints\.\S+|dynamo\.vllm)",
            r"(\S*/)?python[\w.]* \S*benchmark_(throughput|latency)\.py",
            r"(\S*/)?vllm/vllm-openai(:\S+)?",
            r"[\w.-]+(:\d+)?(/[\w.-]+)*/[\w.-]*vllm[\w.-]*(:[\w.-]+)?(?= --model[ =])",  # others' images
        ),
        "vllm serve",
        {"k": KB, "m": MB, "g": GB, "K": KIB, "M": MIB, "G": GIB},
        "mtp",
        image="vllm/vllm-openai",
        config_flags=("--config",),
        table="vllm",
        drafts_in_json=True,
        beginnings=True,
    ),
    CommandLine(
        "sglang",
        (
            r"(\S*/)?sglang serve",
            r"(\S*/)?python[\w.]* -m (sglang(_router)?\.launch_server|dynamo\.sglang)",
            r"(\S*/)?(python[\w.]* -m sglang_router|sglang-router|smg|amg) server",  # its workers are servers
        ),
        "python -m sglang.launch_server --model-path",
        {
            "k": KB,
            "K": KB,
            "M": MB,
            "G": GB,
            "Ki": KIB,
            "Mi": MIB,
            "Gi": GIB,
        },
        own_words={("kv_cache_dtype", "fp8"): "fp8_e4m3"},
        image="lmsysorg/sglang",
        config_flags=("--config",),
        table="sglang",
        off={"max_num_batched_tokens": "no_enable_chunked_prefill"},
        beginnings=True,
        of_router="--router-",
    ),
    CommandLine(
        LLAMA,
        (
            r"(\S*/)?llama-server[\w.:-]*",  # an image may be called so, too
            r"(\S*/)?llama-((\w+-)?cli|((sweep|batched)-)?bench|speculative\S*|perplexity|completion)(\.exe)?",
            r"(\S*/)?llamafile\S*(?= (?:\S+ )*?-m \S+\.gguf)",
            r"(\S*/)?(server|main)(\.exe)?(?= (?:\S+ )*?-m \S+\.gguf)",  # until June 2024
            r"(\S*/)?llama\.cpp:(server\S*|full\S* (--server|-s))",
            r"(\S*/)?python[\w.]* -m llama_cpp\.server",
            r"(python[\w.]* )?(\S*/)?koboldcpp[\w.-]*",
        ),
        "llama-server -m",
        image=r"llama\.cpp",
        release=r"(?:[a-z\d]+-)+(b\d+)",
        table="llamacpp",
        flag_variables="LLAMA_ARG_",
        beside=dict.fromkeys(
            ("-md", "--model-draft", "--spec-draft-model", "-hfd", "--hf-repo-draft"), "draft"
        )
        | dict.fromkeys(("-mm", "--mmproj"), "tower"),
    ),
    CommandLine(
        "ollama",
        (r"(\S*/)?ollama(\.exe)? (run|pull|serve)", r"(\S*/)?ollama/ollama(:\S+)?"),
        "ollama run",
        prompts=True,
        image="ollama/ollama",
        table="ollama",
    ),
    CommandLine(
        "trtllm",
        (r"(\S*/)?trtllm-serve( serve)?", r"(\S*/)?trtllm-(build|bench)", BUILD_PY),
        "trtllm-serve",
        underscores=True,
        image="tensorrt-llm/release",
        config_flags=("--config", "--extra-llm-api-options"),
        config_wins=True,
        table="trtllm",
        orders=("throughput", "latency", "build"),
    ),
    CommandLine(
        "lmdeploy",
        (r"(\S*/)?lmdeploy (serve (api_server|gradio)|chat( turbomind| torch)?)",),
        "lmdeploy serve api_server",
        own_words={("kv_cache_dtype", "int4"): "4", ("kv_cache_dtype", "int8"): "8"},
        image="openmmlab/lmdeploy",
        table="lmdeploy",
    ),
    CommandLine(
        "mlx",
        (r"((\S*/)?python[\w.]* -m )?(\S*/)?mlx_lm[. ](server|generate|chat|benchmark)",),
        "mlx_lm.server --model",
        own_words={("kv_cache_dtype", f"int{bits}"): f"{bits}" for bits in (2, 3, 4, 6, 8)},
        table="mlx",
        beginnings=True,
    ),
    CommandLine(
        "ktransformers",
        (
            r"(\S*/)?ktransformers(?= --)",
            r"(\S*/)?python[\w.]* (-m ktransformers\.(local_chat|server\.main)"
            r"|\S*ktransformers/(local_chat|server/main)\.py)",
        ),
        "ktransformers --model_path",
        underscores=True,
        image="approachingai/ktransformers",
        table="ktransformers",
        beginnings=True,
    ),
)
