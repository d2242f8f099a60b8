"""Ranges of bands: what sensors, number types, units and formulas say, and nothing else."""

import numpy as np
import pytest

from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.reading.ranges import ENDLESS, _of_file, is_difference
from geoforecast.stack.reading.readings import Reading


@pytest.fixture
def stacked(tmp_path, write_tif):
    """Stacks twelve scenes of a name and values; the cube's ranges."""

    def stack(name, values, *, units="", settings=None, **tif):
        folder = tmp_path / f"scenes-{name.replace('/', '-')}"
        start = np.datetime64("2020-01-01")
        for step in range(12):
            day = str(start + 16 * step).replace("-", "")
            write_tif(folder / name.format(day), values, units=units, **tif)
        project = Project(tmp_path / f"project-{name.replace('/', '-')}")
        stack_scenes(project, [folder], StackSettings(**(settings or {})), SplitSettings())
        return open_cube(project.cube_path).meta["ranges"]

    return stack


def floats(value=0.5):
    return np.full((20, 24), value, dtype=np.float32)


def test_floats_without_a_unit_have_no_range(stacked):
    assert stacked("temp_{}.tif", floats()) == [[None, None]]


def test_unsigned_numbers_cannot_be_below_zero(stacked):
    whole = np.full((20, 24), 700, dtype=np.uint16)
    assert stacked("raw_{}.tif", whole) == [[0, 65535]]
    # 0 * 0.001 - 0.1 and 65535 * 0.001 - 0.1
    (found,) = stacked("scaled_{}.tif", whole, settings={"scale": 0.001, "offset": -0.1})
    assert found == pytest.approx([-0.1, 65.435])
    (found,) = stacked("down_{}.tif", whole, settings={"scale": -0.001})
    assert found == pytest.approx([-65.535, 0])


def test_signed_numbers_say_nothing(stacked):
    assert stacked("raw_{}.tif", np.full((20, 24), 7, dtype=np.int16)) == [[None, None]]


def test_converted_values_have_a_range_only_where_both_ends_have_a_value():
    # No power has no decibels; 1000 of raw power are 30 dB, 10 of them 10 dB.
    assert _of_file(Reading(conversion="power-to-db"), "uint16") == ENDLESS
    bounded = Reading(conversion="power-to-db", low=10, high=1000)
    assert _of_file(bounded, "float32") == pytest.approx((10, 30))


def test_what_a_sensor_calls_usable_is_the_range(stacked):
    values = np.full((20, 24), 5000, dtype=np.int16)
    name = "MOD13Q1.A{}.h18v04.061.2023177000000_250m_16_days_NDVI.tif"
    # -2000 and 10000, times 0.0001
    (found,) = stacked(name, values, settings={"sensor": "modis-13", "date_regex": r"A(\d{8})"})
    assert found == pytest.approx([-0.2, 1.0])


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("K", [0, None]), ("mm/h", [0, None]), ("%", [0, 100]), ("degC", [None, None])],
)
def test_units_that_have_a_least_value(stacked, unit, expected):
    assert stacked("band_{}.tif", floats(50), units=unit) == [expected]


def test_normalised_differences_lie_between_minus_one_and_one(stacked):
    assert stacked("NDVI_{}.tif", floats()) == [[-1, 1]]
    assert stacked("EVI_{}.tif", floats()) == [[None, None]]
    assert stacked("NOX_{}.tif", floats()) == [[None, None]]


def test_derived_bands_have_the_range_of_their_formula(stacked):
    two = np.stack([floats(0.5), floats(0.2)])
    names = ("nir", "red")
    ndvi = {"expression": "veg = (nir - red) / (nir + red)", "bands": ("veg",)}
    assert stacked("a_{}.tif", two, descriptions=names, settings=ndvi) == [[-1, 1]]
    ratio = {"expression": "veg = nir / red", "bands": ("veg",)}
    assert stacked("b_{}.tif", two, descriptions=names, settings=ratio) == [[None, None]]


def test_codes_of_classes_have_no_range(stacked):
    codes = np.full((20, 24), 3, dtype=np.uint8)
    assert stacked("lulc_{}.tif", codes, settings={"kind": "categorical"}) == [[None, None]]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(a - b) / (a + b)", True),
        ("((N-R)/(R+N))", True),
        ("(a - b) / (a + c)", False),
        ("(a - b) / (a - b)", False),
        ("(a + b) / (a - b)", False),
        ("2.5 * (a - b) / (a + b)", False),
        ("(a - b) / (a + b) + 1", False),
        ("", False),
    ],
)
def test_formulas_of_normalised_differences_are_told(formula, expected):
    assert is_difference(formula) == expected
