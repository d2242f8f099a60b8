"""A ConvLSTM layer over a whole sequence, its backward pass written by hand.

What it saves over torch's automatic differentiation of the same formulas:

- One convolution a step, of the step's input beside the state, on an array that the state was
  copied into. At the first step, whose state is zero, only the input is convolved.
- Images go through in groups so small that what a step leaves is still in the cache for the
  next.
- The pointwise part is one pass over memory (cell.py) each way.
- Gradients of weights are matrix products of shifted rows where those are faster than the
  library's own convolutions (``products_win``).
- With ``recompute``, gates are not kept but convolved again, from the states that are: a
  third more work, and less than half of the memory.

Images are (y, x, channel) in memory; x_TBCHW and its like are views of such arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn.functional import conv2d

from geoforecast.models.lstm import cell

Tensor = torch.Tensor

GROUP_BYTES = 10_000_000  # of the gates of images that are worked on at once


@dataclass(frozen=True)
class Gates:
    """The convolutions of a layer.

    Attributes:
        w_input: (4 hidden, inputs, k, k), gates stand as i, f, o, g.
        w_both: (4 hidden, inputs + hidden, k, k).
        bias: (4 hidden).
        dtype: what is convolved in; cells and sums stay as the weights are.
    """

    w_input: Tensor
    w_both: Tensor
    bias: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, w_input: Tensor, w_state: Tensor, bias: Tensor, dtype: torch.dtype) -> Gates:
        """The gates of a layer's parameters, made ready for convolutions."""
        both = torch.cat([w_input, w_state], dim=1)
        return cls(_last(w_input.to(dtype)), _last(both.to(dtype)), bias.to(dtype), dtype)

    @property
    def inputs(self) -> int:
        return self.w_input.shape[1]

    @property
    def hidden(self) -> int:
        return self.w_both.shape[1] - self.inputs

    @property
    def pad(self) -> int:
        return self.w_both.shape[-1] // 2

    def empty_seen(self, like: Tensor, *lead: int) -> Tensor:
        """(..., y + 2 pad, x + 2 pad, inputs + hidden): zeros, the inputs and states to come."""
        height, width = like.shape[-2:]
        pad = 2 * self.pad
        shape = (*lead, height + pad, width + pad, self.w_both.shape[1])
        return torch.zeros(shape, dtype=self.dtype)

    def groups(self, x_BCHW: Tensor) -> list[slice]:
        """The images of a batch in groups that are worked on at once."""
        images, _, height, width = x_BCHW.shape
        size = height * width * 4 * self.hidden * x_BCHW.element_size()
        step = max(1, GROUP_BYTES // size)
        return [slice(first, min(first + step, images)) for first in range(0, images, step)]

    def inside(self, seen: Tensor) -> Tensor:
        """``seen`` without the zeros around it: (..., y, x, inputs + hidden)."""
        pad = self.pad
        if not pad:
            return seen
        return seen[..., pad:-pad, pad:-pad, :]

    def at(self, seen: Tensor, *, first: bool, dtype: torch.dtype) -> Tensor:
        """(B, y, x, 4 hidden) gates of padded images, before their nonlinearities."""
        if first:
            weight = self.w_input
            seen = seen[..., : self.inputs].contiguous()
        else:
            weight = self.w_both
        gates = conv2d(seen.permute(0, 3, 1, 2), weight, self.bias)
        return gates.permute(0, 2, 3, 1).to(dtype).contiguous()


def _last(weight: Tensor) -> Tensor:
    """The same with channels last in memory."""
    return weight.contiguous(memory_format=torch.channels_last)


def run_sequence(
    x_TBCHW: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    dtype: torch.dtype,
    *,
    recompute: bool,
) -> Tensor:
    """States of all steps of a layer, with gradients.

    Args:
        x_TBCHW: the inputs.
        weights: (4 hidden, inputs, k, k), (4 hidden, hidden, k, k) and (4 hidden), gates stand
            as i, f, o, g.
        dtype: what is convolved in.
        recompute: keep no gates for the backward pass.
    Returns:
        (T, B, hidden, y, x).
    """
    states: Tensor = Sequence.apply(x_TBCHW, *weights, dtype, recompute)  # type: ignore[no-untyped-call]
    return states


class Sequence(torch.autograd.Function):
    """The function behind run_sequence()."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TBCHW: Tensor,
        w_input: Tensor,
        w_state: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
        recompute: bool,
    ) -> Tensor:
        """States of all steps; see run_sequence()."""
        steps, images, _, height, width = x_TBCHW.shape
        gates = Gates.of(w_input, w_state, bias, dtype)
        own, hidden = x_TBCHW.dtype, gates.hidden
        seen = gates.empty_seen(x_TBCHW, steps, images)
        inside = gates.inside(seen)
        inside[..., : gates.inputs] = x_TBCHW.permute(0, 1, 3, 4, 2)
        cells = torch.empty(steps, images, height, width, hidden, dtype=own)
        states = torch.empty_like(cells)
        kept = []
        for group in gates.groups(x_TBCHW[0]):
            for t in range(steps):
                z = gates.at(seen[t, group], first=t == 0, dtype=own)
                made = cells[t, group], states[t, group]
                cell.spread(cell.forward, z, cells[max(t - 1, 0), group], *made, first=t == 0)
                if t + 1 < steps:
                    inside[t + 1, group, ..., gates.inputs :] = states[t, group]
                if not recompute:
                    kept.append(z)
        ctx.save_for_backward(seen, cells, w_input, w_state, bias, *kept)
        ctx.dtype = dtype
        return states.permute(0, 1, 4, 2, 3)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the inputs and the parameters."""
        seen, cells, w_input, w_state, bias, *kept = ctx.saved_tensors
        gates = Gates.of(w_input, w_state, bias, ctx.dtype)
        d_states = d_outputs[0].permute(0, 1, 3, 4, 2)
        steps, images, height, width, hidden = cells.shape
        wants_x = ctx.needs_input_grad[0]
        back = _reversed(gates, wants_x=wants_x)
        weights = WeightGradients(gates, cells.dtype)
        d_x = cells.new_empty(steps, images, height, width, gates.inputs if wants_x else 0)
        for number, group in enumerate(gates.groups(d_outputs[0][0])):
            d_cell = torch.zeros_like(cells[0, group])
            d_state = d_states[-1, group].contiguous()  # however the gradient lies in memory
            d_z = torch.empty(*d_cell.shape[:-1], 4 * hidden, dtype=cells.dtype)
            for t in reversed(range(steps)):
                states = cells[max(t - 1, 0), group], cells[t, group]
                if kept:
                    z = kept[number * steps + t]
                else:
                    z = _again(gates, seen[t, group], states[0], first=t == 0)
                cell.spread(cell.backward, z, *states, d_state, d_cell, d_z, first=t == 0)
                d_gates = d_z.to(gates.dtype)
                weights.add(seen[t, group], d_gates, first=t == 0)
                if not t and not wants_x:
                    break
                d_seen = conv2d(d_gates.permute(0, 3, 1, 2), back, padding=gates.pad)
                d_seen = d_seen.permute(0, 2, 3, 1).to(cells.dtype)
                if wants_x:
                    d_x[t, group] = d_seen[..., : gates.inputs]
                if t:
                    onward = d_seen[..., d_seen.shape[3] - hidden :]
                    d_state = (d_states[t - 1, group] + onward).contiguous()
        d_input, d_memory, d_bias = weights.total()
        d_x_TBCHW = d_x.permute(0, 1, 4, 2, 3) if wants_x else None
        return d_x_TBCHW, d_input, d_memory, d_bias, None, None


def _again(gates: Gates, seen: Tensor, before: Tensor, *, first: bool) -> Tensor:
    """Gates of a step, after their nonlinearities, once more."""
    z = gates.at(seen, first=first, dtype=before.dtype)
    cell.spread(
        cell.forward, z, before, torch.empty_like(before), torch.empty_like(before), first=first
    )
    return z


def _reversed(gates: Gates, *, wants_x: bool) -> Tensor:
    """Weights of the convolution that takes gradients of gates to those of what was seen."""
    weight = gates.w_both if wants_x else gates.w_both[:, gates.inputs :]
    return _last(weight.flip(2, 3).transpose(0, 1))


class WeightGradients:
    """Sums of a layer's weight gradients over steps and images.

    Args:
        gates: the layer's.
        dtype: of the sums.
    """

    def __init__(self, gates: Gates, dtype: torch.dtype) -> None:
        self.gates, self.dtype = gates, dtype
        self.d_bias = torch.zeros(4 * gates.hidden, dtype=dtype)
        products = products_win() and gates.dtype == dtype
        make = ByProducts if products else ByConvolutions
        self.d_input, self.d_both = make(gates.w_input, dtype), make(gates.w_both, dtype)

    def add(self, seen: Tensor, d_gates: Tensor, *, first: bool) -> None:
        """Add what one step of some images gives.

        Args:
            seen: (B, y + 2 pad, x + 2 pad, inputs + hidden).
            d_gates: (B, y, x, 4 hidden).
            first: the state is zero.
        """
        self.d_bias += d_gates.sum(dim=(0, 1, 2), dtype=self.dtype)
        if first:
            self.d_input.add(seen[..., : self.gates.inputs], d_gates)
        else:
            self.d_both.add(seen, d_gates)

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of w_input, w_state and bias."""
        inputs = self.gates.inputs
        both = self.d_both.total()
        return self.d_input.total() + both[:, :inputs], both[:, inputs:], self.d_bias


class ByConvolutions:
    """The library's own gradient of a convolution's weights.

    Args:
        weight: (outputs, inputs, k, k), in which dtype images come.
        dtype: of the sum.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.weight = weight
        self.sum = torch.zeros_like(weight, dtype=dtype)

    def add(self, seen: Tensor, d_gates: Tensor) -> None:
        """Add some images; see WeightGradients.add."""
        found = torch.ops.aten.convolution_backward(
            d_gates.permute(0, 3, 1, 2),
            seen.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
            self.weight,
            None,
            stride=[1, 1],
            padding=[0, 0],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=1,
            output_mask=[False, True, False],
        )
        self.sum += found[1]

    def total(self) -> Tensor:
        """(outputs, inputs, k, k)."""
        return self.sum


class ByProducts:
    """The same as products of matrices, one for each row of the kernel; arguments likewise."""

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        outputs, inputs, side, _ = weight.shape
        self.sums = torch.zeros(side, side * inputs, outputs, dtype=dtype)
        self.shifted: Tensor | None = None

    def add(self, seen: Tensor, d_gates: Tensor) -> None:
        """Add some images; see WeightGradients.add."""
        side = len(self.sums)
        _, high, wide, inputs = seen.shape
        if self.shifted is None:
            self.shifted = seen.new_empty(high, wide - side + 1, side, inputs)
        for image, d_image in zip(seen, d_gates, strict=True):
            # A row of it holds what the pixels below see of one row of the raster.
            down, across, channel = image.stride()
            strides = (down, across, across, channel)
            self.shifted.copy_(
                image.as_strided(self.shifted.shape, strides, image.storage_offset())
            )
            flat = d_image.view(-1, d_image.shape[2])
            for row in range(side):
                pixels = self.shifted[row : row + len(d_image)].view(len(flat), -1)
                self.sums[row].addmm_(pixels.t(), flat)

    def total(self) -> Tensor:
        """(outputs, inputs, k, k)."""
        side, _, outputs = self.sums.shape
        return self.sums.view(side, side, -1, outputs).permute(3, 2, 0, 1)


@cache
def products_win() -> bool:
    """Whether matrix products make weight gradients faster than the library's convolutions.

    It is a property of the processor and never measured, so that a run ends with the same bits
    as another. With AVX2 they take two thirds of the time; elsewhere the library decides.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class Steps:
    """A layer's states one step after another, without gradients and without a past.

    Args:
        gates: the layer's.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = gates
        self.seen: Tensor | None = None

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """(B, hidden, y, x) the state after one more step."""
        gates, own = self.gates, x_BCHW.dtype
        first = self.seen is None
        if self.seen is None:
            images, _, height, width = x_BCHW.shape
            self.seen = gates.empty_seen(x_BCHW, images)
            shape = (2, images, height, width, gates.hidden)
            self.cells = torch.empty(shape, dtype=own)
            self.now = 0
        inside = gates.inside(self.seen)
        inside[..., : gates.inputs] = x_BCHW.permute(0, 2, 3, 1)
        before, after = self.cells[self.now], self.cells[1 - self.now]
        state = torch.empty_like(after)
        for group in gates.groups(x_BCHW):
            z = gates.at(self.seen[group], first=first, dtype=own)
            made = after[group], state[group]
            cell.spread(cell.forward, z, before[group], *made, first=first)
        inside[..., gates.inputs :] = state
        self.now = 1 - self.now
        return state.permute(0, 3, 1, 2)
