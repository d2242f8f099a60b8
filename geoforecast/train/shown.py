"""What a training shows while it runs: a bar, speed.csv, and TensorBoard where it is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from geoforecast.errors import SettingsError
from geoforecast.settings import TrainSettings
from geoforecast.train.speed import Speed, note_speed

BOARD = "tensorboard"


class Shown:
    """How far one training is. Nothing here decides a result.

    Args:
        folder: of the training.
        settings: whether TensorBoard is wanted.
        first: whether this process speaks for all that train together.
    """

    def __init__(self, folder: Path, settings: TrainSettings, first: bool) -> None:
        self.folder, self.first = folder, first
        self.board = settings.tensorboard and first
        self._bar: Any = None
        self._writer: Any = None

    @contextlib.contextmanager
    def bar(self, name: str, epoch: int, epochs: int) -> Iterator[None]:
        """While inside, epochs are shown; off a terminal there is no bar.

        Args:
            name: of what is done.
            epoch: how many are done already.
            epochs: how many there will be at most.
        """
        if self.board:
            # A run that was killed may have told of epochs that it does again: they are taken back.
            self._writer = board_writer()(str(self.folder / BOARD), purge_step=epoch + 1)
        hidden = None if self.first else True
        with tqdm(
            total=epochs, initial=epoch, desc=name, unit="epoch", disable=hidden
        ) as self._bar:
            try:
                yield
            finally:
                if self._writer:
                    self._writer.close()

    def epoch(self, row: dict[str, Any], speed: Speed | None) -> None:
        """One epoch more.

        Args:
            row: of its log; its loss, and its skill where it was scored.
            speed: as it was measured.
        """
        figures = {"loss": f"{row['loss']:.3f}"}
        if "skill" in row:
            figures["skill"] = f"{100 * row['skill']:.1f} %"
        if speed and self.first:
            figures["samples/s"] = f"{speed.samples_per_s:.3g}"
            note_speed(self.folder, speed)
        self._bar.update()
        self._bar.set_postfix(figures)
        if self._writer:
            told = {name: value for name, value in row.items() if name != "epoch"}
            for name, value in told.items():
                self._writer.add_scalar(f"training/{name}", value, row["epoch"])
            if speed:
                for name in ("seconds", "samples_per_s", "peak_mib", "device_mib"):
                    self._writer.add_scalar(f"speed/{name}", getattr(speed, name), row["epoch"])
            self._writer.flush()


def board_writer() -> Any:
    """The class that writes TensorBoard's event files.

    Raises:
        SettingsError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            "--tensorboard needs a package that is not installed.",
            where=str(error),
            remedy="Install it: pip install 'geoforecast[tensorboard]'.",
        ) from error
    return SummaryWriter
