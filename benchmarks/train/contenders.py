"""Who runs: each makes the same model, and can train it by one batch or forecast one.

The model is two ConvLSTM layers and a 1x1 convolution of the last state, the loss the mean
squared error, the optimiser Adam: the same arithmetic for everybody. Nobody compiles: Keras runs
its graph with XLA off, which is its fastest way on a CPU.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from workloads import KERNEL, LAYERS, Workload

RATE = 1e-3


class Contender(ABC):
    """A model and a batch for it.

    Args:
        workload: the shapes.
        threads: that it may use.
    """

    @abstractmethod
    def __init__(self, workload: Workload, threads: int) -> None: ...

    @abstractmethod
    def train(self) -> float:
        """One step of the optimiser on the batch; the loss."""

    @abstractmethod
    def infer(self) -> None:
        """One forecast of the batch."""


class _Torch(Contender):
    """What the contenders in torch share."""

    def __init__(self, workload: Workload, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        x, y = workload.numbers()
        self.x_BTCHW = torch.from_numpy(x).permute(0, 1, 4, 2, 3).contiguous()
        self.y_BCHW = torch.from_numpy(y).permute(0, 3, 1, 2).contiguous()
        self.model = self.build(workload)
        self.optimiser = torch.optim.Adam(self.model.parameters(), RATE)

    @abstractmethod
    def build(self, workload: Workload) -> Any:
        """The model: (B, T, C, y, x) to (B, C, y, x)."""

    def train(self) -> float:
        import torch

        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(self.model(self.x_BTCHW), self.y_BCHW)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def infer(self) -> None:
        import torch

        with torch.inference_mode():
            self.model(self.x_BTCHW)


class Plain(_Torch):
    """PyTorch as it is usually written: one convolution of input and state beside each other.

    Source:
        The form of ndrplz/ConvLSTM_pytorch and OpenSTL's cell, written anew.
    """

    def build(self, workload: Workload) -> Any:
        import torch
        from torch import nn

        class Cell(nn.Module):
            def __init__(self, inputs: int, hidden: int) -> None:
                super().__init__()
                self.hidden = hidden
                self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, KERNEL, padding=KERNEL // 2)

            def forward(self, x_BTCHW: torch.Tensor) -> torch.Tensor:
                batch, steps, _, height, width = x_BTCHW.shape
                hidden = x_BTCHW.new_zeros(batch, self.hidden, height, width)
                cell = torch.zeros_like(hidden)
                states = []
                for step in range(steps):
                    gates = self.conv(torch.cat([x_BTCHW[:, step], hidden], dim=1))
                    i, f, o, g = torch.split(gates, self.hidden, dim=1)
                    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                    hidden = torch.sigmoid(o) * torch.tanh(cell)
                    states.append(hidden)
                return torch.stack(states, dim=1)

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                widths = [workload.channels, *[workload.hidden] * LAYERS]
                self.cells = nn.ModuleList(
                    Cell(widths[index], workload.hidden) for index in range(LAYERS)
                )
                self.head = nn.Conv2d(workload.hidden, workload.channels, 1)

            def forward(self, x_BTCHW: torch.Tensor) -> torch.Tensor:
                for cell in self.cells:
                    x_BTCHW = cell(x_BTCHW)
                forecast: torch.Tensor = self.head(x_BTCHW[:, -1])
                return forecast

        return Model()


class Ours(_Torch):
    """geoforecast's layer, in float32."""

    precision = "fp32"

    def build(self, workload: Workload) -> Any:
        import torch
        from torch import nn

        from geoforecast.models import PRECISIONS
        from geoforecast.models.convlstm import ConvLSTMLayer
        from geoforecast.system import keep_heap

        keep_heap()  # as training does

        precision = self.precision

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                widths = [workload.channels, *[workload.hidden] * LAYERS]
                self.layers = nn.ModuleList(
                    ConvLSTMLayer(
                        widths[index],
                        workload.hidden,
                        KERNEL,
                        peepholes=False,
                        convolved=PRECISIONS[precision],
                    )
                    for index in range(LAYERS)
                )
                self.head = nn.Conv2d(workload.hidden, workload.channels, 1)

            def forward(self, x_BTCHW: torch.Tensor) -> torch.Tensor:
                states = x_BTCHW.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
                if torch.is_grad_enabled():
                    for layer in self.layers:
                        states = layer(states)
                    last = states[-1]
                else:
                    layers = [layer.steps() for layer in self.layers]  # type: ignore[operator]
                    for last in states:
                        for step in layers:
                            last = step(last)
                forecast: torch.Tensor = self.head(last)
                return forecast

        return Model()

    def train(self) -> float:
        import torch

        from geoforecast.train.pieces import pieces

        # In pieces, as training does it, so that the memory is that of a piece.
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for piece in pieces(self.model, tuple(self.x_BTCHW.shape)):
            forecast, truth = self.model(self.x_BTCHW[piece]), self.y_BCHW[piece]
            squares = torch.nn.functional.mse_loss(forecast, truth, reduction="sum")
            loss = squares / self.y_BCHW.numel()
            loss.backward()
            total += float(loss.detach())
        self.optimiser.step()
        return total


class OursBf16(Ours):
    """geoforecast's layer: convolutions in bfloat16, cells in float32."""

    precision = "bf16"


class PlainBf16(Plain):
    """The usual PyTorch under automatic mixed precision."""

    def train(self) -> float:
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            forecast = self.model(self.x_BTCHW)
        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(forecast.float(), self.y_BCHW)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def infer(self) -> None:
        import torch

        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            self.model(self.x_BTCHW)


class Keras(Contender):
    """Keras' ConvLSTM2D on TensorFlow."""

    def __init__(self, workload: Workload, threads: int) -> None:
        os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        keras.utils.set_random_seed(0)
        x, y = workload.numbers()
        self.x, self.y = tf.constant(x), tf.constant(y)
        layers = [keras.Input((None, workload.height, workload.width, workload.channels))]
        layers += [
            keras.layers.ConvLSTM2D(
                workload.hidden,
                KERNEL,
                padding="same",
                recurrent_activation="sigmoid",
                return_sequences=layer < LAYERS - 1,
            )
            for layer in range(LAYERS)
        ]
        layers.append(keras.layers.Conv2D(workload.channels, 1))
        self.model = keras.Sequential(layers)
        self.model.compile(keras.optimizers.Adam(RATE), "mse", jit_compile=False)
        self.forecast = tf.function(lambda x: self.model(x, training=False), jit_compile=False)

    def train(self) -> float:
        return float(self.model.train_on_batch(self.x, self.y))

    def infer(self) -> None:
        self.forecast(self.x).numpy()


CONTENDERS: dict[str, Callable[[Workload, int], Contender]] = {
    "ours": Ours,
    "ours bf16": OursBf16,
    "plain": Plain,
    "plain bf16": PlainBf16,
    "keras": Keras,
}
