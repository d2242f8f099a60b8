"""Several processes that train one model together, as torchrun starts them.

Every process draws the same batches from the same seeds and learns from its share of the
samples. What a loss divides by is counted over the whole batch, and gradients are added up, so
shares need not be even. The corrections are put together for the log.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

from geoforecast.errors import RunError, SettingsError
from geoforecast.system import Launch, launched
from geoforecast.train.stop import Stop

# The others wait while the first one scores, saves and fits: minutes, on a large raster.
TIMEOUT = dt.timedelta(minutes=30)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of one training, seen from one of them.

    Attributes:
        launch: how it was started.
        device: where tensors live.
        stop: what tells a process that is told to end from one whose peers have.
    """

    launch: Launch
    device: torch.device
    stop: Stop

    @property
    def first(self) -> bool:
        """Whether this one writes, logs and scores."""
        return self.launch.rank == 0

    @property
    def alone(self) -> bool:
        return self.launch.size == 1

    def share(self, samples: int) -> slice:
        """Which samples of a batch are this process's: shares differ by one at most."""
        rank, size = self.launch.rank, self.launch.size
        return slice(samples * rank // size, samples * (rank + 1) // size)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes; the others wait for it and get a copy."""
        if self.alone:
            return make()
        box: list[Any] = [make() if self.first else None]
        with self._reaching():
            distributed.broadcast_object_list(box, src=0)
        result: T = box[0]
        return result

    def wait(self) -> None:
        """Go on once all processes are here."""
        self.any(False)

    def any(self, mine: bool) -> bool:
        """Whether it is so for any process."""
        if self.alone:
            return mine
        votes = torch.tensor([float(mine)], device=self.device)
        self._add_up(votes)
        return bool(votes.item())

    def check(self, stop: Stop, saved: str) -> None:
        """Stop.check, for all processes at the same step.

        Raises:
            InterruptedRunError: it is time for one of them to stop.
        """
        if self.any(stop.due()):
            # Once more: who leaves at once may break off what tells the others. Who fails here
            # has been told.
            with contextlib.suppress(RunError):
                self.wait()
            stop.leave(saved)

    def together(self, mine: Sequence[torch.Tensor], shape: torch.Size) -> torch.Tensor:
        """What all processes have of a batch, in the order of its samples.

        Args:
            mine: this process's share, in pieces.
            shape: of the whole.
        """
        if self.alone:
            return torch.cat(list(mine))
        whole = torch.zeros(shape, device=self.device)
        if mine:
            whole[self.share(shape[0])] = torch.cat(list(mine))
        self._add_up(whole)
        return whole

    def sum(self, mine: torch.Tensor) -> float:
        """The sum of a number over all processes."""
        if not self.alone:
            self._add_up(mine)
        return float(mine)

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """The sum over all processes as each one's gradients; None where nobody has any."""
        if self.alone:
            return
        kept = list(parameters)
        # One message for all. The last numbers tell who has a gradient at all: a parameter
        # without one must not be moved by weight decay alone.
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in kept]
        there = torch.tensor([float(p.grad is not None) for p in kept], device=parts[0].device)
        flat = torch.cat([*(part.reshape(-1) for part in parts), there])
        self._add_up(flat)
        sums = flat.split([*(part.numel() for part in parts), len(kept)])
        for parameter, total, known in zip(kept, sums, sums[-1].tolist(), strict=False):
            parameter.grad = total.view_as(parameter).clone() if known else None

    def _add_up(self, numbers: torch.Tensor) -> None:
        with self._reaching():
            distributed.all_reduce(numbers)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the loss of a peer into an error that says so, or into the stop that it was."""
        try:
            yield
        except RuntimeError as error:
            self.stop.check("what was complete is kept")
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                "Another process of this training has ended or cannot be reached.",
                where=reason[:200],
                remedy="See what that one says, then run the same command again to go on.",
            ) from error


ALONE = Ranks(Launch(), torch.device("cpu"), Stop(lambda: False, None))


@contextlib.contextmanager
def joined(device: torch.device, stop: Stop) -> Iterator[Ranks]:
    """The processes that torchrun started together with this one; just this one without it.

    Args:
        device: where tensors live; it decides how they travel.
        stop: see Ranks.
    Raises:
        RunError: the processes do not find each other.
    """
    launch = launched()
    if launch.size == 1:
        yield Ranks(launch, device, stop)
        return
    try:
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=launch.rank,
            world_size=launch.size,
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        stop.check()
        raise RunError(
            f"Process {launch.rank} of {launch.size} does not find the others.",
            where=str(error).splitlines()[0][:200],
            remedy="Check MASTER_ADDR and MASTER_PORT, which torchrun sets.",
        ) from error
    ranks = Ranks(launch, device, stop)
    yield ranks
    ranks.wait()  # the store that they meet at ends with the first one
    distributed.destroy_process_group()


def without_batch_norm(model: torch.nn.Module, ranks: Ranks) -> None:
    """Refuse a model whose samples see each other within a batch.

    Raises:
        SettingsError: it normalises by batches, and no process sees a whole one.
    """
    normed = (torch.nn.modules.batchnorm._BatchNorm,)
    if not ranks.alone and any(isinstance(part, normed) for part in model.modules()):
        raise SettingsError(
            f"The model normalises by batches, of which each of {ranks.launch.size} processes "
            "sees a part only: the result would be another.",
            remedy="Train it in one process, without torchrun, or choose another --model.",
        )
