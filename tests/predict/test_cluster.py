"""A forecast on the workers of a Dask cluster: the same bits as in one process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from geoforecast.cluster.shares import MARK
from geoforecast.errors import InputError, InterruptedRunError
from geoforecast.predict import cluster as cluster_module
from geoforecast.predict import predict_rasters, units
from geoforecast.project import Project
from geoforecast.train import train_model

SIDE = 16


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two worker processes of one thread each, which run in another folder than the tests."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("workers"))
    try:
        made = LocalCluster(
            n_workers=2,
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
def project(make_project, monkeypatch, tmp_path, cluster):
    from distributed import Client

    monkeypatch.setattr(units, "UNIT_PX", SIDE)
    monkeypatch.chdir(tmp_path)
    with Client(cluster, set_as_default=False) as client:
        client.run(_cut_small, SIDE)
    rng = np.random.default_rng(2)
    t, (y, x) = np.arange(30)[:, None, None], np.mgrid[:40, :40]
    values = np.sin(2 * np.pi * (t / 23 - x / 60 + y / 90)) + 0.1 * rng.standard_normal(
        (30, 40, 40)
    )
    made = make_project(values[:, None].astype(np.float32))
    train_model(made, model="none", horizon=2, lookback=3)
    return Project(made.root.relative_to(tmp_path))


def _cut_small(side: int) -> None:
    from geoforecast.predict import units

    units.UNIT_PX = side


def tifs(project):
    (folder,) = (project.root / "forecasts" / "default").glob("[!.]*")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def test_a_cluster_makes_the_same_bits_as_one_process(project, cluster, monkeypatch):
    one = Project(project.root.with_name("one"))
    shutil.copytree(project.root, one.root)
    predict_rasters(one, jobs=1)
    monkeypatch.setattr(cluster_module, "fill", lambda *_, **__: pytest.fail("done here"))
    told = []
    predict_rasters(
        project,
        scheduler=cluster.scheduler_address,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (9, 9)
    assert tifs(project) == tifs(one)


def test_an_interrupt_calls_the_workers_off_and_a_rerun_goes_on(project, cluster):
    one = Project(project.root.with_name("one"))
    shutil.copytree(project.root, one.root)
    predict_rasters(one, jobs=1)
    folder = project.root / "forecasts" / "default"

    def interrupted():
        return len(list(folder.glob(".*/*/*.unit"))) >= 3

    with pytest.raises(InterruptedRunError, match="they are kept"):
        predict_rasters(project, scheduler=cluster.scheduler_address, interrupted=interrupted)
    assert not list(folder.glob(f".*/*/{MARK}*"))
    totals = []
    predict_rasters(project, progress=lambda _, total: totals.append(total))
    assert totals[0] <= 6
    assert tifs(project) == tifs(one)


def test_nobody_answers(project):
    with pytest.raises(InputError, match="No Dask scheduler answers at --scheduler"):
        predict_rasters(project, scheduler="tcp://[")
