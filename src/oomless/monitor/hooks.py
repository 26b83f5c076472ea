"""Hooks on a model, on autograd's engine and on optimizers, and their removal.

Hooks return at once while torch.compile traces them, so that a compiled program is the one it would be
without. No hook of saved tensors is set: torch.func and others refuse to run under one. What a forward keeps
for backward is read from the allocator instead.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

from ..errors import need
from .guard import Guard
from .model_parts import Parts

ENGINE = "_engine_run_backward"
"""The one function of torch.autograd that starts the engine; private to torch."""


class Listener(Protocol):
    """Who is told what happens."""

    def forward_begins(self, model: Any, arguments: Any, named: Any) -> None: ...
    def forward_ends(self, output: Any) -> None: ...
    def block_begins(self, name: str) -> None: ...
    def gradient_done(self, name: str) -> None: ...
    def backward_begins(self) -> None: ...
    def backward_ends(self) -> None: ...
    def backward_failed(self) -> None: ...
    def update_begins(self, optimizer: Any) -> None: ...
    def update_ends(self, optimizer: Any) -> None: ...


class Hooks(NamedTuple):
    """What was set, and how each is taken away again."""

    removals: list[Callable[[], None]]

    def remove(self) -> None:
        """Take every hook away; one that fails leaves none of the others."""
        while self.removals:
            removal = self.removals.pop()
            try:
                removal()
            except Exception:
                continue


def set_hooks(parts: Parts, listener: Listener, guard: Guard) -> Hooks:
    """Set all hooks on a model and on torch."""
    hooks = Hooks([])
    try:
        on_model(hooks, parts, listener, guard)
        on_engine(hooks, listener, guard)
        on_optimizers(hooks, listener, guard)
    except Exception:
        hooks.remove()
        raise
    return hooks


class Hook:
    """A function as a hook of a module. A copy of the module and a pickle of it hold one that does nothing
    and that needs no oomless to be read."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.compiling = need("torch", "trace").compiler.is_compiling

    def __call__(self, *arguments: Any) -> None:
        if not self.compiling():
            self.function(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")


def on_model(hooks: Hooks, parts: Parts, listener: Listener, guard: Guard) -> None:
    """Hooks on the root's call, on its blocks, and on one trained parameter of each block."""
    root = parts.root

    def begins(module: Any, arguments: Any, named: Any) -> None:
        if module is root:
            guard.call("the hook before forward", listener.forward_begins, module, arguments, named)

    def ends(module: Any, arguments: Any, output: Any) -> None:
        if module is root:
            guard.call("the hook after forward", listener.forward_ends, output)

    inner = getattr(root, "_compiled_call_impl", None)
    if inner is not None:
        around_compiled_call(hooks, root, inner, begins, ends)
        return
    hooks.removals.append(root.register_forward_pre_hook(Hook(begins), with_kwargs=True).remove)
    hooks.removals.append(root.register_forward_hook(Hook(ends)).remove)
    for name, block in parts.blocks:

        def block_begins(module: Any, arguments: Any, name: str = name) -> None:
            guard.call("the hook before a block", listener.block_begins, name)

        def gradient_done(parameter: Any, name: str = name) -> None:
            guard.call("the hook after a gradient", listener.gradient_done, name)

        hooks.removals.append(block.register_forward_pre_hook(Hook(block_begins)).remove)
        first = next((each for each in block.parameters() if each.requires_grad and each.is_leaf), None)
        if first is not None:
            hooks.removals.append(first.register_post_accumulate_grad_hook(Hook(gradient_done)).remove)


def around_compiled_call(hooks: Hooks, root: Any, inner: Any, begins: Any, ends: Any) -> None:
    """A module that was compiled in place calls a program of its own: the program is left as it is, and what
    stands before and after it is told."""

    def call(*arguments: Any, **named: Any) -> Any:
        begins(root, arguments, named)
        output = inner(*arguments, **named)
        ends(root, arguments, output)
        return output

    def restore() -> None:
        if root._compiled_call_impl is call:
            root._compiled_call_impl = inner

    root._compiled_call_impl = call
    hooks.removals.append(restore)


def on_engine(hooks: Hooks, listener: Listener, guard: Guard) -> None:
    """Stand around the start of autograd's engine."""
    autograd = need("torch.autograd", "trace")
    original = getattr(autograd, ENGINE)

    def run(*arguments: Any, **named: Any) -> Any:
        guard.call("the begin of backward", listener.backward_begins)
        try:
            result = original(*arguments, **named)
        except BaseException:
            guard.call("the end of backward", listener.backward_failed)
            raise
        guard.call("the end of backward", listener.backward_ends)
        return result

    def restore() -> None:
        if getattr(autograd, ENGINE) is run:
            setattr(autograd, ENGINE, original)

    setattr(autograd, ENGINE, run)
    hooks.removals.append(restore)


def on_optimizers(hooks: Hooks, listener: Listener, guard: Guard) -> None:
    """Hooks before and after the step of every optimizer."""
    optimizers = need("torch.optim.optimizer", "trace")

    def begins(optimizer: Any, arguments: Any, named: Any) -> None:
        guard.call("the hook before an update", listener.update_begins, optimizer)

    def ends(optimizer: Any, arguments: Any, named: Any) -> None:
        guard.call("the hook after an update", listener.update_ends, optimizer)

    hooks.removals.append(optimizers.register_optimizer_step_pre_hook(Hook(begins)).remove)
    hooks.removals.append(optimizers.register_optimizer_step_post_hook(Hook(ends)).remove)
