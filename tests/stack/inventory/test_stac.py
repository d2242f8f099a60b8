"""STAC items on disk: which assets are scenes, and what is known of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoforecast.errors import InputError, SceneError
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.bandtimes import settle_times
from geoforecast.stack.inventory.roles import assign_roles
from geoforecast.stack.inventory.scenes import Problems, find_files

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
TIME = "2018-01-31T10:45:00.123Z"


def item(assets, time=TIME, name="S2_x", **properties):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": {"datetime": time, **properties},
        "assets": assets,
    }


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def asset(write_tif, tmp_path):
    """A function that writes a raster and returns the asset that describes it."""

    def make(name, count=1, *, href=None, own=None, **fields):
        write_tif(tmp_path / name, np.ones((count, 3, 4), np.uint16), **(own or {}))
        return {"href": href or f"./{name}", "type": TIFF, **fields}

    return make


def settled(path, **options):
    files = find_files([path])
    problems = Problems(False)
    files, choice = settle_times(files, "", "", problems, 1)
    problems.settle(len(files))
    dated = [file for file in files if file.used]
    bands = assign_roles(dated, StackSettings(**options), problems)[0].kept
    return files, bands, choice


def test_assets_become_bands_at_the_time_of_their_item(asset, tmp_path):
    first = item({"B04": asset("a/20010101_1.tif"), "B08": asset("a/20010101_2.tif")})
    far = (tmp_path / "b" / "q.tif").as_uri()
    second = item(
        {
            "B04": asset("b/p.tif", href=str(tmp_path / "b/p.tif")),
            "B08": asset("b/q.tif", href=far),
        },
        time=None,
        name="later",
        start_datetime="2018-02-01T00:30:00+01:00",
    )
    path = write(
        tmp_path / "items.json", {"type": "FeatureCollection", "features": [first, second]}
    )
    files, bands, choice = settled(path)
    assert bands == ("B04", "B08")
    assert [str(file.time) for file in files] == ["2018-01-31T10:45:00"] * 2 + [
        "2018-01-31T23:30:00"
    ] * 2
    assert [dict(file.bands) for file in files] == [{"B04": 1}, {"B08": 1}] * 2
    assert choice.text == "Dates: given for 4 of 4 files."


def test_an_escaped_file_address_is_understood(asset, tmp_path):
    asset("a b.tif")
    place = (tmp_path / "a b.tif").as_uri()
    assert "%20" in place
    path = write(tmp_path / "i.json", item({"B04": {"href": place}}))
    assert find_files([path])[0].told.fault is None


def test_pictures_and_papers_are_left_out_with_their_reason(asset, tmp_path):
    assets = {
        "B04": asset("a.tif"),
        "look": asset("b.tif", roles=["overview"]),
        "pic": {"href": "p.jpg", "type": "image/jpeg", "roles": ["data"]},
        "meta": {"href": "https://x/m.xml", "roles": ["metadata"]},
    }
    files = find_files([write(tmp_path / "i.json", item(assets))])
    reasons = {file.path.name: file.reason for file in files}
    assert reasons == {
        "a.tif": "",
        "b.tif": "asset 'look' is overview, no data",
        "p.jpg": "asset 'pic' is no GeoTIFF (image/jpeg)",
        "m.xml": "asset 'meta' is metadata, no data",
    }


def test_what_is_not_downloaded_is_refused_unless_others_of_the_item_are(asset, tmp_path):
    remote = {"href": "https://x/B04.tif", "type": TIFF}
    path = write(tmp_path / "i.json", item({"B04": remote}))
    problems = Problems(False)
    settle_times(find_files([path]), "", "", problems, 1)
    with pytest.raises(SceneError, match=r"https://x/B04\.tif is not a file on this") as caught:
        problems.settle(1)
    assert "Download it first" in str(caught.value)
    path = write(tmp_path / "i.json", item({"B04": remote, "B08": asset("b.tif")}))
    files = find_files([path])
    assert sorted(file.status for file in files) == ["skipped", "used"]
    gone = {"href": "gone.tif", "type": TIFF}
    path = write(tmp_path / "i.json", item({"B04": gone, "B08": asset("b.tif")}))
    assert any(f.told.fault and "does not exist" in f.told.fault.what for f in find_files([path]))


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 0.5, "offset": -2, "nodata": 7}]},
        {"bands": [{"name": "x", "raster:scale": 0.5, "raster:offset": -2, "nodata": 7}]},
        {"raster:scale": 0.5, "raster:offset": -2, "nodata": "7"},
    ],
)
def test_tags_of_bands_are_used_where_the_file_has_none(asset, tmp_path, fields):
    assets = {"B04": asset("a.tif", **fields)}
    files = settled(write(tmp_path / "i.json", item(assets)))[0]
    header = files[0].header
    assert (header.scales, header.offsets, header.nodata) == ((0.5,), (-2.0,), (7.0,))
    assets = {"B04": asset("a.tif", own={"scale": 3.0, "nodata": 9}, **fields)}
    header = settled(write(tmp_path / "i.json", item(assets)))[0][0].header
    assert (header.scales, header.offsets, header.nodata) == ((3.0,), (0.0,), (9.0,))


def test_bands_of_one_asset_are_named_by_it(asset, tmp_path):
    named = {"eo:bands": [{"name": "red"}, {"name": "nir"}]}
    path = write(tmp_path / "i.json", item({"image": asset("a.tif", 2, **named)}))
    assert settled(path)[1] == ("red", "nir")
    unnamed = {"eo:bands": [{"name": "red"}, {}]}
    path = write(tmp_path / "i.json", item({"image": asset("a.tif", 2, **unnamed)}))
    assert settled(path)[1] == ("band_1", "band_2")


def test_a_folder_with_items_is_a_folder_of_rasters(asset, tmp_path):
    write(tmp_path / "i.json", item({"B04": asset("2018-01-01.tif")}))
    assert [f.told.band for f in find_files([tmp_path])] == [""]
    assert [f.told.band for f in find_files([f"{tmp_path}/*.json"])] == ["B04"]
    assert [f.told.band for f in find_files([f"{tmp_path}/*"])] == [""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": 1}', "holds no STAC item"),
        ("[1]", "holds no STAC item"),
        ('{"type": "Catalog"}', "is a STAC Catalog"),
        ('{"type": "FeatureCollection", "features": []}', "holds no STAC item"),
        ('{"type": "FeatureCollection", "features": [1]}', "holds no STAC item"),
        ('{"type": "Feature", "assets": {}}', "have no assets"),
        (json.dumps(item({"a": {"href": "x.tif"}}, time="soon")), "'soon' is no time"),
    ],
)
def test_what_is_no_item_is_refused(tmp_path, content, message):
    (tmp_path / "i.json").write_text(content)
    with pytest.raises(InputError, match=message):
        find_files([tmp_path / "i.json"])


def test_an_asset_that_says_nothing_is_no_geotiff(tmp_path):
    (tmp_path / "i.json").write_text('{"type": "Feature", "assets": {"a": 1}}')
    files = find_files([tmp_path / "i.json"])
    assert files[0].reason == "asset 'a' is no GeoTIFF (of no type)"
