"""What starts in a container: the services of a Compose file, the containers of Kubernetes objects, and those
that charts of Helm make of their values.

Read are the image, entry point, words and variables of each, and how many cards it asks for: `deploy:
resources: reservations: devices` of Compose, limits such as nvidia.com/gpu of Kubernetes (Deployment, Pod,
Job, StatefulSet, LeaderWorkerSet, KServe's InferenceService and whatever else holds `containers`).
"""

import re
from collections.abc import Iterator
from typing import Any

from ..errors import OomlessError, UsageError
from ..limits import RUN_FILE, parse_yaml
from ..run.shell_words import OF_SHELL, ShellCommand, commands_in, unfolded, valued
from .manifest_parts import at, cards_of, count_of, items, said, text_of, variables_of, words_of

BEGINS = re.compile(
    r"^(?:apiVersion|services|kind|servingEngineSpec|modelArtifacts)[ \t]*:|^[ \t-]*image[ \t]*:[ \t]*\S",
    re.MULTILINE,
)
"""A first key of a whole file, or the image of a part that was cut out of one."""
HEREDOC = re.compile(r"^[^\n:]*<<-?[ \t]*['\"]?(\w+)['\"]?[^\n]*\n", re.MULTILINE)
MOST_DOCUMENTS = 64
MOST_DEPTH = 12
TEMPLATE = ("--command: a template of Helm says nothing yet", "paste what `helm template` makes of it")
CARD_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "amd.com/gpu.product-name")
"""Labels of nodes that name the card."""


def is_manifest(text: str) -> bool:
    """Return whether a text is a Compose file, Kubernetes objects or a chart's values, and no command line.

    >>> is_manifest("services:\\n  a:\\n    image: x"), is_manifest("vllm serve m")
    (True, False)
    """
    return "\n" in text.strip() and BEGINS.search(text) is not None


def containers_in(text: str, every: bool = False) -> list[ShellCommand]:
    """Return what each container of a Compose file or of Kubernetes objects starts, in their order; `every`:
    what stands in branches of scripts that are not taken too. Of several documents those that are no YAML yet
    (a secret as a template) count as missing.

    >>> found = containers_in(
    ...     "services:\\n  a:\\n    image: vllm/vllm-openai:v0.11.0\\n    command: --model m"
    ... )
    >>> found[0].words
    ('vllm/vllm-openai:v0.11.0', '--model', 'm')
    """
    if here := HEREDOC.match(text.lstrip()):
        text = text.lstrip()[here.end() :].partition(f"\n{here[1]}")[0]
    parts = [part for part in re.split(r"^---[^\n]*$", text, flags=re.MULTILINE) if part.strip()]
    if len(parts) > MOST_DOCUMENTS:
        raise UsageError(
            f"--command: more than {MOST_DOCUMENTS} documents of YAML", "paste the one that serves", "command"
        )
    found: list[ShellCommand] = []
    unread: OomlessError | None = None
    for part in parts:
        try:
            document = whole_of(parse_yaml(part.encode(), "--command", RUN_FILE))
        except OomlessError as error:
            unread = UsageError(*TEMPLATE, "command") if "{{" in part else error
            continue
        if isinstance(document, dict):
            services = document.get("services")
            if isinstance(services, dict):
                found += _services(services, every)
            else:
                found += started_by_values(document) if are_values(document) else _objects(document, every)
    if unread is not None and not found:
        raise unread
    return found


def whole_of(part: Any) -> Any:
    """Return the file that a part of one stands for: containers of a list, services without their key, or
    what stands under one service.

    >>> whole_of({"llm": {"image": "x", "command": "--model m"}})
    {'services': {'llm': {'image': 'x', 'command': '--model m'}}}
    >>> whole_of([{"name": "llm", "image": "x", "args": ["--model", "m"]}])["containers"][0]["name"]
    'llm'
    """
    if isinstance(part, list):
        return {"containers": part}
    if not isinstance(part, dict) or "kind" in part or "services" in part:
        return part
    if isinstance(part.get("image"), str):
        return {"containers": [part]} if "args" in part else {"services": {"": part}}
    if any(isinstance(each, dict) and isinstance(each.get("image"), str) for each in part.values()):
        return part if are_values(part) else {"services": part}
    return part


def _services(services: dict[Any, Any], every: bool) -> Iterator[ShellCommand]:
    for service in services.values():
        if not isinstance(service, dict):
            continue
        values = {name: valued(each, {}) for name, each in variables_of(service.get("environment")).items()}
        devices = at(service, "deploy", "resources", "reservations", "devices")
        cards = sum(_asked(each) for each in items(devices))
        entry, words = (
            [word.replace("$$", "$") for word in words_of(service.get(key), values)]
            for key in ("entrypoint", "command")
        )
        yield from _started(service.get("image"), entry, words, values, cards or None, every)


