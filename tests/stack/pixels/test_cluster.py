"""Units done by the workers of a Dask cluster: the same bits as in one process, or a refusal."""

from __future__ import annotations

import json
import os
import pickle
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from geoforecast import __version__
from geoforecast.cluster import shares, workers
from geoforecast.cluster.shares import MARK, _do_share, _opened, _packed, call_off
from geoforecast.errors import (
    GeoforecastError,
    InputError,
    InterruptedRunError,
    ProjectError,
    SceneError,
)
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import cluster as cluster_module
from geoforecast.stack.pixels.cluster import Parcel, fill_on_cluster, samples_of
from geoforecast.stack.pixels.making import Making, begin
from geoforecast.stack.plan import make_plan

WORKERS = 2
STEPS = 9


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two worker processes of one thread each, which run in another folder than the tests."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("workers"))
    try:
        made = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
    finally:
        os.chdir(here)
    with made:
        yield made


@pytest.fixture
def folder(tmp_path, write_tif):
    """Nine noisy scenes of two bands, with gaps: 520 x 300 pixels, so nine units."""
    for step in range(STEPS):
        rng = np.random.default_rng(step)
        data = rng.integers(1, 900, (2, 520, 300)).astype(np.uint16)
        data[:, rng.random((520, 300)) < 0.2] = 0
        day = str(np.datetime64("2020-01-01") + 16 * step).replace("-", "")
        path = tmp_path / "in" / f"a_{day}.tif"
        write_tif(path, data, nodata=0, descriptions=("red", "nir"), compress="deflate")
    return tmp_path / "in"


def stack(project, folder, scheduler="", progress=None, **options):
    return stack_scenes(
        project,
        [folder],
        StackSettings(**options),
        SplitSettings(),
        jobs=1,
        scheduler=scheduler,
        progress=progress,
    )


def contents(project):
    """All files of a cube but its metadata, and the metadata that do not name the folder."""
    path = project.cube_path
    files = {
        str(p.relative_to(path)): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p != path / "zarr.json"
    }
    meta = open_cube(path).meta
    return files, {k: v for k, v in meta.items() if k not in ("fingerprint", "settings")}


