"""The workloads: shapes of one batch of a two-layer ConvLSTM, and seeded numbers to feed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KERNEL = 3
LAYERS = 2


@dataclass(frozen=True)
class Workload:
    """One batch.

    Attributes:
        name: for the tables.
        batch, steps, channels, height, width: of the input; as many channels are forecast.
        hidden: channels of each of the two layers.
    """

    name: str
    batch: int
    steps: int
    channels: int
    height: int
    width: int
    hidden: int

    def describe(self) -> str:
        """The shapes in words."""
        return (
            f"B{self.batch} T{self.steps} C{self.channels} {self.height}x{self.width}, "
            f"{LAYERS} x {self.hidden}"
        )

    def flops(self) -> float:
        """Multiplications and additions of the gates' convolutions of one forward pass."""
        seen = self.channels + self.hidden + (LAYERS - 1) * 2 * self.hidden
        weights = 4 * self.hidden * seen * KERNEL**2
        return 2.0 * weights * self.batch * self.steps * self.height * self.width

    def numbers(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inputs (batch, step, y, x, channel) and targets (batch, y, x, channel)."""
        rng = np.random.default_rng(0)
        image = (self.height, self.width, self.channels)
        x = rng.standard_normal((self.batch, self.steps, *image), dtype=np.float32)
        y = rng.standard_normal((self.batch, *image), dtype=np.float32)
        return x, y


WORKLOADS = {
    one.name: one
    for one in (
        Workload("crime-grid", 4, 6, 6, 77, 59, 32),
        Workload("large", 4, 10, 4, 128, 128, 64),
    )
}
