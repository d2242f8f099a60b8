"""What a training saves: the state it goes on from (last.pt, and the one before), the checkpoint.

Each file ends with a checksum of all that comes before it: PyTorch reads a file in which bits
have changed without noticing. What is damaged never takes the place of what is whole.
"""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from geoforecast.errors import RunError
from geoforecast.models.checkpoint import Checkpoint, save_checkpoint
from geoforecast.project import replacing

log = logging.getLogger(__name__)

LAST = "last.pt"
BEFORE = "before.pt"
SEAL_BYTES = hashlib.sha256().digest_size


def has_begun(folder: Path) -> bool:
    """Whether a training in this folder has saved anything to go on from."""
    return (folder / LAST).exists() or (folder / BEFORE).exists()


def save_last(folder: Path, state: dict[str, Any]) -> None:
    """Save a state; the one that was last is kept as the one before.

    Args:
        folder: the run's, or a member's.
        state: tensors and plain values.
    Raises:
        OSError: it cannot be written; what was there is kept.
    """
    stream = io.BytesIO()
    torch.save(state, stream)
    body = stream.getvalue()
    last = folder / LAST
    with replacing(last) as temporary:
        temporary.write_bytes(body + _seal(body))
        # Killed between the two renames, the one before is the newest whole one.
        if last.exists():
            last.replace(folder / BEFORE)


def read_last(folder: Path) -> bytes:
    """The newest whole state as torch.save wrote it; b"" if there is none.

    A damaged one is warned of and removed.

    Raises:
        OSError: a file is there but the system will not read it.
    """
    for name in (LAST, BEFORE):
        path = folder / name
        if not path.exists():
            continue
        content = path.read_bytes()
        body = content[:-SEAL_BYTES]
        if body and _seal(body) == content[-SEAL_BYTES:]:
            if name == BEFORE:
                path.replace(folder / LAST)
            return body
        left = name == LAST and (folder / BEFORE).exists()
        after = f"going on from {BEFORE}" if left else "training begins again"
        log.warning("%s is damaged (%d bytes); %s", path, len(content), after)
        path.unlink()
    return b""


def as_state(body: bytes, device: torch.device) -> dict[str, Any]:
    """The state that `read_last` read, with tensors on a device."""
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location=device, weights_only=True)
    return state


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, weights: dict[str, torch.Tensor]
) -> None:
    """Save what came of a training; see models.checkpoint.

    Raises:
        RunError: it cannot be written; running again goes on from the last epoch.
    """
    try:
        save_checkpoint(folder, checkpoint, weights)
    except SafetensorError as error:  # which hides what the system said in its text
        raise RunError(
            f"The checkpoint cannot be written: {error}.",
            where=str(folder),
            remedy="Free some space, then run the same command again.",
        ) from error


def _seal(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