def _asked(device: Any) -> int:
    """Return the cards of a device of Compose; `all` and other kinds of devices are none that is known."""
    if not isinstance(device, dict):
        return 0
    return len(items(device.get("device_ids"))) or count_of(device.get("count"))


def _objects(document: dict[Any, Any], every: bool) -> Iterator[ShellCommand]:
    size = at(document, "spec", "leaderWorkerTemplate", "size")
    nodes = count_of(size) or 1
    if str(document.get("kind")) == "InferenceService":
        yield from _served(at(document, "spec", "predictor", "model"))
    if str(document.get("apiVersion")).startswith("kubeai.org/"):
        yield from _operated(document.get("spec"))
    for pod in _pods(document):
        card = _card_of(pod)
        for container in items(pod.get("containers")):
            if not isinstance(container, dict):
                continue
            values = variables_of(container.get("env"))
            if nodes > 1:
                values = {**values, "LWS_GROUP_SIZE": str(nodes)}
            entry, words = words_of(container.get("command"), values), words_of(container.get("args"), values)
            for each in _started(container.get("image"), entry, words, values, cards_of(container), every):
                yield each._replace(nodes=nodes, card=card)


def _pods(value: Any, depth: int = 0) -> Iterator[dict[Any, Any]]:
    """Give every specification of a pod in an object: what has containers; a leader stands before its
    workers."""
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        for name in sorted(value, key=lambda each: each == "workerTemplate"):
            yield from _pods(value[name], depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from _pods(each, depth + 1)


def _served(model: Any) -> Iterator[ShellCommand]:
    """Give what KServe's own server for Hugging Face models starts: vLLM, with its arguments."""
    if not isinstance(model, dict) or str(at(model, "modelFormat", "name")) not in ("huggingface", "vLLM"):
        return
    values = variables_of(model.get("env"))
    words = [
        re.sub(r"^--model[_-]name\b", "--served-model-name", re.sub(r"^--model[_-]id\b", "--model", word))
        for word in words_of(model.get("args"), values)
    ]
    place = model.get("storageUri")
    if isinstance(place, str) and not any(re.match(r"--model(=|$)", word) for word in words):
        words = ["--model", place.removeprefix("hf://"), *words]
    yield ShellCommand(said(values), ("vllm", "serve", *words), cards_of(model))


PROGRAMS = {"VLLM": ("vllm", "serve"), "OLlama": ("ollama", "run")}
"""Engines of KubeAI that serve a language model, and how they are started (internal/modelcontroller)."""


def _operated(spec: Any) -> Iterator[ShellCommand]:
    """Give what KubeAI starts for one of its models: the profile of its resources ends with its cards.

    >>> spec = {
    ...     "engine": "VLLM",
    ...     "url": "hf://org/m",
    ...     "args": ["-tp=2"],
    ...     "resourceProfile": "nvidia-gpu-l4:2",
    ... }
    >>> next(_operated(spec))[1:]
    (('vllm', 'serve', 'org/m', '-tp=2'), 2, 1, 'l4')
    """
    program, url = PROGRAMS.get(text_of(at(spec, "engine"))), at(spec, "url")
    if program is None or not isinstance(url, str):
        return
    values = variables_of(spec.get("env"))
    model = re.sub(r"^\w+://", "", url).partition("?")[0]
    name, _, count = text_of(spec.get("resourceProfile")).partition(":")
    words = (*program, model, *words_of(spec.get("args"), values))
    yield ShellCommand(said(values), words, count_of(count) or None, card=re.sub(r"^\w+-gpu-", "", name))


def _started(
    image: Any, entry: list[str], words: list[str], values: dict[str, str], cards: int | None, every: bool
) -> Iterator[ShellCommand]:
    """Give the commands of a container; an entry point of its own takes the place of the image's."""
    name = [valued(image, values)] if isinstance(image, str) else []
    entry, words = in_words(entry), words if entry and OF_SHELL.fullmatch(entry[-1]) else in_words(words)
    before = (*said(values), *(name if entry else ()))
    for each in unfolded([*entry, *words] if entry else [*name, *words], values, before, 0, every):
        yield each._replace(cards=cards)


def in_words(words: list[str]) -> list[str]:
    """Return the words of a whole command that was written as one item of a list."""
    if len(words) != 1 or not re.match(r"\S+[ \t]+-|\S+[ \t]+\S+[ \t]+\S+", words[0].strip()):
        return words
    return [word for found in commands_in(words[0]) for word in found.words]


def _card_of(pod: dict[Any, Any]) -> str:
    labels = pod.get("nodeSelector")
    found = [labels.get(name) for name in CARD_LABELS] if isinstance(labels, dict) else []
    return next((each for each in found if isinstance(each, str)), "")


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
