"""From files to an inventory: bands, masks and their scenes, bad files, scenes.csv."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from geoforecast.errors import DateError, InputError, SceneError, SettingsError
from geoforecast.project import Project
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.names import file_bands, natural, split_names
from geoforecast.stack.inventory.roles import assign_roles
from geoforecast.stack.inventory.scenes import Problems, find_files, write_scenes_csv
from geoforecast.stack.inventory.times import settle_dates

DAYS = ("20180101", "20180111", "20180121")


def inventory(folder, **options):
    options = StackSettings(**options)
    files = find_files([folder])
    problems = Problems(options.on_error == "quarantine")
    settle_dates(files, options.date_regex, problems, 1)
    problems.settle(len(files))
    bands, text = assign_roles([f for f in files if f.used], options, problems)
    assert (set(bands.read), bands.derived) == (set(bands.kept), ())
    return files, bands.kept, text


def ones(bands=1, dtype=np.float32):
    return np.ones((bands, 4, 5), dtype)


@pytest.fixture
def series(write_tif, tmp_path):
    """A function that writes files of three dates from name patterns."""

    def write(**patterns):
        for name, pixels in patterns.items():
            for day in DAYS:
                kwargs = {}
                if isinstance(pixels, dict):
                    kwargs = {k: v for k, v in pixels.items() if k != "pixels"}
                array = pixels["pixels"] if isinstance(pixels, dict) else pixels
                write_tif(tmp_path / "in" / name.format(day), array, **kwargs)
        return tmp_path / "in"

    return write


def test_all_suffixes_in_all_folders_once(write_tif, tmp_path):
    for name in ("a.tif", "b.TIF", "c/d.tiff", "c/e/f.gtif", ".hidden.tif", "c/._g.tif", "h.txt"):
        write_tif(tmp_path / "in" / name, ones())
    (tmp_path / "in" / "z.tif").symlink_to(tmp_path / "in" / "a.tif")
    files = find_files([tmp_path / "in", tmp_path / "in" / "c", tmp_path / "in" / "a.tif"])
    assert [f.key for f in files] == ["in/a.tif", "in/b.TIF", "in/c/d.tiff", "in/c/e/f.gtif"]


def test_own_forecasts_are_no_scenes(write_tif, tmp_path):
    write_tif(tmp_path / "scenes" / "a.tif", ones())
    write_tif(tmp_path / "forecasts" / "b.tif", ones())
    write_tif(tmp_path / "validation" / "c.tif", ones())
    assert [f.key for f in find_files([tmp_path], Project(tmp_path))] == [
        f"{tmp_path.name}/scenes/a.tif"
    ]


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="no does not exist"):
        find_files([tmp_path / "no"])
    with pytest.raises(InputError, match="There is no GeoTIFF in"):
        find_files([tmp_path])
    with pytest.raises(InputError, match="No folder of scenes is given"):
        find_files([])


def test_band_per_file(series):
    folder = series(**{"S2_{}_B10.tif": ones(), "S2_{}_B2.tif": ones(), "S2_{}_B8A.tif": ones()})
    files, bands, text = inventory(folder)
    assert bands == ("B2", "B8A", "B10")
    assert files[0].bands == {"B10": 1}
    assert text == "Mask: none."


def test_resolution_in_names_is_no_band(series):
    folder = series(**{"T33UVP_{}_B04_10m.tif": ones(), "T33UVP_{}_SCL_20m.tif": ones()})
    assert inventory(folder)[1] == ("B04",)
    twice = series(**{"T33UVP_{}_B04_20m.tif": ones()})
    assert inventory(twice)[1] == ("B04_10m", "B04_20m")


def test_multi_band_names_from_descriptions_then_tags_then_numbers(series):
    two = {"pixels": ones(2)}
    assert inventory(series(**{"a{}.tif": {**two, "descriptions": ("red", "nir")}}))[1] == (
        "red",
        "nir",
    )
    tags = {"Band_1": "Blue x 10,000", "Band_2": "T_b x 100"}
    assert inventory(series(**{"a{}.tif": {**two, "tags": tags}}))[1] == ("Blue", "T_b")
    assert inventory(series(**{"a{}.tif": ones(2)}))[1] == ("band_1", "band_2")


def test_single_variable_is_named_after_the_files(series):
    assert inventory(series(**{"ostia_sst_{}.tif": ones()}))[1] == ("sst",)


def test_a_description_names_a_single_variable(series):
    assert inventory(series(**{"x_{}.tif": {"pixels": ones(), "descriptions": ("t2m",)}}))[1] == (
        "t2m",
    )


def test_several_multi_band_products_are_kept_apart(series):
    folder = series(**{"{}_lo.tif": ones(2), "{}_hi.tif": ones(2)})
    assert inventory(folder)[1] == ("hi_band_1", "hi_band_2", "lo_band_1", "lo_band_2")


def test_alpha_is_not_a_band(series):
    pixels = {"pixels": ones(2, np.uint8), "photometric": "minisblack", "alpha": "yes"}
    files, bands, _ = inventory(series(**{"x_{}.tif": pixels}))
    assert bands == ("band_1",)
    assert list(files[0].bands.values()) == [1]


def test_bands_by_name_and_number(series):
    folder = series(**{"{}_B2.tif": ones(), "{}_B3.tif": ones(), "{}_B4.tif": ones()})
    files, bands, _ = inventory(folder, bands=("b4", "1"))
    assert bands == ("B4", "B2")
    assert [f.status for f in files[:3]] == ["used", "skipped", "used"]
    assert files[1].reason == "holds none of the bands that are picked"
    with pytest.raises(InputError, match="There is no band 'B44' among 3") as caught:
        inventory(folder, bands=("B44",))
    assert "Did you mean 'B4'?" in str(caught.value)
    with pytest.raises(InputError, match="There is no band '4' among 3"):
        inventory(folder, bands=("4",))


def test_mixed_bands(write_tif, tmp_path):
    for day in DAYS[:2]:
        write_tif(tmp_path / "in" / f"{day}.tif", ones(2), descriptions=("red", "nir"))
    write_tif(tmp_path / "in" / f"{DAYS[2]}.tif", ones(1), descriptions=("red",))
    folder = tmp_path / "in"
    with pytest.raises(SceneError, match=r"Mixed bands: in/20180121.tif has red; most files have"):
        inventory(folder)
    assert inventory(folder, bands=("red",))[1] == ("red",)
    files, bands, _ = inventory(folder, on_error="quarantine")
    assert bands == ("red", "nir")
    assert [f.status for f in files] == ["used", "used", "quarantined"]


def test_a_band_that_most_times_lack_is_mixed_and_a_rare_gap_is_not(series, write_tif):
    folder = series(**{"{}_B2.tif": ones(), "{}_B3.tif": ones()})
    (folder / f"{DAYS[0]}_B3.tif").unlink()
    assert inventory(folder)[1] == ("B2", "B3")
    write_tif(folder / f"{DAYS[1]}_B9.tif", ones())
    with pytest.raises(SceneError, match="Mixed bands: 'B9' is there at 1 of 3 times only"):
        inventory(folder)
    assert inventory(folder, on_error="quarantine")[1] == ("B2", "B3")
    assert inventory(folder, bands=("B2",))[1] == ("B2",)


def test_mask_files_are_found_and_paired(series):
    folder = series(**{"S2_{}_NDVI.tif": ones(), "S2_{}_CLM.tif": ones(1, np.uint8)})
    files, bands, text = inventory(folder)
    assert bands == ("NDVI",)
    assert text.startswith("Mask: 'CLM' as cloud (0 = usable, else cloud)")
    masks, scenes = files[::2], files[1::2]
    assert [f.role for f in masks] == ["mask"] * 3
    assert [f.mask.key for f in scenes] == [f.key for f in masks]


def test_mask_of_the_same_tile_and_folder_is_taken(write_tif, tmp_path):
    for day in DAYS:
        for row in ("014031", "014032"):
            folder = tmp_path / "in" / row
            write_tif(folder / f"LC08_{row}_{day}_B4.tif", ones())
            write_tif(folder / f"LC08_{row}_{day}_BQA.tif", ones(1, np.uint16))
    files, _, _ = inventory(tmp_path / "in")
    scenes = [f for f in files if f.role == "data"]
    assert len(scenes) == 6
    assert all(f.mask.key == f.key.replace("_B4", "_BQA") for f in scenes)


def test_a_scene_without_its_mask_is_a_problem(series):
    folder = series(**{"{}_NDVI.tif": ones(), "{}_CLM.tif": ones(1, np.uint8)})
    (folder / f"{DAYS[1]}_CLM.tif").unlink()
    with pytest.raises(SceneError, match=r"20180111_NDVI.tif has no mask of its own, while 2 of 3"):
        inventory(folder)
    files, _, _ = inventory(folder, on_error="quarantine")
    assert [f.status for f in files if f.role == "data"] == ["used", "quarantined", "used"]


def test_mask_bands_inside_files_are_never_data(series):
    names = ("red", "nir", "SCL")
    folder = series(**{"{}.tif": {"pixels": ones(3), "descriptions": names}})
    files, bands, text = inventory(folder)
    assert bands == ("red", "nir")
    assert (files[0].mask.band, files[0].mask.key) == (3, files[0].key)
    assert "'SCL' as scl" in text
    with pytest.raises(InputError, match="--bands SCL is the mask"):
        inventory(folder, bands=("SCL",))
    files, bands, text = inventory(folder, mask="none")
    assert bands == ("red", "nir")
    assert files[0].mask is None


def test_mask_none_leaves_mask_files_out(series):
    folder = series(**{"{}_NDVI.tif": ones(), "{}_CLM.tif": ones(1, np.uint8)})
    files, bands, _ = inventory(folder, mask="none")
    assert bands == ("NDVI",)
    assert files[0].status == "skipped"
    assert files[0].reason == "a mask, and not the one that is applied"


def test_mask_of_unclear_sense(series):
    folder = series(**{"{}_NDVI.tif": ones(), "{}_mask.tif": ones(1, np.uint8)})
    with pytest.raises(SettingsError, match="'mask' looks like a mask, but whether 1 means"):
        inventory(folder)
    assert "as clear" in inventory(folder, mask="clear:mask")[2]
    assert "as cloud" in inventory(folder, mask="cloud")[2]
    assert inventory(folder, mask="none")[1] == ("NDVI",)


def test_mask_that_is_not_there(series):
    folder = series(**{"{}_NDVI.tif": ones(), "{}_CLM.tif": ones(1, np.uint8)})
    with pytest.raises(InputError, match="No mask is found for --mask scl") as caught:
        inventory(folder, mask="scl")
    assert "CLM, NDVI" in str(caught.value)


def test_only_masks(series):
    folder = series(**{"{}_SCL.tif": ones(), "{}_CLM.tif": ones()})
    with pytest.raises(InputError, match="All files are masks"):
        inventory(folder)


def test_no_dates(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "a.tif", ones())
    with pytest.raises(DateError, match="No date is found in the names or tags of 1 files"):
        inventory(tmp_path / "in")


def test_dates_from_tags_if_no_name_has_one(write_tif, tmp_path):
    for number, day in enumerate(DAYS):
        tags = {"TIFFTAG_DATETIME": f"{day[:4]}:{day[4:6]}:{day[6:]} 10:00:00"}
        write_tif(tmp_path / "in" / f"{'abc'[number]}.tif", ones(), tags=tags)
    files, _, _ = inventory(tmp_path / "in")
    assert str(files[2].time) == "2018-01-21T10:00:00"


def test_undated_files_are_skipped_unread(series):
    folder = series(**{"a_{}.tif": ones()})
    (folder / "static").mkdir()
    (folder / "static" / "DEM.tif").write_text("not read")
    files, _, _ = inventory(folder)
    assert files[-1].status == "skipped"
    assert files[-1].reason == "no date, while 3 of 4 files have one"


def test_no_crs_and_corrupt_files_name_the_first_of_n(write_tif, tmp_path):
    for day in DAYS:
        write_tif(tmp_path / "in" / f"{day}.tif", ones(), crs=None)
    with pytest.raises(SceneError, match="3 of 3 files cannot be used") as caught:
        inventory(tmp_path / "in")
    assert "20180101.tif has no coordinate reference system" in str(caught.value)
    assert "gdal_edit.py -a_srs" in str(caught.value)


def test_names_split_into_label_and_rest():
    names = ["T33UVP_S2A_x7_B4", "T33UVP_S2A_x7_pixel_qa"]
    parts, common = split_names(names, [None, None], {"B4", "pixel", "qa"})
    assert [p.label for p in parts] == ["B4", "pixel_qa"]
    assert parts[0].rest == {"T33UVP", "S2A", "x7"}
    assert common == "x7"


def test_numbers_sort_as_numbers():
    assert sorted(["B10", "b2", "B8A", "B8"], key=natural) == ["b2", "B8", "B8A", "B10"]


def test_twin_descriptions_get_numbers(write_tif, tmp_path):
    from geoforecast.raster.geotiff import read_header

    path = write_tif(tmp_path / "a.tif", ones(2), descriptions=("gray", "gray"))
    assert file_bands(read_header(path))[0] == {1: "gray_1", 2: "gray_2"}


def test_scenes_csv(series, tmp_path):
    folder = series(**{"{}_NDVI.tif": ones(), "{}_CLM.tif": ones(1, np.uint8)})
    files, _, _ = inventory(folder)
    write_scenes_csv(tmp_path / "scenes.csv", files, {files[0].key: "abc"})
    with (tmp_path / "scenes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert rows[0]["sha256"] == "abc"
    assert {k: rows[1][k] for k in ("status", "time", "band", "role", "crs", "width", "res")} == {
        "status": "used",
        "time": "2018-01-01T00:00:00Z",
        "band": "NDVI",
        "role": "data",
        "crs": "EPSG:32633",
        "width": "5",
        "res": "10 10",
    }