def damage(path):
    """Make pixels past the first units undecodable, the header as before."""
    data = bytearray(path.read_bytes())
    part = slice(len(data) * 6 // 10, len(data) * 7 // 10)
    data[part] = b"\xff" * len(data[part])
    path.write_bytes(bytes(data))


def making_of(project, folder, **options):
    settings = StackSettings(**options)
    plan = make_plan([folder], settings, SplitSettings(), project=project, jobs=1, excluded={})
    return begin(project, plan, settings)


def test_a_cluster_makes_the_same_bits_as_one_process(tmp_path, folder, cluster, monkeypatch):
    one, project = Project(tmp_path / "one"), Project(tmp_path / "many")
    stack(one, folder)
    # Relative paths mean nothing to workers that run elsewhere.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Making, "fill", lambda *_, **__: pytest.fail("done here"))
    seen = []
    stack(
        Project(project.root.relative_to(tmp_path)),
        "in",
        cluster.scheduler_address,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert contents(project) == contents(one)
    assert not project.stacking_dir.exists()
    # Eight shares of nine units: four a thread.
    assert [total for _, total in seen] == [9] * 8
    assert sorted(np.diff([0, *(done for done, _ in seen)])) == [1] * 7 + [2]
    with Client(cluster, set_as_default=False) as client:
        assert not any(client.has_what().values())  # nothing is left on the workers
    assert stack(project, folder, "tcp://127.0.0.1:1").up_to_date


def test_a_file_that_a_worker_cannot_decode_is_set_aside(tmp_path, folder, cluster, monkeypatch):
    one, project = Project(tmp_path / "one"), Project(tmp_path / "many")
    bad = sorted(folder.iterdir())[4]
    damage(bad)
    monkeypatch.chdir(tmp_path)
    stack(one, "in", on_error="quarantine")
    with pytest.raises(SceneError, match=bad.name) as caught:
        stack(project, "in", cluster.scheduler_address, on_error="fail")
    assert caught.value.remedy  # all that an error says has travelled
    assert not list(project.stacking_dir.glob(f"{MARK}*"))
    stack(project, "in", cluster.scheduler_address, on_error="quarantine")
    files, meta = contents(project)
    files_of_one, meta_of_one = contents(one)
    assert files == files_of_one
    # Which rows are named depends on which were decoded together.
    assert list(meta.pop("quarantined")) == list(meta_of_one.pop("quarantined"))
    assert meta == meta_of_one
    assert list(open_cube(project.cube_path).meta["quarantined"]) == [f"in/{bad.name}"]


def test_workers_of_another_version_are_refused(tmp_path, folder, cluster, monkeypatch):
    monkeypatch.setattr(workers, "__version__", "99.1")
    with pytest.raises(ProjectError) as caught:
        stack(Project(tmp_path / "p"), folder, cluster.scheduler_address)
    assert "2 of 2 Dask workers have another geoforecast than this one, 99.1" in str(caught.value)
    assert f"geoforecast {__version__}" in caught.value.where[0]


def test_a_worker_that_joined_later_with_another_version_is_refused(
    tmp_path, folder, cluster, monkeypatch
):
    monkeypatch.setattr(shares, "__version__", "99.1")
    with pytest.raises(ProjectError, match=rf"has geoforecast {__version__}, not 99.1"):
        stack(Project(tmp_path / "p"), folder, cluster.scheduler_address)


def test_a_worker_without_geoforecast_is_told():
    class Nowhere:
        def run(self, function, name, *, on_error):
            assert (function(name), on_error) == (__version__, "return")
            return {"tcp://a:1": __version__, "tcp://b:1": ModuleNotFoundError("x")}

    with pytest.raises(ProjectError, match="1 of 2 Dask workers") as caught:
        workers.check_versions(Nowhere())
    assert caught.value.where == ("tcp://b:1: none is installed",)


@pytest.mark.parametrize("hidden", ["project", "scenes", "writing"])
def test_a_worker_that_does_not_see_the_files_is_refused(tmp_path, folder, monkeypatch, hidden):
    making = making_of(Project(tmp_path / "p"), folder)
    mark = making.folder / f"{MARK}0"
    if hidden != "project":
        mark.touch()
    if hidden == "scenes":
        folder.rename(tmp_path / "elsewhere")
    if hidden == "writing":
        monkeypatch.setattr(
            "pathlib.Path.touch", lambda *_: (_ for _ in ()).throw(OSError(30, "RO"))
        )

    class Here:
        def run(self, function, *arguments):
            return {"tcp://a:1": function(*arguments)}

    monkeypatch.setattr(workers, "VISIBLE_SECONDS", 0)
    with pytest.raises(ProjectError) as caught:
        workers.check_sight(Here(), mark, samples_of(making.plan))
    expected = {
        "project": f"worker tcp://a:1 does not see the folder {making.folder}.",
        "scenes": f"worker tcp://a:1 does not see the file {folder}",
        "writing": f"worker tcp://a:1 cannot write into {making.folder} (RO)",
    }
    assert expected[hidden] in str(caught.value)
    assert "the same paths" in caught.value.remedy


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "tcp://[", "nowhere", "http://a:1"])
def test_an_address_without_a_scheduler_is_an_error(tmp_path, folder, address, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 0.3)
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = address.format(port=taken.getsockname()[1])
        with pytest.raises(InputError, match="No Dask scheduler answers") as caught:
            stack(Project(tmp_path / "p"), folder, address)
    assert f"--scheduler {address}" in str(caught.value)
    assert "dask scheduler" in caught.value.remedy


def test_something_else_that_listens_is_no_scheduler(monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match="No Dask scheduler answers"):
            workers._check_scheduler(address)


def test_a_worker_is_no_scheduler(cluster):
    address = next(iter(cluster.scheduler_info["workers"]))
    with pytest.raises(InputError, match=f"{address} is no Dask scheduler, but a Worker"):
        workers._check_scheduler(address)


def test_a_scheduler_without_workers_is_an_error(monkeypatch):
    monkeypatch.setattr(workers, "WORKER_SECONDS", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(InputError, match=r"has no workers after 0\.2 s") as caught,
        workers.connected(empty.scheduler_address),
    ):
        pass
    assert "dask worker" in caught.value.remedy


def test_without_the_package_its_name_is_told(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError) as caught:
        stack(Project(tmp_path / "p"), folder, "tcp://127.0.0.1:1")
    assert "pip install 'geoforecast[dask]'" in caught.value.remedy


