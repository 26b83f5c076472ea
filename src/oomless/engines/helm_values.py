"""What charts of Helm start by their values: vLLM's production stack (servingEngineSpec), and llm-d's model
service (modelArtifacts, with decode and prefill).

Read in helm/templates/deployment-vllm-multi.yaml of the one and templates/_helpers.tpl of the other.
"""

import re
from collections.abc import Iterator
from typing import Any

from ..run.shell_words import ShellCommand, unfolded
from .manifest_parts import at, cards_of, count_of, items, said, text_of, variables_of, words_of

SETTINGS = {
    "maxModelLen": "--max-model-len",
    "dtype": "--dtype",
    "tensorParallelSize": "--tensor-parallel-size",
    "maxNumSeqs": "--max-num-seqs",
    "gpuMemoryUtilization": "--gpu-memory-utilization",
    "maxLoras": "--max-loras",
}
"""Keys of vllmConfig that have a value, and the flags that the chart writes of them."""
ROLES = ("decode", "prefill")


def are_values(document: dict[Any, Any]) -> bool:
    """Return whether a document is the values of a chart that is read here.

    >>> are_values({"servingEngineSpec": {}}), are_values({"kind": "Deployment"})
    (True, False)
    """
    return isinstance(document.get("servingEngineSpec"), dict) or (
        isinstance(document.get("modelArtifacts"), dict) and any(role in document for role in ROLES)
    )


def started_by_values(document: dict[Any, Any]) -> Iterator[ShellCommand]:
    """Give what a chart starts, a command a model or role.

    >>> spec = {"modelURL": "org/m", "requestGPU": 2, "vllmConfig": {"tensorParallelSize": 2}}
    >>> found = next(started_by_values({"servingEngineSpec": {"modelSpec": [spec]}}))
    >>> found.words, found.cards
    (('vllm', 'serve', 'org/m', '--no-enable-prefix-caching', '--tensor-parallel-size', '2'), 2)
    """
    for spec in items(at(document, "servingEngineSpec", "modelSpec")):
        if isinstance(spec, dict) and isinstance(spec.get("modelURL"), str):
            yield from _production_stack(spec)
    name = at(document, "modelArtifacts", "name")
    for role in ROLES:
        part = document.get(role)
        if isinstance(part, dict) and part.get("create") is not False:
            for container in items(part.get("containers")):
                if isinstance(container, dict):
                    yield from _model_service(container, part.get("parallelism"), name)


def _production_stack(spec: dict[Any, Any]) -> Iterator[ShellCommand]:
    values, config = variables_of(spec.get("env")), spec.get("vllmConfig")
    words = ["vllm", "serve", spec["modelURL"], *(["--enable-lora"] if spec.get("enableLoRA") else [])]
    if isinstance(config, dict):
        if "enableChunkedPrefill" in config:
            words.append(_switch("enable-chunked-prefill", config["enableChunkedPrefill"]))
        words.append(_switch("enable-prefix-caching", config.get("enablePrefixCaching")))
        for key, flag in SETTINGS.items():
            if key in config and (value := text_of(config[key])):
                words += [flag, value]
        words += words_of(config.get("extraArgs"), values)
        if text_of(config.get("v0")) == "1":
            values = {**values, "VLLM_USE_V1": "0"}
    before, tag = said(values), text_of(spec.get("tag"))
    if re.match(r"v?\d", tag):  # the release is the image's
        before = (*before, f"{text_of(spec.get('repository'))}:{tag}")
    yield ShellCommand(before, tuple(words), count_of(spec.get("requestGPU")) or None)


def _switch(name: str, value: Any) -> str:
    return f"--{name}" if value else f"--no-{name}"


def _model_service(container: dict[Any, Any], parallelism: Any, name: Any) -> Iterator[ShellCommand]:
    values = variables_of(container.get("env"))
    entry, words = words_of(container.get("command"), values), words_of(container.get("args"), values)
    ranks = [count_of(at(parallelism, key)) or 1 for key in ("tensor", "data")]
    cards = cards_of(container) or (ranks[0] * ranks[1] if isinstance(parallelism, dict) else None)
    if container.get("modelCommand") == "vllmServe" and isinstance(name, str):
        for flag, size in zip(("--tensor-parallel-size", "--data-parallel-size"), ranks, strict=True):
            if size > 1 and not any(word.startswith(flag) for word in words):
                words = [*words, flag, str(size)]
        yield ShellCommand(said(values), ("vllm", "serve", name, *words), cards)
        return
    image = container.get("image")
    for each in unfolded(
        [*(entry or ([image] if isinstance(image, str) else [])), *words], values, said(values)
    ):
        yield each._replace(cards=cards)
