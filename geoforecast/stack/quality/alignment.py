"""Do the scenes lie on each other? Shifts by correlation against the temporal median.

Each judged step is compared with the temporal median of the *other* judged steps in a few
full-resolution windows. What is correlated are image gradients with their size compressed,
which is phase correlation's whitening done in the pixel domain, where invalid pixels can be
left out: a spectrum cannot. A shift counts only if many small parts of the windows find it
independently, which still scenes do and moving or smooth fields do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.raster.grid import Tile

STANDARD_PX = 0.5  # RMS over the reliable steps
MOVED_PX = 1.0  # a single step beyond this is named
REACH_PX = 8  # shifts are looked for up to here
HALO_PX = REACH_PX + 2
PART_PX = 64
SMALLEST_PART_PX = 12
FEWEST_PARTS = 4
FINE = 20  # places a pixel at which the joint peak is looked for
AGREEING_PX = 1.0
LEAST_AGREEMENT = 0.5
LARGEST_ERROR_PX = 0.25
LEAST_CORRELATION = 0.25  # weather fields with a fixed sampling pattern reach 0.19
LEAST_SHARPNESS = 0.1  # sea surface temperature reaches 0.08, reflectance 0.5
LEAST_RELIABLE = 0.5

PASS, FAIL, UNJUDGED = "pass", "fail", "cannot be judged"

Complex = NDArray[np.complex64]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Shift:
    """Where a step's content lies relative to the other steps.

    Attributes:
        step: its number.
        dy, dx: rows down and columns right, pixels; NaN if nothing could be compared.
        error_px: standard error of both, from the scatter of the parts.
        agreement: share of the parts that find the shift within AGREEING_PX.
        correlation: of the gradients at the shift, 0 to 1.
        sharpness: by how much the correlation falls within one pixel, 0 to 1; a smooth field
            fits nearly as well a pixel off.
        reliable: whether the shift counts.
    """

    step: int
    dy: float
    dx: float
    error_px: float
    agreement: float
    correlation: float
    sharpness: float
    reliable: bool

    @property
    def length_px(self) -> float:
        return float(np.hypot(self.dy, self.dx))


@dataclass(frozen=True)
class Alignment:
    """The verdict on a cube.

    Attributes:
        verdict: PASS, FAIL or UNJUDGED.
        reason: why, in a sentence.
        rms_px: root mean square length of the reliable shifts; NaN without any.
        band: the band that was compared.
        windows: (row0, row1, col0, col1) of each.
        shifts: of the judged steps.
        moved: reliable steps further off than MOVED_PX.
    """

    verdict: str
    reason: str
    rms_px: float
    band: str
    windows: tuple[tuple[int, int, int, int], ...]
    shifts: tuple[Shift, ...]
    moved: tuple[int, ...]

    @property
    def reliable(self) -> int:
        return sum(shift.reliable for shift in self.shifts)


def measure_alignment(
    cube: Cube, band: int, windows: Sequence[Tile], steps: Sequence[int]
) -> Alignment:
    """Shifts of steps against the temporal median of the others, and what they amount to.

    Args:
        cube: what is judged.
        band: the band to compare.
        windows: of one shape, at full resolution; see look.py.
        steps: those to judge, ascending.
    """
    places = tuple((w.row0, w.row1, w.col0, w.col1) for w in windows)
    parts = _part_shape(windows[0].shape) if windows else (0, 0)
    if len(steps) < 2 or min(parts) < SMALLEST_PART_PX:
        why = (
            "Fewer than two steps have enough valid pixels"
            if len(steps) < 2
            else "The raster is too small"
        )
        return Alignment(UNJUDGED, f"{why}.", np.nan, cube.bands[band], places, (), ())
    series = [_series(cube, band, window, steps) for window in windows]
    # Step by step: the spectra of all steps together would take several times the series.
    shifts = tuple(
        _shift(step, [_look(*pair(number), parts) for pair in series])
        for number, step in enumerate(steps)
    )
    return _verdict(cube, band, places, shifts)


def _verdict(
    cube: Cube,
    band: int,
    places: tuple[tuple[int, int, int, int], ...],
    shifts: tuple[Shift, ...],
) -> Alignment:
    good = [shift for shift in shifts if shift.reliable]
    rms = float(np.sqrt(np.mean([s.length_px**2 for s in good]))) if good else np.nan
    moved = tuple(s.step for s in good if s.length_px > MOVED_PX)
    share = f"{len(good)} of {len(shifts)} compared steps"
    if len(good) < max(2, LEAST_RELIABLE * len(shifts)):
        seen = [shift.sharpness for shift in shifts if not np.isnan(shift.dy)]
        smooth = bool(seen) and np.median(seen) < LEAST_SHARPNESS
        why = (
            "the field is too smooth to tell half a pixel"
            if smooth
            else "too little texture stays in place from step to step"
        )
        some = f"Only {share}" if good else f"None of {len(shifts)} compared steps"
        reason = f"{some} can be placed: {why}."
        return Alignment(UNJUDGED, reason, rms, cube.bands[band], places, shifts, moved)
    verdict = PASS if rms < STANDARD_PX else FAIL
    reason = f"RMS shift {rms:.2f} px over {share}; the standard is below {STANDARD_PX:g} px."
    return Alignment(verdict, reason, rms, cube.bands[band], places, shifts, moved)


@dataclass(frozen=True)
class _Look:
    """One step in one window: (part, y, x) cross spectra and surfaces, (part,) energies."""

    spectra: Complex
    surfaces: Float
    reference_energy: Float
    step_energy: Float


def _series(
    cube: Cube, band: int, window: Tile, steps: Sequence[int]
) -> Callable[[int], tuple[Complex, Complex]]:
    """What gives the gradients of the n-th step in a window, and of what it is compared with."""
    values = _read_band(cube, band, window, steps)
    if cube.kind == "categorical":
        edges = [_boundaries(scene) for scene in values]
        total = np.sum([np.nan_to_num(edge) for edge in edges], axis=0)
        times = np.sum([np.isfinite(edge) for edge in edges], axis=0)

        def boundaries(number: int) -> tuple[Complex, Complex]:
            edge = edges[number]
            others = times - np.isfinite(edge)
            mean = (total - np.nan_to_num(edge)) / np.maximum(others, 1)
            step, reference = edge - np.nanmean(edge), mean - mean.mean()
            return step.astype(np.complex64), reference.astype(np.complex64)

        return boundaries
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(axis=0)

    def gradients(number: int) -> tuple[Complex, Complex]:
        scene = values[number]
        return _gradient(scene), _gradient(_median_of_others(ordered, count, scene))

    return gradients


def _read_band(cube: Cube, band: int, window: Tile, steps: Sequence[int]) -> Float:
    """(step, y, x) of the given steps, NaN where invalid; each chunk is decoded once."""
    result = np.empty((len(steps), *window.shape), np.float32)
    blocks: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        blocks.setdefault(step // CHUNK_STEPS, []).append(number)
    for numbers in blocks.values():
        first, last = steps[numbers[0]], steps[numbers[-1]]
        values, valid = cube.read(first, last + 1, window)
        for number in numbers:
            at = steps[number] - first
            result[number] = np.where(valid[at, band], values[at, band], np.nan)
    return result


def _median_of_others(ordered: Float, count: NDArray[np.int64], scene: Float) -> Float:
    """Median over time at each pixel without the scene itself, which would pull it to 0.

    Args:
        ordered: (step, y, x) sorted over time, NaN last.
        count: (y, x) values that are not NaN.
        scene: (y, x), one of the steps.
    """
    seen = np.isfinite(scene)
    left = count - seen

    def pick(k: NDArray[np.int64]) -> Float:
        k = np.maximum(k, 0)
        here = np.take_along_axis(ordered, k[None], 0)[0]
        after = np.take_along_axis(ordered, np.minimum(k + 1, len(ordered) - 1)[None], 0)[0]
        # Without the scene, all from its own place on move down by one.
        return np.asarray(np.where(seen & (here >= scene), after, here), np.float32)

    middle = (pick((left - 1) // 2) + pick(left // 2)) / 2
    return np.where(left > 0, middle, np.float32(np.nan)).astype(np.float32)


def _gradient(scene: Float) -> Complex:
    """Central differences as x + iy, their size compressed; NaN next to invalid pixels."""
    result = np.full(scene.shape, np.nan, np.complex64)
    inner = result[1:-1, 1:-1]
    inner.real = scene[1:-1, 2:] - scene[1:-1, :-2]
    inner.imag = scene[2:, 1:-1] - scene[:-2, 1:-1]
    inner[np.isnan(scene[1:-1, 1:-1])] = np.nan
    size = np.abs(result)
    usual = size[size > 0]
    if usual.size == 0:
        return result
    # Strong edges (clouds, shores) count no more than a few usual ones together.
    result *= 1 / (size + np.float32(np.median(usual)))
    return result


def _boundaries(scene: Float) -> Complex:
    """Where a class differs from its neighbours: right and left as x, down and up as iy."""
    result = np.full(scene.shape, np.nan, np.complex64)
    inner = result[1:-1, 1:-1]
    inner.real = scene[1:-1, 2:] != scene[1:-1, :-2]
    inner.imag = scene[2:, 1:-1] != scene[:-2, 1:-1]
    bad = np.isnan(scene)
    around = bad[1:-1, 2:] | bad[1:-1, :-2] | bad[2:, 1:-1] | bad[:-2, 1:-1] | bad[1:-1, 1:-1]
    inner[around] = np.nan
    return result


def _part_shape(window: tuple[int, int]) -> tuple[int, int]:
    """Parts of PART_PX, or of a fraction of a small window."""

    def side(length: int) -> int:
        if length >= 2 * PART_PX:
            return PART_PX
        return length // max(1, min(4, length // SMALLEST_PART_PX))

    return side(window[0]), side(window[1])


def _look(step: Complex, reference: Complex, part: tuple[int, int]) -> _Look:
    """Correlate each part of the reference with the step around it."""
    height, width = part
    both = np.isfinite(step) & np.isfinite(reference)
    template = np.where(both, reference, 0)
    padded = np.pad(np.where(np.isfinite(step), step, 0), HALO_PX)
    size, axes = [n + 2 * HALO_PX for n in part], (-2, -1)
    corners = [
        (row, col)
        for row in range(0, step.shape[0] - height + 1, height)
        for col in range(0, step.shape[1] - width + 1, width)
    ]
    cut = np.stack([template[r : r + height, c : c + width] for r, c in corners])
    wide = np.stack(
        [padded[r : r + height + 2 * HALO_PX, c : c + width + 2 * HALO_PX] for r, c in corners]
    )
    same = np.where(both, step, 0)
    own = np.stack([same[r : r + height, c : c + width] for r, c in corners])
    # The template stands at the patch's corner, so displacement 0 comes out at HALO_PX.
    product = np.conj(np.fft.fft2(cut, size, axes)) * np.fft.fft2(wide, size, axes)
    spectra = np.asarray(product, np.complex64)  # no copy: only the types say complex128
    reach = 2 * HALO_PX + 1
    surfaces = np.asarray(np.fft.ifft2(spectra).real[:, :reach, :reach], np.float32)
    return _Look(spectra, surfaces, (np.abs(cut) ** 2).sum((1, 2)), (np.abs(own) ** 2).sum((1, 2)))


def _shift(step: int, looks: Sequence[_Look]) -> Shift:
    """The shift that fits all windows, and how far their parts agree with it."""
    surfaces = np.concatenate([look.surfaces for look in looks])
    energy = np.concatenate([look.reference_energy for look in looks])
    own = np.concatenate([look.step_energy for look in looks])
    used = energy > 0.05 * energy.max(initial=0)
    used &= own > 0
    if used.sum() < FEWEST_PARTS:
        return Shift(step, np.nan, np.nan, np.nan, 0.0, 0.0, 0.0, False)
    joint = surfaces[used].sum(axis=0)
    rough = _peak(joint)
    spectrum = np.sum([look.spectra.sum(axis=0) for look in looks], axis=0)
    place, height = _fine_peak(spectrum, rough)
    found = np.array([_parabola(surface) for surface in surfaces[used]])
    off = np.hypot(*(found - place).T)
    weight = np.sqrt(energy[used])
    agreement = float((weight * (off <= AGREEING_PX)).sum() / weight.sum())
    spread = 1.4826 * np.median(np.abs(found - place), axis=0)
    error = float(np.hypot(*spread) / np.sqrt(used.sum()))
    correlation = height / float(np.sqrt(energy[used].sum() * own[used].sum()))
    sharpness = _sharpness(joint, rough)
    reliable = (
        agreement >= LEAST_AGREEMENT
        and error <= LARGEST_ERROR_PX
        and correlation >= LEAST_CORRELATION
        and sharpness >= LEAST_SHARPNESS
    )
    dy, dx = (float(v) for v in place - HALO_PX)
    return Shift(step, dy, dx, error, agreement, correlation, sharpness, reliable)


def _peak(surface: Float) -> NDArray[np.int64]:
    """Row and column of the highest place within REACH_PX."""
    edge = HALO_PX - REACH_PX
    inner = surface[edge:-edge, edge:-edge]
    return np.array(np.unravel_index(np.argmax(inner), inner.shape)) + edge


def _sharpness(surface: Float, at: NDArray[np.int64]) -> float:
    """How far a surface falls from its peak to the four neighbours, relative to the peak."""
    row, col = at
    peak = float(surface[row, col])
    if peak <= 0:
        return 0.0
    near = surface[[row - 1, row + 1, row, row], [col, col, col - 1, col + 1]]
    return 1 - float(near.mean()) / peak


def _parabola(surface: Float) -> NDArray[np.float64]:
    """The highest place, between pixels by a parabola through its neighbours on each axis."""
    row, col = _peak(surface)
    result = []
    for before, here, after, at in (
        (surface[row - 1, col], surface[row, col], surface[row + 1, col], row),
        (surface[row, col - 1], surface[row, col], surface[row, col + 1], col),
    ):
        bend = before - 2 * here + after
        result.append(at + (0.5 * (before - after) / bend if bend < 0 else 0.0))
    return np.array(result, np.float64)


def _fine_peak(spectrum: Complex, rough: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Peak and its height from the spectrum itself, evaluated every 1 / FINE pixel.

    Source:
        Guizar-Sicairos et al. (2008), Optics Letters 33, 156: upsampling by a matrix DFT.
    """
    offsets = np.arange(-FINE, FINE + 1) / FINE
    rows, cols = rough[0] + offsets, rough[1] + offsets
    waves = [
        np.exp(2j * np.pi * np.outer(at, np.fft.fftfreq(n)))
        for at, n in zip((rows, cols), spectrum.shape, strict=True)
    ]
    # Not as a matrix product: BLAS would wake its threads, which then wait busily.
    half = np.einsum("ij,jk->ik", waves[0], spectrum)
    surface = np.einsum("ik,lk->il", half, waves[1]).real / spectrum.size
    row, col = np.unravel_index(np.argmax(surface), surface.shape)
    return np.array([rows[row], cols[col]]), float(surface[row, col])
