"""What kernels of a CPU allocate inside of themselves: needed to hold a trace against a real run on one
(`--attention cpu`, `--check`).

Seen in the profiler's events under torch 2.13, and named by ATen's source: operands of another type than the
result are copied first (TensorIterator casts on the CPU; CUDA kernels cast while they read), reductions into
another type copy their input (ReduceOpsUtils.h), attention has a block of scores a thread
(FlashAttentionKernel.cpp), oneDNN packs blocks of 16-bit products (onednn.py), and what is gathered or
scattered in 16 bits is F32 first. Kernels that want rows one after the other copy what is not (`contiguous`
in layer_norm.cpp, SoftMax.cpp, LinearAlgebra.cpp), and oneDNN's convolutions by channel have their own order
of it.
"""

from collections.abc import Callable
from typing import Any

from ...errors import need
from .onednn import scratchpad

LEAST_PRODUCT = 16**3
"""Multiplications from which on oneDNN is asked (mkldnn_matmul.cpp, checksize)."""
LONG_QUERY, MIDDLE_QUERY = 768, 192
KEY_BLOCK = 512


class Temporaries:
    """Bytes beside the outputs, by operator, on this machine: its threads, and the types whose matrices
    oneDNN multiplies."""

    def __init__(self) -> None:
        torch = need("torch", "trace")
        self.torch, self.aten = torch, torch.ops.aten
        self.threads = torch.get_num_threads()
        supported = {
            torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported(),
            torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported(),
        }
        self.packed = frozenset(dtype for dtype, is_packed in supported.items() if is_packed)
        aten = self.aten
        self.rules: dict[Any, Callable[[Any, Any, Any], int]] = {
            aten.mm.default: self._product,
            aten.bmm.default: self._product,
            aten.addmm.default: lambda args, kwargs, out: self._product(args[1:], kwargs, out),
            aten.baddbmm.default: lambda args, kwargs, out: self._product(args[1:], kwargs, out),
            aten._grouped_mm.default: self._grouped,
            aten.convolution.default: self._convolution,
            aten.convolution_backward.default: self._convolution_backward,
            aten.logsumexp.default: lambda args, kwargs, out: num_bytes(args[0]) + num_bytes(out),
            aten.cat.default: self._joined,
            aten._safe_softmax.default: lambda args, kwargs, out: (
                args[0].numel() + args[0].numel() // args[0].shape[-1]
            ),
            aten.sum.dim_IntList: self._reduction,
            aten.sum.default: self._reduction,
            aten.mean.dim: self._reduction,
            aten.cumsum.default: self._reduction,
            aten._scaled_dot_product_flash_attention_for_cpu.default: self._attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward.default: self._attention_backward,
        }
        placed = (
            aten.gather.default,
            aten.scatter.src,
            aten.scatter.value,
            aten.scatter_.src,
            aten.scatter_.value,
        )
        self.rules |= dict.fromkeys((*placed, aten.scatter_add.default, aten.scatter_add_.default), in_float)
        if hasattr(
            torch.ops.c10d, "_reduce_scatter_base_"
        ):  # where torch.distributed is built: gloo reduces a copy of its input
            self.rules[torch.ops.c10d._reduce_scatter_base_.default] = lambda args, kwargs, out: (
                args[1].numel() * args[1].element_size()
            )
        first, both = (
            (aten.native_layer_norm, aten._softmax, aten._log_softmax, aten.tril, aten.triu),
            (
                aten.native_layer_norm_backward,
                aten._softmax_backward_data,
                aten._log_softmax_backward_data,
            ),
        )
        self.rules |= {each.default: lambda args, kwargs, out: in_rows(args[:1]) for each in first}
        self.rules |= {each.default: lambda args, kwargs, out: in_rows(args[:2]) for each in both}
        self.pointwise: dict[Any, bool] = {}
        self.without_cast = {aten.masked_fill, aten.masked_fill_, aten.copy_, aten._to_copy}

    def of(self, operator: Any, args: Any, kwargs: Any, out: Any) -> int:
        """Bytes that an operator allocates and frees while it runs."""
        rule = self.rules.get(operator)
        if rule is not None:
            return rule(args, kwargs, out)
        pointwise = self.pointwise.get(operator)
        if pointwise is None:
            pointwise = (
                self.torch.Tag.pointwise in operator.tags and operator.overloadpacket not in self.without_cast
            )
            self.pointwise[operator] = pointwise
        if not pointwise or len(args) < 2:
            return 0
        operands = args[1:] if operator.overloadpacket is self.aten.where else args
        return self._casts(operands)

    def _casts(self, operands: Any) -> int:
        """Copies of operands in the type that they have in common."""
        tensors = [each for each in operands if isinstance(each, self.torch.Tensor) and each.dim()]
        types = {each.dtype for each in tensors}
        if len(types) < 2:
            return 0
        common = tensors[0].dtype
        for each in tensors[1:]:
            common = self.torch.promote_types(common, each.dtype)
        return int(sum(each.numel() * common.itemsize for each in tensors if each.dtype is not common))

    def _reduction(self, args: Any, kwargs: Any, out: Any) -> int:
        source = args[0]
        return int(source.numel() * out.dtype.itemsize) if source.dtype is not out.dtype else 0

    def _product(self, args: Any, kwargs: Any, out: Any) -> int:
        """Copies of operands that no kernel takes as they lie, and oneDNN's blocks. Matrices of a stack that
        nobody packs come one by one."""
        left, right = args[0], args[1]
        if not right.numel():
            return 0
        packed, stack = left.dtype in self.packed, left.shape[0] if left.dim() == 3 else 1
        taken = in_stack if packed and left.dim() == 3 else is_matrix
        copied = [each for each in (left, right) if not taken(each)]
        copies = sum(num_bytes(each) for each in copied) // (
            stack if left.dtype.itemsize == 2 and not packed else 1
        )
        rows, depth, columns = left.shape[-2], left.shape[-1], right.shape[-1]
        turned = left.stride(-1) != 1 and not any(each is left for each in copied)
        if columns == 1 and left.dim() == 2:  # a column is multiplied as a row, from the left
            rows, columns, turned = 1, rows, False
        return copies + self._packed(rows, depth, columns, turned, left.dtype, stack)

    def _convolution(self, args: Any, kwargs: Any, out: Any) -> int:
        """Input and weight in oneDNN's order together with the result in it, then the result twice; an input
        that is not in rows before."""
        source, weight = args[0], args[1]
        if not self._by_channel(args[-1], source):
            return in_rows(args[:1])
        return in_rows(args[:1]) + max(num_bytes(source) + num_bytes(weight), num_bytes(out))

    def _convolution_backward(self, args: Any, kwargs: Any, out: Any) -> int:
        gradient, source = args[0], args[1]
        if not self._by_channel(args[-2], source):
            return in_rows(args[:2])
        return in_rows(args[:2]) + max(num_bytes(gradient), num_bytes(source))

    def _by_channel(self, groups: int, source: Any) -> bool:
        """Whether each channel is convolved alone, as in the short convolutions of state-space layers."""
        return groups > 1 and groups == source.shape[1]

    def _grouped(self, args: Any, kwargs: Any, out: Any) -> int:
        """Groups are multiplied one after the other, each with its share of the rows."""
        left, offsets = args[0], kwargs.get("offs", args[2] if len(args) > 2 else None)
        if offsets is None or left.dim() != 2:
            return 0
        groups = offsets.shape[0]
        if args[1].dim() == 2:  # the gradient of the weights: rows are summed over
            return self._packed(
                left.shape[0], -(-left.shape[1] // groups), args[1].shape[-1], True, left.dtype
            )
        return self._packed(-(-left.shape[0] // groups), left.shape[1], args[1].shape[-1], False, left.dtype)

    def _packed(self, rows: int, depth: int, columns: int, turned: bool, dtype: Any, stack: int = 1) -> int:
        """Blocks of a product of 16-bit matrices that oneDNN is asked for; others are multiplied as they
        lie."""
        if dtype not in self.packed or stack * rows * depth * columns <= LEAST_PRODUCT:
            return 0
        return scratchpad(rows, depth, columns, turned, stack, self.threads)

    def _joined(self, args: Any, kwargs: Any, out: Any) -> int:
        """One after the other, tensors of another type than the result are copied."""
        return int(
            max(
                (each.numel() * out.dtype.itemsize for each in args[0] if each.dtype is not out.dtype),
                default=0,
            )
        )

    def _attention(self, args: Any, kwargs: Any, out: Any) -> int:
        """Scores of a block of queries and keys, their largest and sum, and the block of the result, in F32
        for each thread."""
        query, key = args[0], args[1]
        rows, keys = block_of_scores(query, key)
        block = rows * (keys + 2 + query.shape[-1]) * 4
        half = rows * keys * query.dtype.itemsize if query.dtype.itemsize == 2 else 0
        return int(self.threads * (block + half))

    def _attention_backward(self, args: Any, kwargs: Any, out: Any) -> int:
        """A block of scores and one of their gradients for each thread, in F32 and once more in 16 bits, and
        sums of the rows."""
        query, key = args[1], args[2]
        rows, keys = block_of_scores(query, key)
        half = query.dtype.itemsize if query.dtype.itemsize == 2 else 0
        return int(self.threads * 2 * rows * keys * (4 + half) + rows * 4)


def block_of_scores(query: Any, key: Any) -> tuple[int, int]:
    """Queries and keys that attention takes at once (FlashAttentionKernel.cpp)."""
    length = query.shape[-2]
    rows = 256 if length >= LONG_QUERY else 64 if length >= MIDDLE_QUERY else 32
    return min(rows, length), min(KEY_BLOCK, key.shape[-2])


def in_float(args: Any, kwargs: Any, out: Any) -> int:
    """The result in F32, in which values of 16-bit types are placed (ScatterGatherKernel.cpp)."""
    return (
        int(out.numel() * 4) if out.is_floating_point() and out.dtype.itemsize == 2 and out.dim() > 1 else 0
    )


def num_bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def in_rows(tensors: Any) -> int:
    """Bytes of the copies of tensors whose elements do not lie one after the other."""
    return sum(num_bytes(each) for each in tensors if not each.is_contiguous())


def is_matrix(tensor: Any) -> bool:
    """Whether BLAS takes a matrix, or each of a stack, as it lies: rows or columns without holes between
    their elements."""
    return 1 in tensor.stride()[-2:] or min(tensor.shape[-2:]) == 1


def in_stack(tensor: Any) -> bool:
    """Whether oneDNN takes a stack of matrices as it lies: one behind the other, each by rows or by
    columns."""
    stack, rows, columns = tensor.stride()
    _, num_rows, num_columns = tensor.shape
    return stack == num_rows * num_columns and ((rows, columns) in ((num_columns, 1), (1, num_rows)))
