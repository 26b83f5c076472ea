"""Drafting: a model with another one beside it that drafts for it, or with a head that does."""

from .model import Model


def with_draft(model: Model, draft: Model, shares: bool = False) -> Model:
    """Return a model whose draft layers are another model: its layers are numbered behind the model's own,
    and its embedding and head lie beside them. No --quantization of the model touches it. Layers of its own
    that the checkpoint holds for drafting stay on the disk. `shares`: it is a head, whose copies are of the
    model's own tensors.

    >>> from .load import load
    >>> target, small = load("qwen2.5-32b-instruct"), load("qwen2.5-7b-instruct")
    >>> both = with_draft(target, small)
    >>> (
    ...     len(both.draft),
    ...     both.parameters_of("mtp") == small.num_parameters,
    ...     both.layer_at(64) == small.layers[0],
    ... )
    (28, True, True)
    """
    first = len(model.layers)
    tensors = tuple(
        tensor._replace(
            name=f"draft.{tensor.name}",
            part="mtp",
            role="plain" if tensor.role == "linear" else tensor.role,
            layers=tuple(first + layer for layer in tensor.layers),
        )
        for tensor in draft.tensors
        if tensor.part == "main" and (shares or not tensor.copy_of)
    )
    main = tuple(tensor for tensor in model.tensors if tensor.part != "mtp")
    warnings = (*model.warnings, *draft.warnings) if shares else model.warnings
    return model._replace(
        draft=draft.layers, num_mtp=0, tensors=(*main, *tensors), drafter=draft, warnings=warnings
    )


def uncertain_bytes(model: Model, num_bytes: int) -> int:
    """Return how much larger tensors of a draft may be than `num_bytes`: of a head whose shape is assumed."""
    spread = model.drafter.size_spread if model.drafter else None
    return round(num_bytes * (spread.others[1] - 1)) if spread else 0
