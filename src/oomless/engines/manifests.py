"""What starts in a container: the services of a Compose file, the containers of Kubernetes objects.

Read are the image, entry point, words and variables of each, and how many cards it asks for: `deploy:
resources: reservations: devices` of Compose, limits such as nvidia.com/gpu of Kubernetes (Deployment, Pod,
Job, StatefulSet, LeaderWorkerSet, KServe's InferenceService and whatever else holds `containers`).
"""

import re
from collections.abc import Iterator
from typing import Any

from ..errors import UsageError
from ..limits import RUN_FILE, parse_yaml
from .shell_words import ShellCommand, commands_in, unfolded, valued

BEGINS = re.compile(r"^(?:apiVersion|services|kind)[ \t]*:", re.MULTILINE)
HEREDOC = re.compile(r"^[^\n:]*<<-?[ \t]*['\"]?(\w+)['\"]?[^\n]*\n", re.MULTILINE)
MOST_DOCUMENTS = 64
MOST_DEPTH = 12
MOST_COUNT = 1 << 16
CARDS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "habana.ai/gaudi", "huawei.com/")
"""Resources of Kubernetes that are whole cards; of Huawei's the name goes on with the card's."""
CARD_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "amd.com/gpu.product-name")
"""Labels of nodes that name the card."""


def is_manifest(text: str) -> bool:
    """Return whether a text is a Compose file or Kubernetes objects, and no command line.

    >>> is_manifest("services:\\n  a:\\n    image: x"), is_manifest("vllm serve m")
    (True, False)
    """
    return "\n" in text.strip() and BEGINS.search(text) is not None


def containers_in(text: str) -> list[ShellCommand]:
    """Return what each container of a Compose file or of Kubernetes objects starts, in their order.

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
    for part in parts:
        document = parse_yaml(part.encode(), "--command", RUN_FILE)
        if isinstance(document, dict):
            services = document.get("services")
            found += _services(services) if isinstance(services, dict) else _objects(document)
    return found


def _services(services: dict[Any, Any]) -> Iterator[ShellCommand]:
    for service in services.values():
        if not isinstance(service, dict):
            continue
        values = _variables(service.get("environment"))
        devices = _at(service, "deploy", "resources", "reservations", "devices")
        cards = sum(_asked(each) for each in _list(devices))
        entry, words = _words(service.get("entrypoint"), values), _words(service.get("command"), values)
        yield from _started(service.get("image"), entry, words, values, cards or None)


def _asked(device: Any) -> int:
    """Return the cards of a device of Compose; `all` and other kinds of devices are none that is known."""
    if not isinstance(device, dict):
        return 0
    return len(_list(device.get("device_ids"))) or _count(device.get("count"))


def _objects(document: dict[Any, Any]) -> Iterator[ShellCommand]:
    size = _at(document, "spec", "leaderWorkerTemplate", "size")
    nodes = _count(size) or 1
    if str(document.get("kind")) == "InferenceService":
        yield from _served(_at(document, "spec", "predictor", "model"))
    for pod in _pods(document):
        card = _card_of(pod)
        for container in _list(pod.get("containers")):
            if not isinstance(container, dict):
                continue
            values = _variables(container.get("env"))
            if nodes > 1:
                values = {**values, "LWS_GROUP_SIZE": str(nodes)}
            entry, words = _words(container.get("command"), values), _words(container.get("args"), values)
            for each in _started(container.get("image"), entry, words, values, _limit(container)):
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
    if not isinstance(model, dict) or str(_at(model, "modelFormat", "name")) not in ("huggingface", "vLLM"):
        return
    values = _variables(model.get("env"))
    words = [
        re.sub(r"^--model[_-]name\b", "--served-model-name", re.sub(r"^--model[_-]id\b", "--model", word))
        for word in _words(model.get("args"), values)
    ]
    place = model.get("storageUri")
    if isinstance(place, str) and not any(re.match(r"--model(=|$)", word) for word in words):
        words = ["--model", place.removeprefix("hf://"), *words]
    yield ShellCommand(_said(values), ("vllm", "serve", *words), _limit(model))


def _started(
    image: Any, entry: list[str], words: list[str], values: dict[str, str], cards: int | None
) -> Iterator[ShellCommand]:
    """Give the commands of a container; an entry point of its own takes the place of the image's."""
    name = [valued(image, values)] if isinstance(image, str) else []
    before = (*_said(values), *(name if entry else ()))
    for each in unfolded([*entry, *words] if entry else [*name, *words], values, before):
        yield each._replace(cards=cards)


def _said(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in values.items())


def _words(value: Any, values: dict[str, str]) -> list[str]:
    """Return the words of a command: a list as it stands, a text as a shell splits it."""
    if isinstance(value, list):
        return [valued(_text(each), values) for each in value if not isinstance(each, dict | list)]
    if not isinstance(value, str):
        return []
    return [valued(word, values) for found in commands_in(value) for word in found.words]


def _variables(value: Any) -> dict[str, str]:
    """Return variables that are written as a mapping, as NAME=value, or as Kubernetes' name and value."""
    if isinstance(value, dict):
        return {str(name): _text(each) for name, each in value.items() if not isinstance(each, dict | list)}
    found: dict[str, str] = {}
    for each in _list(value):
        if isinstance(each, str):
            name, _, text = each.partition("=")
            found[name] = text
        elif isinstance(each, dict) and isinstance(each.get("name"), str) and "value" in each:
            found[each["name"]] = _text(each["value"])
    return found


def _limit(container: dict[Any, Any]) -> int | None:
    """Return the cards that a container is limited to; None: it says none."""
    for kind in ("limits", "requests"):
        asked = _at(container, "resources", kind)
        if isinstance(asked, dict):
            for name, value in asked.items():
                if str(name).startswith(CARDS) and (count := _count(value)):
                    return count
    return None


def _card_of(pod: dict[Any, Any]) -> str:
    labels = pod.get("nodeSelector")
    found = [labels.get(name) for name in CARD_LABELS] if isinstance(labels, dict) else []
    return next((each for each in found if isinstance(each, str)), "")


def _count(value: Any) -> int:
    text = str(value)
    return min(int(text), MOST_COUNT) if text.isdecimal() and len(text) < 10 else 0


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(value: Any, *path: str) -> Any:
    """Return what stands under a path of names; None where one is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
