"""Folds: blocks in order, gaps kept, the first fold left with enough, errors that name a way."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geoforecast.errors import SeriesTooShortError, SettingsError
from geoforecast.samples.folds import cut_folds
from geoforecast.samples.split import MIN_TRAIN, MIN_VALIDATION, Split
from geoforecast.values import fold_name, fold_of, parse_fold, train_command

SERIES = st.integers(1, 300), st.integers(1, 12), st.integers(0, 9), st.integers(0, 9)


def cut(steps, count, lookback, horizon):
    try:
        return cut_folds(steps, count, lookback, horizon)
    except SeriesTooShortError:
        assume(False)


@given(*SERIES)
def test_test_blocks_end_the_series_one_after_the_other(steps, count, lookback, horizon):
    folds = cut(steps, count, lookback, horizon)
    tested = [step for split in folds.splits for step in split.test_steps]
    assert tested == list(range(steps - len(tested), steps))
    assert len({len(split.test_steps) for split in folds.splits}) == 1
    assert len(folds.splits) == count
    assert len(tested) <= steps / 2


@given(*SERIES)
def test_no_forecast_of_a_block_touches_what_was_learned_from(steps, count, lookback, horizon):
    folds = cut(steps, count, lookback, horizon)
    for split in folds.splits:
        # The earliest forecast of a block starts horizon steps before it, and reads the lookback.
        first_read = split.test - folds.horizon - folds.lookback + 1
        assert first_read > split.validation_steps[-1]
        assert split.gap == folds.lookback + folds.horizon
        blocks = [*split.train_steps, *split.validation_steps]
        assert blocks == list(range(split.test - split.gap))


@given(*SERIES)
def test_every_fold_has_enough_and_a_later_one_no_less(steps, count, lookback, horizon):
    folds = cut(steps, count, lookback, horizon)
    sizes = [len(split.train_steps) for split in folds.splits]
    assert sizes == sorted(sizes)
    assert sizes[0] >= max(MIN_TRAIN, folds.lookback + folds.horizon)
    assert all(len(split.validation_steps) >= MIN_VALIDATION for split in folds.splits)
    assert (lookback or folds.lookback, horizon or folds.horizon) == (
        folds.lookback,
        folds.horizon,
    )


def test_half_the_series_is_tested_where_there_is_room():
    # 90 steps: 5 blocks of 9; the gap is 9, and of the 36 steps before it 8 validate.
    assert cut_folds(90, 5).splits[0] == Split(28, 45, 54, 9)
    assert cut_folds(90, 5).splits[4] == Split(57, 81, 90, 9)  # 72 - 15


def test_blocks_shrink_first_and_then_the_reach():
    # 60 steps: 6 a block would leave 21 before the gap; 18 to train on and 5 to validate are 23.
    # With 5 it is 60 - 25 - 9 = 26, of which 6 validate.
    assert cut_folds(60, 5).splits[0] == Split(20, 35, 40, 9)
    # 36 steps: 3 a block is the most. A lookback of 6 allows (36 - 9 - 23) / 5 = 0, one of 5
    # (36 - 8 - 19) / 5 = 1, one of 4 with horizon 2 (36 - 6 - 15) / 5 = 3.
    folds = cut_folds(36, 5)
    assert (folds.lookback, folds.horizon) == (4, 2)
    assert folds.splits[0] == Split(12, 21, 24, 6)


@pytest.mark.parametrize(("steps", "count", "lookback"), [(14, 7, 3), (6, 2, 0), (60, 40, 0)])
def test_what_an_error_names_works(steps, count, lookback):
    with pytest.raises(SeriesTooShortError, match=f"too few for {count} folds") as error:
        cut_folds(steps, count, lookback)
    text = str(error.value)
    most = re.search(r"can be cut into: (\w+)", text)[1]
    shortest = int(re.search(r"[Gg]ive (\d+) time steps", text)[1])
    if most != "none":
        assert f"into {most}" in text.splitlines()[-1]
        cut_folds(steps, int(most), lookback)
    with pytest.raises(SeriesTooShortError):
        cut_folds(steps, (0 if most == "none" else int(most)) + 1, lookback)
    cut_folds(shortest, count, lookback)
    with pytest.raises(SeriesTooShortError):
        cut_folds(shortest - 1, count, lookback)


def test_a_split_with_a_gap_survives_storage_and_keeps_its_end():
    times = np.datetime64("2020-01-01", "s") + np.arange(70) * np.timedelta64(86400, "s")
    for split in cut_folds(60, 5).splits:
        assert Split.from_meta(split.to_meta(times[:60]), times) == split
        # Within what was seen, everything is there but the test block.
        seen = Split.from_meta(split.to_meta(times[:60]), times[: split.seen])
        assert (seen.seen, seen.test, seen.steps) == (split.seen,) * 3
        assert seen.validation_steps == split.validation_steps


@pytest.mark.parametrize("text", ["0/5", "6/5", "1", "1/", "/5", "a/5", "1/0", "-1/5", "1/5/2"])
def test_what_is_no_fold(text):
    with pytest.raises(SettingsError, match=f"--fold {text} is no fold") as error:
        parse_fold(text)
    assert "--fold 1/5" in str(error.value)


def test_names_of_folds():
    assert parse_fold("") is None
    assert parse_fold("2/10") == (2, 10)
    assert fold_name("rain.v2", 2, 10) == "rain.v2.fold2of10"
    assert fold_of("rain.v2.fold2of10") == ("rain.v2", 2, 10)
    assert fold_of("default") is fold_of("fold2of10") is fold_of("a.fold0of3") is None
    assert train_command("a.fold2of3") == "geoforecast train --run a --fold 2/3"
    assert train_command("a") == "geoforecast train --run a"
