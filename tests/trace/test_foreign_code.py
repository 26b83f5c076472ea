"""A config names no code that is loaded: a tripwire stands on imports, sockets, processes and `kernels`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command import environment
from oomless import facts
from oomless.trace.foreign_code import plain_settings

TRIPWIRE = """
import importlib.machinery, importlib.metadata, json, sys, types

sprung = []

def refuse(what):
    def tripped(*args, **kwargs):
        sprung.append(f"{what}: {args[:2]}")
        raise RuntimeError(what)
    return tripped

kernels = types.ModuleType("kernels")
kernels.__version__ = "99.0"
kernels.__spec__ = importlib.machinery.ModuleSpec("kernels", None)
for name in ("get_kernel", "load_kernel", "has_kernel", "get_local_kernel", "Device", "LayerRepository",
             "Mode", "kernelize", "register_kernel_mapping", "replace_kernel_forward_from_hub"):
    setattr(kernels, name, refuse(f"kernels.{name}"))
sys.modules["kernels"] = kernels
known = importlib.metadata.version
importlib.metadata.version = lambda name: "99.0" if name == "kernels" else known(name)

def watch(event, args):
    if event == "import" and str(args[0]).startswith(("flash_attn", "evil", "transformers_modules")):
        sprung.append(f"import: {args[0]}")
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        sprung.append(f"{event}: {args[-1]}")

from oomless.errors import OomlessError
import torch, transformers
from oomless.trace.models import quiet, transformers_model
sys.addaudithook(watch)
for how, config in json.loads(sys.argv[1]).items():
    sprung.clear()
    try:
        with quiet():
            model = transformers_model(config, "bfloat16", None, "evil")
        found = [type(model).__module__, model.config._attn_implementation]
    except OomlessError as error:
        found = [str(error), ""]
    print(json.dumps([how, *found, sprung]))
"""
EVIL: dict[str, dict[str, Any]] = {
    "kernel of a hub": {"attn_implementation": "kernels-community/flash-attn2"},
    "the private spelling": {"_attn_implementation": "evil/kernel"},
    "flash attention": {"_attn_implementation": "flash_attention_2"},
    "the internal spelling": {"_attn_implementation_internal": "evil/kernel"},
    "a map": {"attn_implementation": {"": "evil/kernel", "text_config": "evil/kernel"}},
    "classes": {"auto_map": {"AutoConfig": "evil--config.Evil", "AutoModelForCausalLM": "evil--model.Evil"}},
    "experts": {"experts_implementation": "evil/kernel", "_experts_implementation": "evil/kernel"},
    "kernels": {"use_kernels": "evil/kernel", "kernel_config": {"RMSNorm": "evil/kernel:Norm"}},
    "an activation": {"hidden_act": "evil/kernel"},
    "a name": {"_name_or_path": "evil/kernel", "name_or_path": "evil/kernel"},
    "what a next release invents": {"loader": "evil/code", "plugins": ["evil/code"]},
}


@pytest.mark.torch
def test_no_code_but_that_of_transformers_is_loaded() -> None:
    plain = facts.model_config("deepseek-coder-1.3b") | {"num_hidden_layers": 1}
    configs = json.dumps({how: plain | more for how, more in EVIL.items()})
    done = subprocess.run(
        [sys.executable, "-c", TRIPWIRE, configs],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(Path(__file__).parents[2] / "src")),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [how for how, *_ in found] == list(EVIL)
    for how, module, attention, sprung in found:
        assert sprung == [], how
        assert module.startswith("transformers.models."), how
        assert attention in ("sdpa", "eager"), how


def test_what_chooses_among_transformers_own_passes() -> None:
    for name in ("deepseek-v3", "gpt-oss-20b", "gemma-3-4b", "qwen3-30b-a3b"):
        config = facts.model_config(name)
        passed = plain_settings(config)
        text, kept = config.get("text_config", config), passed.get("text_config", passed)
        for key in (
            "hidden_act",
            "layer_types",
            "rope_scaling",
            "hidden_size",
            "scoring_func",
            "topk_method",
        ):
            assert kept.get(key) == text.get(key)