def test_what_workers_get_is_whole_and_knows_no_relative_path(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    making = making_of(Project(tmp_path.joinpath("p").relative_to(tmp_path)), "in")
    for file in making.plan.scenes():
        assert file.header.grid.crs  # cached objects must not stand in the way
    got = pickle.loads(
        pickle.dumps(_opened(_packed(Parcel(making, {0: "k"}))))
    )  # on, from worker to worker
    assert got.keys == {0: "k"}
    got = got.making
    assert got.units == making.units
    assert got.folder == tmp_path / "p" / ".stacking"
    assert got.writer.path == got.folder / "cube.zarr"
    assert got.ledger.folder == got.folder / "units"
    assert [f.path for f in got.plan.scenes()] == sorted(folder.iterdir())
    assert not making.plan.scenes()[0].path.is_absolute()


def test_a_share_stops_when_it_is_called_off(tmp_path, folder, monkeypatch):
    making = making_of(Project(tmp_path / "p"), folder)
    mark = making.folder / f"{MARK}0"
    mark.touch()
    note = type(making.ledger).note

    def calling_off(self, unit, *rest):
        note(self, unit, *rest)
        assert shares._is_at_work(str(making.folder))
        if unit.number == 1:
            call_off(making.folder)

    monkeypatch.setattr(type(making.ledger), "note", calling_off)
    parcel = Parcel(making, dict.fromkeys(range(9), "00" * 32))
    with pytest.raises(InterruptedRunError, match="called off"):
        _do_share(parcel, range(9), str(mark), [], __version__)
    assert not shares._is_at_work(str(making.folder))
    done = [unit.number for unit in making.units if making.ledger.key(unit)[0]]
    assert done[:2] == [0, 1]
    assert len(done) < 5


def test_an_interrupt_drops_the_work_and_a_rerun_goes_on(tmp_path, folder, cluster):
    one, project = Project(tmp_path / "one"), Project(tmp_path / "many")
    stack(one, folder)

    def interrupt(done, _total):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stack(project, folder, cluster.scheduler_address, progress=interrupt)
    assert not list(project.stacking_dir.glob(f"{MARK}*"))
    assert not project.cube_path.exists()
    with Client(cluster, set_as_default=False) as client:
        folder_name = str(project.stacking_dir)
        assert not any(client.run(shares._is_at_work, folder_name).values())
    totals = []
    stack(project, folder, cluster.scheduler_address, progress=lambda _, n: totals.append(n))
    assert totals[0] <= 7  # two at least were there
    assert contents(project) == contents(one)


def test_outcomes_of_shares_are_one_in_the_order_of_the_units(tmp_path, folder):
    making = making_of(Project(tmp_path / "p"), folder)
    first, second = SceneError("first"), SceneError("second")
    outcomes = [
        cluster_module.Outcome(np.arange(STEPS), {"a": first}),
        cluster_module.Outcome(np.arange(STEPS), {"a": second, "b": second}),
    ]
    total = cluster_module._together(making, outcomes)
    assert total.valid.tolist() == list(range(0, 2 * STEPS, 2))
    assert total.failed == {"a": first, "b": second}


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path, folder, cluster):
    one, project = Project(tmp_path / "one"), Project(tmp_path / "many")
    stack(one, folder)
    making = making_of(project, folder)
    with Client(cluster, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())

        def kill_one():
            end = time.monotonic() + 20
            while time.monotonic() < end and not list(making.folder.glob("units/*.unit")):
                time.sleep(0.005)
            os.kill(pids[0], 9)

        killer = threading.Thread(target=kill_one)
        killer.start()
        stack(project, folder, cluster.scheduler_address)
        killer.join()
        client.wait_for_workers(WORKERS, timeout=30)
        assert set(client.run(os.getpid).values()) != set(pids)
    assert contents(project) == contents(one)


class Lost:
    """A future whose result never comes."""

    def __init__(self, error):
        self.error = error

    def result(self):
        raise self.error


def test_a_scheduler_that_is_gone_and_workers_that_die_are_told():
    worker = type("Worker", (), {"address": "tcp://a:1"})()
    with pytest.raises(GeoforecastError, match="more memory") as caught:
        shares._result(Lost(KilledWorker("units-0", worker, 3)))
    assert caught.value.where == ("the last: tcp://a:1",)
    with pytest.raises(InterruptedRunError, match="scheduler is gone"):
        shares._result(Lost(FutureCancelledError("units-0", "lost")))


def test_no_units_need_no_cluster(tmp_path, folder):
    making = making_of(Project(tmp_path / "p"), folder)
    outcome = fill_on_cluster(making, [], [], address="tcp://127.0.0.1:1")
    assert outcome.valid.tolist() == [0] * STEPS
    assert json.dumps(list(outcome.failed)) == "[]"
