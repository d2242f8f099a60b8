"""Benchmark `geoforecast predict`: exact-halo tiles against the usual ways, and memory.

    make bench-predict [PREDICT_EDGE=4096] [REPEATS=3]

The model part: two ConvLSTM layers and a head on six steps of four bands, the same weights for
all, one process, THREADS threads. Ours runs on the product's blocks with their exact halo;
PyTorch as it is usually written runs on the whole image, and on tiles that overlap by half and are
blended. Where the whole image takes more than 4 GiB that way, its rate is that of the largest
one that fits. Contenders take turns within a repeat; the median of the ratios within repeats is
printed, beside how far each result is from the whole image's.

The whole predict: a project made by the product from seeded scenes, of EDGE and of twice EDGE
pixels a side; pixels a second of the command from start to end, and its largest memory (VmHWM);
and what that would be at FAR pixels a side, if it went on growing with the raster as between the
two.
All figures go to OUT/results.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "stack"))

from measure import run_measured  # noqa: E402
from plain_model import PlainModel, blended, largest_side, whole  # noqa: E402
from predict_project import BANDS, command, make_project, train  # noqa: E402

from geoforecast.forecast.correction import BLOCK_PX  # noqa: E402
from geoforecast.forecast.device import run_model, without_denormals  # noqa: E402
from geoforecast.models import ModelConfig, build_model  # noqa: E402
from geoforecast.raster.grid import Tile  # noqa: E402

Array = NDArray[np.float32]
STEPS = 6
WHOLE_BYTES = 4 * 2**30
MODEL_EDGE = 2048  # rates do not change beyond; the arrays of a model part grow
OURS, WHOLE, BLEND = "exact-halo tiles", "whole image", "50 % overlap, blended"


def tiled(model: torch.nn.Module, x_TCHW: Array) -> Array:
    """(band, y, x) on the product's blocks, each with its exact halo."""
    height, width = x_TCHW.shape[2:]
    halo = model.halo_px(STEPS)  # type: ignore[operator]
    made = np.empty((BANDS, height, width), np.float32)
    for row in range(0, height, BLOCK_PX):
        for col in range(0, width, BLOCK_PX):
            block = Tile(row, min(row + BLOCK_PX, height), col, min(col + BLOCK_PX, width))
            area = block.expanded(halo, (height, width))
            part = np.ascontiguousarray(x_TCHW[(..., *area.slices)])
            output = run_model(model, part[None], 1, torch.device("cpu"))[0, 0]  # type: ignore[arg-type]
            made[(slice(None), *block.slices)] = output[(slice(None), *block.within(area))]
    return made


