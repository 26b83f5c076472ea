"""The guide's own snippet for compressed activations, run fault by fault: what each line does."""

from typing import Any, NamedTuple

from ...errors import need
from .saved import activations

ROWS, WIDTH = 64, 64


class Fault(NamedTuple):
    """What the snippet means to do, and what happens."""

    line: str
    found: str


def faults() -> list[Fault]:
    """Return the snippet's faults, each found by running it.

    The snippet registers, as a parametrization called `activation` of a linear layer, an object that divides
    by a scale it took from the first batch and rounds.
    """
    return [not_a_module(), no_such_parameter(), nothing_is_smaller(), fixed_scale(), no_gradient()]


def quantizer(as_module: bool) -> Any:
    """Return the snippet's object; as printed it is no module."""
    torch = need("torch", "compress")
    base: Any = torch.nn.Module if as_module else object

    class ActivationQuantizer(base):  # type: ignore[misc]
        """Rounds to a fixed scale, and never multiplies by it again."""

        scale: Any = None

        def __call__(self, values: Any) -> Any:
            if self.scale is None:
                self.scale = values.detach().abs().max() / 127
            return torch.round(values / self.scale)

    return ActivationQuantizer()


def error_of(register: Any) -> str:
    """Return what registering raises."""
    try:
        register()
    except (AttributeError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return "no error"


def not_a_module() -> Fault:
    """Registered as printed."""
    torch, parametrize = need("torch", "compress"), need("torch.nn.utils.parametrize", "compress")
    layer = torch.nn.Linear(WIDTH, WIDTH)
    found = error_of(lambda: parametrize.register_parametrization(layer, "activation", quantizer(False)))
    return Fault("register_parametrization(layer, 'activation', ActivationQuantizer())", found)


def no_such_parameter() -> Fault:
    """The same with a module."""
    torch, parametrize = need("torch", "compress"), need("torch.nn.utils.parametrize", "compress")
    layer = torch.nn.Linear(WIDTH, WIDTH)
    found = error_of(lambda: parametrize.register_parametrization(layer, "activation", quantizer(True)))
    return Fault("the same, as a module: a layer has no parameter called activation", found)


def nothing_is_smaller() -> Fault:
    """Its output, and what autograd keeps of it."""
    torch = need("torch", "compress")
    values = torch.randn(ROWS, WIDTH, requires_grad=True)
    given = quantizer(True)(values)

    def kept(through: Any) -> int:
        with activations() as report:
            hidden = values.tanh()
            (through(hidden) * 2).sin()
        return report.saved_bytes

    plain, rounded = kept(lambda hidden: hidden), kept(quantizer(True))
    return Fault(
        "what it gives is float32",
        f"{values.nbytes:,} B in, {given.nbytes:,} B out; autograd keeps {plain:,} B, with it {rounded:,} B",
    )


def fixed_scale() -> Fault:
    """A second batch that is ten times larger."""
    torch = need("torch", "compress")
    each, values = quantizer(True), torch.linspace(-1, 1, WIDTH)
    each(values)
    largest = float(each(10 * values).abs().max())
    return Fault("the scale is that of the first batch", f"codes up to {largest:,.0f} where 127 is the limit")


def no_gradient() -> Fault:
    """What comes back through round, and what the next layer sees."""
    torch = need("torch", "compress")
    values = torch.randn(ROWS, WIDTH, requires_grad=True)
    given = quantizer(True)(values)
    given.sum().backward()
    wrong = float(((given - values).norm() / values.norm()).detach())
    gradient = float(values.grad.abs().max())
    return Fault(
        "round has no gradient, and nothing multiplies by the scale again",
        f"largest gradient {gradient:g}; the next layer gets values with a relative error of {wrong:.1f}",
    )
