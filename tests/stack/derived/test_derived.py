"""Derived bands: indices against spyndex itself, validity, names, and what must be read."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import spyndex

from geoforecast.errors import InputError, SettingsError
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.bands import (
    ROLE_NAMES,
    guess_roles,
    kept_bands,
    needed_derived,
    parse_derived,
    raw_number_doubts,
)
from geoforecast.stack.reading.readings import Reading

S2 = ("B02", "B03", "B04", "B08", "B8A", "B11")
ROLES = {"B": "B02", "G": "B03", "R": "B04", "N": "B08", "N2": "B8A", "S1": "B11"}
BANDS = {role: f"band-{role}" for role in ROLE_NAMES}  # odd names, so that quoting is tried
NO_VALUE = {"CRSWIR", "DVIplus", "FAI", "FDI", "NDGI", "NIRvH2", "NIRvP"}


def settings(index: str = "", expression: str = "", **others: object) -> StackSettings:
    names = tuple(filter(None, index.split(",")))
    return StackSettings(index=names, expression=expression, **others)


def pixels(bands, shape=(6, 8)) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    values = {band: rng.uniform(0.02, 0.9, shape).astype(np.float32) for band in bands}
    return values, {band: np.ones(shape, bool) for band in bands}


def constants_of(name: str) -> dict[str, float]:
    known = {key: value.default for key, value in spyndex.constants.items() if value.default}
    known["k"] = known["slb"] = 0.0
    if re.search(r"\(1(\.0)?\+L\)", spyndex.indices[name].formula):
        known["L"] = 0.5  # Huete's soil term
    if name.startswith("WCI"):
        known["epsilon"] = 1e-10
    return known


def kernels(params: dict[str, np.ndarray]) -> dict[str, object]:
    result: dict[str, object] = {}
    for pair in ("kNN", "kNR", "kNB", "kNL", "kGG", "kGR", "kGB"):
        one, two = params[pair[1]], params[pair[2]]
        result[pair] = spyndex.computeKernel("RBF", a=one, b=two, sigma=(one + two) / 2)
    return result


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_index_is_what_spyndex_computes() -> None:
    values, valid = pixels(BANDS.values())
    for name in sorted(set(spyndex.indices) - NO_VALUE):
        (item,) = parse_derived(settings(name), tuple(BANDS.values()), BANDS)
        result, usable = item.evaluate(values, valid)
        params = {role: values[band].astype(np.float64) for role, band in BANDS.items()}
        params |= constants_of(name)
        expected = spyndex.computeIndex(name, params | kernels(params))
        same = np.isfinite(expected)
        np.testing.assert_array_equal(usable, same, err_msg=name)
        # Differences of near numbers lose digits in float32, so a pixel or two may be far off.
        close = np.isclose(result[same], expected[same], rtol=1e-3, atol=1e-6)
        assert close.mean() > 0.9, name


@pytest.mark.parametrize("name", sorted(NO_VALUE))
def test_an_index_whose_constants_are_not_given_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f'--expression "{name} = '):
        parse_derived(settings(name), tuple(BANDS.values()), BANDS)


def test_known_values() -> None:
    """NDVI (0.5 - 0.1) / 0.6; EVI 2.5 * 0.4 / (0.5 + 0.6 - 0.375 + 1); SAVI 1.5 * 0.4 / 1.1."""
    values = {band: np.float32([0.5]) for band in S2}
    values |= {"B04": np.float32([0.1]), "B02": np.float32([0.05])}
    valid = {band: np.ones(1, bool) for band in S2}
    found = [
        item.evaluate(values, valid)[0][0]
        for item in parse_derived(settings("NDVI,evi,savi"), S2, ROLES)
    ]
    np.testing.assert_allclose(found, [0.4 / 0.6, 1 / 1.725, 0.6 / 1.1], rtol=1e-6)


def test_valid_where_all_inputs_are_and_the_result_is_finite() -> None:
    nir = np.float32([0.5, 0.5, np.nan, 0.0, 0.5, np.inf])
    red = np.float32([0.1, np.nan, 0.1, 0.0, -0.5, 0.1])
    usable = {"B08": np.array([1, 1, 0, 1, 1, 0], bool), "B04": np.array([1, 0, 1, 1, 1, 1], bool)}
    (item,) = parse_derived(settings("NDVI"), S2, ROLES)
    values, valid = item.evaluate({"B08": nir, "B04": red}, usable)
    assert valid.tolist() == [True, False, False, False, False, False]
    assert np.isnan(values[1:]).all()
    assert values.dtype == np.float32
    assert usable["B08"].tolist() == [1, 1, 0, 1, 1, 0]  # inputs are left alone


def test_an_invalid_input_counts_even_where_it_does_not_change_the_result() -> None:
    (item,) = parse_derived(settings(expression="x = where(B04 > 0, B08, B11)"), S2, {})
    values, valid = pixels(S2)
    valid["B11"][2, 3] = False
    result, usable = item.evaluate(values, valid)
    assert not usable[2, 3]
    assert usable.sum() == usable.size - 1
    np.testing.assert_array_equal(result[usable], values["B08"][usable])


def test_later_expressions_use_earlier_ones_and_indices() -> None:
    derived = parse_derived(settings("NDVI", "half = ndvi / 2; low = min(half, B04)"), S2, ROLES)
    assert [(item.name, item.inputs) for item in derived] == [
        ("NDVI", ("B08", "B04")),
        ("half", ("NDVI",)),
        ("low", ("half", "B04")),
    ]
    values, valid = pixels(S2)
    valid["B08"][0, 0] = False
    for item in derived:
        values[item.name], valid[item.name] = item.evaluate(values, valid)
    assert not valid["low"][0, 0]
    ndvi = (values["B08"] - values["B04"]) / (values["B08"] + values["B04"])
    expected = np.minimum(ndvi / 2, values["B04"])
    np.testing.assert_array_equal(values["low"][valid["low"]], expected[valid["low"]])
    with pytest.raises(SettingsError, match="'half' is no band here"):
        parse_derived(settings(expression="low = half + B04; half = B08 / 2"), S2, {})


def test_a_derived_band_can_travel_between_processes() -> None:
    (item,) = parse_derived(settings("EVI"), S2, ROLES)
    assert pickle.loads(pickle.dumps(item)) == item


@pytest.mark.parametrize(
    ("index", "expression", "message"),
    [
        ("", "B04 = B08 / 2", "--expression B04 has the name"),
        ("", "b04 = B08 / 2", "--expression b04 has the name"),
        ("", "x = B04; X = B08", "--expression X has the name"),
        ("NDVI", "ndvi = B08 / 2", "--expression ndvi has the name"),
        ("NDVIX", "", "Did you mean 'NDVI'"),
        ("zzzzzz", "", "It knows 28"),
        ("bai", "", r"--index bai is no index(.|\n)*Write BAI or BaI"),
    ],
)
def test_names_that_will_not_do(index: str, expression: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_derived(settings(index, expression), S2, ROLES)


def test_an_index_does_not_shadow_a_band() -> None:
    with pytest.raises(SettingsError, match="--index NDVI has the name of a band"):
        parse_derived(settings("NDVI"), ("red", "nir", "ndvi"), {})


def test_missing_roles_are_listed_with_the_remedy() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_derived(settings("NBR"), ("B04", "nir"), {})
    assert "S2 (Short-wave Infrared (SWIR) 2)" in caught.value.what
    assert caught.value.where == ("bands: B04, nir", "known: N = nir")
    assert '--expression "NBR = (N-S2)/(N+S2)"' in caught.value.remedy
    assert "--sensor" in caught.value.remedy


def test_classes_are_no_numbers() -> None:
    for asked in (settings("NDVI", kind="categorical"), settings("", "x=B04", kind="categorical")):
        with pytest.raises(SettingsError, match="--kind categorical"):
            parse_derived(asked, S2, ROLES)
    assert parse_derived(settings(kind="categorical"), S2, ROLES) == ()


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("red", "nir", "blue"), {"R": "red", "N": "nir", "B": "blue"}),
        (("SR_Red", "sr NIR"), {"R": "SR_Red", "N": "sr NIR"}),
        (("red_edge_1", "red", "RedEdge2"), {"RE1": "red_edge_1", "R": "red", "RE2": "RedEdge2"}),
        (("nir", "nir08", "SWIR1"), {"N": "nir", "N2": "nir08", "S1": "SWIR1"}),
        (("narrow_nir",), {"N2": "narrow_nir"}),
        (("red_10m", "red_20m", "nir"), {"N": "nir"}),  # two reds: neither is taken
        (("VV", "sigma0_vh"), {"VV": "VV", "VH": "sigma0_vh"}),
        (("R", "N", "g"), {"R": "R", "N": "N"}),  # "g" is a constant's name
        (("infrared_scatter", "B04", "B08", "predicted", "colored"), {}),
    ],
)
def test_roles_by_name(bands: tuple[str, ...], expected: dict[str, str]) -> None:
    assert guess_roles(bands) == expected


def test_given_roles_come_before_names_and_absent_bands_play_none() -> None:
    (item,) = parse_derived(settings("NDVI"), ("red", "nir", "B8"), {"N": "B8"})
    assert item.inputs == ("B8", "red")
    (item,) = parse_derived(settings("NDVI"), ("red", "nir"), {"N": "B8"})
    assert item.inputs == ("nir", "red")
    (item,) = parse_derived(settings("NDVI"), ("red", "nir08"), {})  # Landsat's only infrared
    assert item.inputs == ("nir08", "red")


def test_what_is_kept_and_what_must_be_read() -> None:
    derived = parse_derived(settings("NDVI", "half = NDVI / 2; sum = B11 + B02"), S2, ROLES)
    everything = (*S2, "NDVI", "half", "sum")
    assert kept_bands((), S2, derived) == (everything, S2)
    assert kept_bands(("NDVI",), S2, derived) == (("NDVI",), ("B04", "B08"))
    assert kept_bands(("half", "b02", "half"), S2, derived) == (
        ("half", "B02"),
        ("B02", "B04", "B08"),
    )
    assert kept_bands(("3", "7", "9"), S2, derived) == (
        ("B04", "NDVI", "sum"),
        ("B02", "B04", "B08", "B11"),
    )
    assert [item.name for item in needed_derived(("half",), derived)] == ["NDVI", "half"]
    assert needed_derived(S2, derived) == ()


def test_what_is_needed_reaches_through_a_chain() -> None:
    chain = parse_derived(settings(expression="a = B02; b = a + 1; c = b + 1; d = B03"), S2, {})
    assert [item.name for item in needed_derived(("c",), chain)] == ["a", "b", "c"]
    assert kept_bands(("c",), S2, chain) == (("c",), ("B02",))


def test_an_exact_name_comes_first() -> None:
    assert kept_bands(("2",), ("2", "1"), ()) == (("2",), ("2",))
    assert kept_bands(("nir",), ("nir", "NIR"), ()) == (("nir",), ("nir",))


def test_bands_that_are_not_there() -> None:
    with pytest.raises(InputError, match=r"There is no band 'NVDI'(.|\n)*Did you mean 'NDVI'"):
        kept_bands(("NVDI",), S2, parse_derived(settings("NDVI"), S2, ROLES))
    with pytest.raises(InputError, match="is the mask"):
        kept_bands(("scl",), S2, (), masks=("SCL",))
    with pytest.raises(InputError, match="There is no band '7'"):
        kept_bands(("7",), S2, ())


def test_constants_for_reflectance_meet_no_raw_numbers() -> None:
    def scene(dtype: str, scale: float) -> SimpleNamespace:
        return SimpleNamespace(
            key="a.tif",
            header=SimpleNamespace(dtypes=(dtype,) * 6),
            bands={band: number for number, band in enumerate(S2, 1)},
            readings={band: Reading(scale=scale) for band in S2},
        )

    evi, ndvi = (parse_derived(settings(name), S2, ROLES) for name in ("EVI", "NDVI"))
    (sentence,) = raw_number_doubts(evi, [scene("uint16", 1.0)] * 2)
    assert sentence.startswith("EVI holds constants for reflectance")
    assert "of a.tif is uint16" in sentence
    assert raw_number_doubts(evi, [scene("uint16", 1e-4), scene("float32", 1.0)]) == ()
    assert raw_number_doubts(ndvi, [scene("uint16", 1.0)]) == ()  # a ratio of differences
    (bai,) = parse_derived(settings("BAI"), S2, ROLES)
    assert bai.absolute  # (0.1 - R)^2: tiny numbers, but others
    (nirv,) = parse_derived(settings("NIRv"), S2, ROLES)
    assert not nirv.absolute  # NDVI * N: the same picture in another unit


def test_the_table_is_loaded_only_when_an_index_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from geoforecast.settings import StackSettings\n"
        "from geoforecast.stack.derived.bands import parse_derived\n"
        "parse_derived(StackSettings(expression='x = a + 1'), ['a'], {})\n"
        "assert not {'spyndex', 'requests', 'box'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
