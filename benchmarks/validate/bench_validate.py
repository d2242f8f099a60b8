"""Benchmark `geoforecast validate` beside scikit-image, esda and a script with xskillscore.

    make bench-validate [VALIDATE_EDGE=4096] [PAIRS=24] [REPEATS=3]

Fields: SSIM on EDGE x EDGE float32 beside scikit-image's in float64, Moran's I and Geary's C on as
many pixels with gaps, in this process. Folders: PAIRS pairs of GeoTIFFs scored by the whole command
(stacking, maps and report included), by its scoring pass alone on the cubes that the command left,
and by peer_script.py in an environment of its own. They take turns within a repeat; a ratio is the
median, over repeats, of the peers' time by ours. Memory is what the processes held at most.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "stack")]

from field_metrics import neighbours, similarity  # noqa: E402
from measure import Measured, run_measured  # noqa: E402
from pairs import Pairs, make_pairs  # noqa: E402

from geoforecast.system import granted_cpus  # noqa: E402

COMMAND, PASS, PEERS = "the whole command", "its scoring pass", "the script"
# Pooled over pixels and steps by ours, means of scenes by the script: alike, not the same.
ALIKE, LEAST = 0.05, 0.1


def folders(data: Pairs, out: Path, peer: str, repeats: int) -> list[dict[str, Any]]:
    """What each contender took in each repeat, and what it found."""
    project = out / "project"
    both = str(data.forecast), str(data.observed)
    ours = [sys.executable, "-m", "geoforecast", "-p", str(project), "validate"]
    lines: dict[str, Sequence[str]] = {
        COMMAND: [*ours, "--forecast", both[0], "--observed", both[1]],
        PASS: [sys.executable, str(HERE / "pass_script.py"), str(project)],
        PEERS: [peer, "-W", "ignore", str(HERE / "peer_script.py"), *both, str(out / "peer_maps")],
    }
    rounds = []
    for number in range(repeats):
        shutil.rmtree(project, ignore_errors=True)
        found: dict[str, Any] = {}
        for name, line in lines.items():
            measured = run_measured(line, out / f"run{len(found)}.log")
            if measured.code:
                raise SystemExit(f"{name} failed:\n{measured.output}")
            found[name] = told(measured, out / f"run{len(found)}.log", name)
            print(f"  {number + 1}: {name}, {measured.wall_s:.0f} s", file=sys.stderr)
        rounds.append(found)
    return rounds


def told(measured: Measured, log: Path, name: str) -> dict[str, Any]:
    """A contender's figures; the pass tells its own times, without imports."""
    own = {} if name == COMMAND else json.loads(log.read_text().strip().splitlines()[-1])
    base = {"wall_s": measured.wall_s, "cpu_s": measured.cpu_s, "peak_mib": measured.peak_mib}
    if name == PEERS:
        return base | {"parts": own, "scores": own["scores"]}
    return base | own


def ratio(rounds: Sequence[dict[str, Any]], name: str, key: str) -> float:
    """The script's time by that of one of ours; beside the pass alone without imports as well."""

    def theirs(one: dict[str, Any]) -> float:
        whole = one[PEERS][key] if name != PASS else sum(one[PEERS]["parts"][key].values())
        return float(whole)

    return float(median(theirs(one) / one[name][key] for one in rounds))


def apart(round_: dict[str, Any]) -> list[str]:
    """Scores of both that are not alike: then the benchmark compares different work."""
    ours, theirs = round_[PASS]["scores"], round_[PEERS]["scores"]
    far = []
    for name in ours.keys() & theirs.keys():
        size = max(abs(ours[name]), abs(theirs[name]), LEAST)
        if abs(ours[name] - theirs[name]) > ALIKE * size:
            far.append(f"{name}: {ours[name]:.4g} and {theirs[name]:.4g}")
    return sorted(far)


def show_fields(ssim: dict[str, Any], near: dict[str, Any]) -> None:
    """Print what single fields took."""
    print(f"\nSSIM, {ssim['edge']}^2; largest difference {ssim['largest_difference']:.1e}")
    print(f"{'':22} {'clock s':>9} {'CPU s':>9} {'faster':>9} {'by CPU':>9}")
    for name, one in ssim["ways"].items():
        gains = f"{one['wall_ratio']:8.1f}x {one['cpu_ratio']:8.1f}x"
        print(f"{name:22} {one['wall_s']:9.3f} {one['cpu_s']:9.3f} {gains}")
    print(f"\nMoran's I and Geary's C with gaps, {near['edge']}^2")
    print(f"{'':22} {'clock s':>9} {'CPU s':>9} {'from esda, 64^2':>16}")
    for name, one in near["ways"].items():
        far = "-" if one["from_esda"] is None else f"{one['from_esda']:.1e}"
        print(f"{name:22} {one['wall_s']:9.3f} {one['cpu_s']:9.3f} {far:>16}")


def show_folders(data: Pairs, rounds: Sequence[dict[str, Any]]) -> None:
    """Print what folders took."""
    print(f"\n{data.pairs} pairs of {data.edge}^2")
    print(f"{'':22} {'clock s':>9} {'CPU s':>9} {'peak MiB':>9} {'faster':>9} {'by CPU':>9}")
    for name in (COMMAND, PASS, PEERS):
        wall, cpu, peak = (
            median(one[name][key] for one in rounds) for key in ("wall_s", "cpu_s", "peak_mib")
        )
        gains = f"{ratio(rounds, name, 'wall_s'):8.1f}x {ratio(rounds, name, 'cpu_s'):8.1f}x"
        print(f"{name:22} {wall:9.1f} {cpu:9.1f} {peak:9.0f} {gains}")
    parts = rounds[0][PEERS]["parts"]
    for name in parts["wall_s"]:
        wall, cpu = (median(one[PEERS]["parts"][k][name] for one in rounds) for k in _TIMES)
        print(f"{'  of it ' + name:22} {wall:9.1f} {cpu:9.1f}")
    for line in apart(rounds[0]):
        print(f"not alike: {line}")


_TIMES = ("wall_s", "cpu_s")


def main() -> None:
    """Measure, print, and write results.json where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", default=".venv-bench-validate/bin/python")
    parser.add_argument("--only", choices=("fields", "folders"), help="one of the two parts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/validate"))
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[], None]] = {
        "fields": lambda: _fields(given, figures),
        "folders": lambda: _folders(given, figures),
    }
    for name, part in parts.items():
        if given.only in (None, name):
            part()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def _fields(given: argparse.Namespace, figures: dict[str, Any]) -> None:
    figures["ssim"] = similarity(given.edge, given.repeats, granted_cpus())
    figures["neighbours"] = neighbours(given.edge, given.repeats)
    show_fields(figures["ssim"], figures["neighbours"])


def _folders(given: argparse.Namespace, figures: dict[str, Any]) -> None:
    data = make_pairs(given.out, given.pairs, given.edge)
    figures["folders"] = folders(data, given.out, given.peer_python, given.repeats)
    show_folders(data, figures["folders"])


if __name__ == "__main__":
    main()
