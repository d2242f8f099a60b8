"""Expressions: what is read, what is refused and where, what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.stack.derived.expressions import (
    compute,
    read_expression,
    split_assignments,
    substitute,
)

BANDS = ("B04", "B08", "B8A", "sur-refl 1", "2", "max")


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {band: rng.uniform(-1, 1, (5, 7)).astype(np.float32) for band in BANDS}


def result_of(text: str) -> np.ndarray:
    return compute(read_expression(text, BANDS)[0], values())


a, b, c = (values()[name].astype(np.float64) for name in ("B04", "B08", "B8A"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B08 / B04", b / a),
        ("(B08 - B04) * 2", (b - a) * 2),
        ("b08 - B04 * 2", b - a * 2),  # case is forgiven, * binds before -
        ("-B04 ** 2", -(a**2)),
        ("+B04 - -B08", a + b),
        ("B04 * 2e-1 + 1", a * 0.2 + 1),
        ("min(B04, B08, 0)", np.minimum(np.minimum(a, b), 0)),
        ("max(B04, B8A)", np.maximum(a, c)),
        ("abs(B04) + sqrt(abs(B08))", np.abs(a) + np.sqrt(np.abs(b))),
        ("exp(B04) + log(B08 + 2) + log10(B8A + 2)", np.exp(a) + np.log(b + 2) + np.log10(c + 2)),
        ("clip(B04, -0.5, B08 * B08)", np.minimum(np.maximum(a, -0.5), b * b)),
        ("clip(B04 > 0, 0, 0.5)", 0.5 * (a > 0)),
        ("where(B04 > 0 and B08 <= 0.5, B04, -1)", np.where((a > 0) & (b <= 0.5), a, -1)),
        ("where(not B04 > 0 or B08 > 0, 1, B8A)", np.where(~(a > 0) | (b > 0), 1, c)),
        ("where(-0.5 < B04 < 0.5, 1, 0)", ((a > -0.5) & (a < 0.5)).astype(float)),
        ("(B04 > 0) - (B08 > 0)", (a > 0).astype(float) - (b > 0)),  # truth counts as 1
        ("B04 >= B04", np.ones((5, 7))),
        ("(B04 == B04) + (B04 != B08)", np.full((5, 7), 2.0)),
        ("'sur-refl 1' + \"2\" * max", values()["sur-refl 1"] + values()["2"] * values()["max"]),
    ],
)
def test_arithmetic_is_that_of_numpy(text: str, expected: np.ndarray) -> None:
    result = result_of(text)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


def test_what_has_no_answer_is_not_finite_and_does_not_warn() -> None:
    zero = {"x": np.array([0, -1, np.nan, 1e30], np.float32)}
    for text in ("1 / x - 1 / x", "log(x)", "x ** 0.5", "x * x * x"):
        compute(read_expression(text, ["x"])[0], zero)
    assert np.isnan(compute("log(x)", zero)[1])
    assert np.isinf(compute("1 / x", zero)[0])
    assert np.isinf(compute("x * x", zero)[3])  # float32, not float64


def test_all_is_float32() -> None:
    """0.1 in float64 would make 0.1 + x another number, and take twice the memory."""
    x = {"x": np.array([0.1, 1e8], np.float32)}
    assert compute("x - 0.1", x)[0] == 0
    assert compute("x + 1 - x", x)[1] == 0
    assert compute("where(x > 5, 1, 2)", x).dtype == np.float32
    assert compute("x + 0", {"x": np.array([7], np.uint8)}).dtype == np.float32


@pytest.mark.parametrize(
    "text", ["exp(x) ** 0.37 + log(x)", "sqrt(x) / (x + 0.1) ** 3", "log10(x) * exp(-x)"]
)
def test_any_cut_gives_the_same_bits(text: str) -> None:
    x = np.random.default_rng(1).uniform(0.01, 3, (37, 53)).astype(np.float32)
    whole = compute(text, {"x": x})
    for rows in (1, 5, 36):
        for cols in (1, 7, 52):
            for part in ((slice(rows, None), slice(cols, None)), (slice(rows), slice(cols))):
                np.testing.assert_array_equal(compute(text, {"x": x[part]}), whole[part])
    wide = np.full((37, 106), -1, np.float32)
    wide[:, ::2] = x
    np.testing.assert_array_equal(compute(text, {"x": wide[:, ::2]}), whole)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("B08 / B9", 6, "'B9' is no band here"),
        ("'µg' + B9", 0, "'µg' is no band here"),
        ("B08 * foo(B04)", 6, "there is no function 'foo'"),
        ("1 + sqrt(B04, 2)", 4, "sqrt takes 1 argument, not 2"),
        ("1 + clip(B04, 2)", 4, "clip takes 3 arguments, not 2"),
        ("1 + min(B04)", 4, "min takes at least 2 arguments, not 1"),
        ("B04 + 1e39", 6, "too large"),
        ("B04 B08", 4, "cannot be read"),
        ("B04 # twice", 4, "'#' means nothing"),
        ("B04 + (lambda: 1)", 7, "not understood"),
        ("1 + B04.real", 4, "not understood"),
        ("1 + B04[0]", 4, "not understood"),
        ("2 + True", 4, "not understood"),
        ("1 + 1j * B04", 4, "not understood"),
        ("1 + B04 // 2", 4, "not understood"),
        ("1 + max(B04, B08, key=B04)", 4, "not understood"),
        ("B04 if B08 else 1", 0, "not understood"),
        ("__import__('os')", 0, "there is no function '__import__'"),
    ],
)
def test_an_error_shows_the_place_and_the_bands(text: str, place: int, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_expression(text, BANDS)
    assert message in caught.value.what
    line, caret, known = caught.value.where
    assert line == text
    assert caret == " " * place + "^"
    assert known == "bands: B04, B08, B8A, sur-refl 1, 2, max"
    assert caught.value.remedy


def test_the_place_counts_characters_not_bytes() -> None:
    with pytest.raises(SettingsError) as caught:
        read_expression("'µµ' + zz", ["µµ"])
    assert caught.value.where[1] == " " * 7 + "^"


@pytest.mark.parametrize(
    "text", ["-" * 5000 + "B04", "(" * 300 + "B04" + ")" * 300, "+".join(["B04"] * 2000), "\0"]
)
def test_what_would_overflow_python_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        read_expression(text, BANDS)


def test_case_must_be_clear() -> None:
    assert read_expression("NIR + 1", ["nir", "NIR"])[1] == ("NIR",)
    with pytest.raises(SettingsError, match="may be any of nir, NIR"):
        read_expression("Nir + 1", ["nir", "NIR"])


def test_numbers_alone_make_no_band() -> None:
    with pytest.raises(SettingsError, match="uses no band"):
        read_expression("1 + 1", BANDS)


def test_assignments_are_parted_outside_quotes() -> None:
    text = "ratio = B08 / B04;\n d=(a - b) * 2 ;; e = 'x;y=1' == 3;"
    assert split_assignments(text) == (
        ("ratio", "B08 / B04"),
        ("d", "(a - b) * 2"),
        ("e", "'x;y=1' == 3"),
    )
    assert split_assignments("  ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("B08 / B04", "needs a name"),
        ("a ==  B04", "needs a name"),
        ("a =", "needs a name"),
        ("1st = B04", "cannot name a band '1st'"),
        ("a b = B04", "cannot name a band 'a b'"),
        ("min = B04", "cannot name a band 'min'"),
        ("and = B04", "cannot name a band 'and'"),
        ("x = " + "B04 + " * 5000 + "1", "characters long"),
    ],
)
def test_an_assignment_needs_a_name(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        split_assignments(text)


def test_substitution_keeps_functions_and_quotes_odd_names() -> None:
    text = substitute("exp(-(N - L) ** 2) / max(N, R)", {"N": "band 8", "R": "and", "L": -0.5})
    bands = {"band 8": np.float32([0.3]), "and": np.float32([0.7])}
    np.testing.assert_allclose(compute(text, bands), np.exp(-(0.8**2)) / 0.7, rtol=1e-6)
