"""The rules of the house: who may import whom, what stays light, what must be written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import geoforecast
from geoforecast.cli import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geoforecast"
MODULES = sorted(PACKAGE.rglob("*.py"))

GROUND = {"errors", "values", "settings", "system"}
VERBS = {"stack", "train", "predict", "validate"}
ENGINE_PARTS = {"samples", "references", "models"}
# Room -> the rooms it may import, besides itself and the package's own __init__.
MAY_IMPORT = {
    "errors": set(),
    "values": {"errors"},
    "settings": {"errors", "values"},
    "system": {"errors", "settings"},
    "locking": {"errors"},
    "project": GROUND | {"locking"},
    "raster": GROUND | {"project"},
    "cluster": GROUND | {"project"},
    "figures": GROUND | {"raster"},
    **{room: GROUND | {"project", "raster"} for room in ENGINE_PARTS},
    "forecast": GROUND | {"project", "raster"} | ENGINE_PARTS,
    **{
        verb: GROUND | {"project", "raster", "figures", "cluster", "forecast"} | ENGINE_PARTS
        for verb in VERBS
    },
    "doctor": GROUND | {"project", "raster", "forecast"} | ENGINE_PARTS,
    "status": GROUND | {"project", "raster", "forecast"} | ENGINE_PARTS,
    "cli": GROUND | {"project", "doctor", "status"} | VERBS,
    "__main__": {"cli", "system"},
    "__init__": set(),
}
# What is imported under another name than it is installed by.
INSTALLED_AS = {"skimage": "scikit-image", "google_crc32c": "google-crc32c", "PIL": "pillow"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted name and line of every import, those inside functions included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            if base == "geoforecast":  # `from geoforecast import x` may name a room
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield base, node.lineno


def rooms_imported(path: Path) -> Iterator[tuple[str, int]]:
    for name, line in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "geoforecast" and len(parts) > 1 and not parts[1].startswith("__version"):
            yield parts[1], line


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_and_never_between_verbs(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{name_of(path)} is in no room: say in MAY_IMPORT what it may use"
    wrong = [
        f"{name_of(path)}:{line} imports {other}"
        for other, line in rooms_imported(path)
        if other != room and other not in MAY_IMPORT[room]
    ]
    assert wrong == []


def test_every_room_exists() -> None:
    """A rule for a room that is gone, or spelt otherwise, would check nothing."""
    optional = {"system", "doctor", "status"}
    assert set(MAY_IMPORT) - optional <= {room_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_imports_click(path: Path) -> None:
    tops = {name.split(".")[0] for name, _ in imported_modules(path)}
    assert room_of(path) == "cli" or "click" not in tops


def test_the_import_reader_sees_every_spelling(tmp_path: Path, monkeypatch) -> None:
    module = tmp_path / "geoforecast" / "stack" / "verb.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from __future__ import annotations\n"
        "import geoforecast.train\n"
        "from geoforecast import predict\n"
        "from ..validate import metrics\n"
        "def f():\n"
        "    from geoforecast.forecast.engine import forecast\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    rooms = [room for room, _ in rooms_imported(module)]
    assert rooms == ["train", "predict", "validate", "forecast"]


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["--version"], *([verb, "--help"] for verb in sorted(VERBS))],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    loaded = run_python(
        "import sys\n"
        f"sys.argv = ['geoforecast', *{argv!r}]\n"
        "from geoforecast.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('LOADED', *sys.modules)\n"
    )
    modules = set(loaded.rpartition("LOADED")[2].split())
    heavy = {"torch", "rasterio", "numpy", "xarray", "zarr", "numba", "matplotlib", "skimage"}
    assert modules & heavy == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_has_a_docstring(path: Path) -> None:
    tree = tree_of(path)
    missing = [] if ast.get_docstring(tree) else [f"{name_of(path)}: module"]
    for node in tree.body:
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if named and not node.name.startswith("_") and not ast.get_docstring(node):
            missing.append(f"{name_of(path)}:{node.lineno} {node.name}")
    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_messages_name_options_that_exist(path: Path) -> None:
    groups = [cli, *cli.commands.values()]
    options = [option for group in groups for option in group.params]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "--version", "--no"}  # --no-X is any switch's other side
    texts = [
        node.value
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {name for text in texts for name in re.findall(r"(?<![-\w])--[a-z]+(?:-[a-z]+)*", text)}
    assert named - known == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def dependency_lines() -> list[tuple[str, str]]:
    """(requirement, comment) of each entry of `dependencies` and of the dev group."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    wanted = [*document["project"]["dependencies"], *document["dependency-groups"]["dev"]]
    for extra in document["project"].get("optional-dependencies", {}).values():
        wanted += extra
    found = dict(re.findall(r'^\s*"([^"]+)",[^\S\n]*(?:#[^\S\n]*(.*))?$', text, flags=re.MULTILINE))
    return [(requirement, found.get(requirement, "")) for requirement in wanted]


def project_name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0]


@pytest.mark.parametrize(("requirement", "reason"), dependency_lines())
def test_each_dependency_has_a_lower_bound_and_a_reason(requirement: str, reason: str) -> None:
    bound = re.fullmatch(r"[A-Za-z0-9._-]+>=([0-9.]+)", requirement)
    assert bound, f"{requirement}: write NAME>=VERSION"
    assert reason.startswith(f"{bound[1]}: "), (
        f"{requirement}: say why in a comment '{bound[1]}: …'"
    )


def test_each_dependency_is_explained_in_the_design() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").lower()
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [project_name(requirement) for requirement in document["project"]["dependencies"]]
    lines = design.splitlines()
    missing = [
        name
        for name in names
        if not any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line) for line in lines)
    ]
    assert missing == []


def test_each_import_is_a_declared_dependency() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = list(document["project"]["dependencies"])
    for extra in document["project"].get("optional-dependencies", {}).values():
        requirements += extra
    declared = {project_name(requirement) for requirement in requirements}
    used = {name.split(".")[0] for path in MODULES for name, _ in imported_modules(path)}
    foreign = used - set(sys.stdlib_module_names) - {"geoforecast"}
    assert {INSTALLED_AS.get(name, name) for name in foreign} - declared == set()


def test_each_declared_dependency_is_pinned() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    pinned = {canonical(pin.partition("==")[0]) for pin in pins}
    declared = {canonical(project_name(requirement)) for requirement, _ in dependency_lines()}
    assert declared <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, flags=re.MULTILINE)
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert cited
    assert newest
    assert {cited[1], newest[1]} == {geoforecast.__version__}


def test_the_makefile_lists_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## \S", makefile, flags=re.MULTILINE))
    expected = {"demo", "test", "test-all", "lint", "fix", "bench", "real", "build", "clean"}
    assert expected <= described