def model_part(edge: int, hidden: int, repeats: int) -> dict[str, object]:
    """Rates of the contenders in pixels a second, and how far apart their results are."""
    torch.manual_seed(0)
    config = ModelConfig("convlstm", BANDS, BANDS, hidden, 2, 3, peepholes=False)
    model = build_model(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    plain = PlainModel(model).eval()
    edge = min(edge, MODEL_EDGE)
    fits = min(edge, largest_side(WHOLE_BYTES, STEPS, hidden))
    x_TCHW = np.random.default_rng(0).standard_normal((STEPS, BANDS, edge, edge), np.float32)
    crop = np.ascontiguousarray(x_TCHW[..., :fits, :fits])
    ways: dict[str, tuple[Callable[[], Array], int]] = {
        OURS: (lambda: tiled(model, x_TCHW), edge),
        WHOLE: (lambda: whole(plain, crop), fits),
        BLEND: (lambda: blended(plain, x_TCHW, BLOCK_PX), edge),
    }
    for way, _ in ways.values():  # the first run of each is not measured
        with without_denormals():
            way()
    truth = tiled(model, crop)
    apart = {
        "ours from whole image": float(np.abs(truth - whole(plain, crop)).max()),
        "blended from whole image": float(
            np.abs(blended(plain, crop, BLOCK_PX) - whole(plain, crop)).max()
        ),
    }
    rounds = []
    for number in range(repeats):
        names = list(ways)
        order = names[number % 3 :] + names[: number % 3]
        rates = {}
        for name in order:
            start = time.perf_counter()
            with without_denormals():
                ways[name][0]()
            rates[name] = ways[name][1] ** 2 / (time.perf_counter() - start)
        rounds.append(rates)
    return {"edge": edge, "whole image edge": fits, "rounds": rounds, "apart": apart}


def whole_predict(out: Path, edges: list[int], hidden: int, jobs: int) -> list[dict[str, float]]:
    """The command itself on rasters of several sizes, with one run for all."""
    result: list[dict[str, float]] = []
    for edge in edges:
        project = out / f"project{edge}"
        make_project(project, out / f"scenes{edge}", edge, jobs)
        if edge == edges[0]:
            if not (project / "runs").exists():
                train(project, hidden)
        else:  # a larger raster of the same place: the run fits
            shutil.rmtree(project / "runs", ignore_errors=True)
            shutil.copytree(out / f"project{edges[0]}" / "runs", project / "runs")
        shutil.rmtree(project / "forecasts", ignore_errors=True)
        words = command(project, "predict", "--jobs", str(jobs))
        measured = run_measured(words, out / f"predict{edge}.log")
        if measured.code:
            raise SystemExit(f"predict failed:\n{measured.output}")
        rate = edge**2 / measured.wall_s
        print(f"  {edge}^2: {measured.wall_s:.0f} s", file=sys.stderr)
        result.append(
            {
                "edge": edge,
                "pixels_s": rate,
                "cpu_s": measured.cpu_s,
                "wall_s": measured.wall_s,
                "peak_mib": measured.peak_mib,
            }
        )
    return result


def memory_at(sizes: list[dict[str, float]], edge: int) -> float:
    """Largest memory (MiB) of a larger raster, on the line through two smaller ones."""
    first, last = sizes[0], sizes[-1]
    growth = (last["peak_mib"] - first["peak_mib"]) / (last["edge"] ** 2 - first["edge"] ** 2)
    return last["peak_mib"] + growth * (edge**2 - last["edge"] ** 2)


def main() -> None:
    """Measure, print, and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--far", type=int, default=20_000)
    parser.add_argument("--only", choices=("model", "predict"), help="one of the two parts")
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/predict"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    told: dict[str, object] = {}
    if given.only != "predict":
        told["model part"] = part = model_part(given.edge, given.hidden, given.repeats)
        show_model_part(part, given)
    if given.only != "model":
        edges = [given.edge, 2 * given.edge]
        told["predict"] = sizes = whole_predict(given.out, edges, given.hidden, given.jobs)
        far = memory_at(sizes, given.far)
        told["far"] = {"edge": given.far, "peak_mib": far}
        show_predict(sizes, given)
        print(f"{given.far}^2 would take {far:.0f} MiB, by the growth between these")
    (given.out / "results.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def show_predict(sizes: list[dict[str, float]], given: argparse.Namespace) -> None:
    """Print rates and memory of the command itself."""
    print(f"\nThe whole predict, {given.jobs} threads")
    print(f"{'raster':>12} {'pixels/s':>12} {'CPU s':>9} {'peak MiB':>9}")
    for one in sizes:
        name = f"{one['edge']:.0f}^2"
        print(f"{name:>12} {one['pixels_s']:12,.0f} {one['cpu_s']:9.1f} {one['peak_mib']:9.0f}")


def show_model_part(part: dict[str, object], given: argparse.Namespace) -> None:
    """Print the rates and ratios of the model part."""
    rounds: list[dict[str, float]] = part["rounds"]  # type: ignore[assignment]
    fits = part["whole image edge"]
    print(
        f"The model part: {STEPS} steps, {BANDS} bands, 2 layers of {given.hidden}, "
        f"{part['edge']}^2 pixels (whole image: {fits}^2), {given.threads} threads"
    )
    print(f"{'':24} {'pixels/s':>12} {'ours is':>9}")
    for name in rounds[0]:
        rate = median(one[name] for one in rounds)
        ratio = median(one[OURS] / one[name] for one in rounds)
        print(f"{name:24} {rate:12,.0f} {ratio:8.2f}x")
    for name, apart in part["apart"].items():  # type: ignore[attr-defined]
        print(f"  largest difference, {name}: {apart:.1e}")


if __name__ == "__main__":
    main()
