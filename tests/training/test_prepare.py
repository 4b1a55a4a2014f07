import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import FEATURES, REQUIRED
from training.data import Table, typed
from training.locations import TableError
from training.prepare import NUMERIC, Split, clean, outlier_fences, required_only, split, with_masked_copy
from training.sample import sample

FRAME = sample(2_000, seed=7)[0]
PARTS = ("train", "validation", "test")


def members(made: Split) -> dict[str, set[str]]:
    return {part: {*getattr(made, part).frame.customer_id} for part in PARTS}


def test_rows_identical_with_their_id_go_and_those_with_other_ids_stay() -> None:
    twins = FRAME.iloc[:5].assign(customer_id=[f"twin-{i}" for i in range(5)])
    nameless = FRAME.iloc[:4].assign(customer_id=pd.Series([None] * 4, dtype="str"))
    table = Table(pd.concat([FRAME, FRAME.iloc[:3], twins, nameless, nameless], ignore_index=True))
    cleaned, report = clean(table)
    assert (report.rows, report.duplicates_removed, len(cleaned.frame)) == (2_016, 3, 2_013)
    assert len(table.frame) == 2_016
    assert "2,016 rows, 3 of them removed as wholly identical" in str(report)


def test_missing_values_and_outliers_are_counted_by_column_and_kept() -> None:
    frame = FRAME.copy()
    frame.loc[:9, "gender"] = None
    frame["monthly_charges_usd"] = np.where(np.arange(len(frame)) < 7, 9_999.0, frame.monthly_charges_usd.clip(20, 110))
    cleaned, report = clean(Table(frame))
    assert report.missing["gender"] == int(frame.gender.isna().sum())
    assert report.missing["contract"] == 0
    assert report.outliers["monthly_charges_usd"] == 7
    assert cleaned.data_digest == Table(frame).data_digest
    assert "monthly_charges_usd 7" in str(report)
    assert "contract" not in str(report)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_fences_lie_three_interquartile_ranges_beyond_the_quartiles(seed: int) -> None:
    matrix = sample(200, seed)[0].pipe(Table).matrix
    low, high = outlier_fences(matrix)
    assert low.dtype == high.dtype == np.float32
    for at, i in enumerate(NUMERIC):
        lower, upper = np.nanquantile(matrix[:, i].astype(float), (0.25, 0.75))
        assert low[at] == np.float32(lower - 3 * (upper - lower))
        assert high[at] == np.float32(upper + 3 * (upper - lower))


def test_a_column_without_spread_or_values_is_fenced_by_the_contract() -> None:
    matrix = Table(FRAME).matrix
    matrix[:, NUMERIC[0]] = np.where(np.arange(len(matrix)) % 10, 0, 500)
    matrix[:, NUMERIC[-1]] = np.nan
    low, high = outlier_fences(matrix)
    for at in (0, -1):
        assert (low[at], high[at]) == (FEATURES[NUMERIC[at]].low, FEATURES[NUMERIC[at]].high)


@given(st.integers(0, 2**32), st.integers(20, 400))
@settings(max_examples=25)
def test_a_split_is_stratified_complete_and_independent_of_row_order(seed: int, rows: int) -> None:
    table = Table(FRAME.iloc[:rows].assign(churned=[i % 3 == 0 for i in range(rows)]))
    made = split(table, seed)
    where = members(made)
    assert sum(len(ids) for ids in where.values()) == len(set.union(*where.values())) == rows
    for churned in (False, True):
        total = int((table.churned == churned).sum())
        assert [int((getattr(made, part).churned == churned).sum()) for part in PARTS[1:]] == [round(0.2 * total)] * 2
    shuffled = Table(table.frame.sample(frac=1, random_state=seed % 1_000))
    assert members(split(shuffled, seed)) == where


@given(st.integers(0, 1_000))
@settings(max_examples=15)
def test_a_model_of_yesterdays_table_has_not_seen_todays_test_rows(seed: int) -> None:
    yesterday = members(split(Table(FRAME.iloc[:1_200]), seed))
    today = members(split(Table(FRAME), seed))
    assert not yesterday["train"] & today["test"]
    known = set.union(*yesterday.values()) & today["test"]
    assert len(known & yesterday["test"]) >= 0.9 * len(known)


def test_another_seed_is_another_split() -> None:
    assert members(split(Table(FRAME), 1))["test"] != members(split(Table(FRAME), 2))["test"]


def test_rows_without_ids_are_split_by_their_content() -> None:
    nameless = Table(FRAME.assign(customer_id=pd.Series([None] * len(FRAME), dtype="str")))
    backwards = Table(nameless.frame[::-1])
    for part in PARTS:
        one, other = (getattr(split(table, 3), part).matrix for table in (nameless, backwards))
        assert sorted(row.tobytes() for row in one) == sorted(row.tobytes() for row in other)


def test_a_class_too_small_for_three_parts_is_refused() -> None:
    churned = np.zeros(len(FRAME), dtype=bool)
    churned[:2] = True
    with pytest.raises(TableError, match="2 rows with churned true; give at least 3"):
        split(Table(FRAME.assign(churned=churned)), 0)
    churned[2] = True
    made = split(Table(FRAME.assign(churned=churned)), 0)
    assert [int(getattr(made, part).churned.sum()) for part in PARTS] == [1, 1, 1]


def test_the_masked_copy_knows_the_required_fields_only_and_weighs_less() -> None:
    table = Table(FRAME)
    matrix, before = table.matrix, table.matrix.tobytes()
    rows, churned, weights = with_masked_copy(matrix, table.churned, weight=0.25)
    n = len(matrix)
    assert rows.dtype == np.float32
    assert rows[:n].tobytes() == matrix.tobytes() == before
    assert rows[n:].tobytes() == required_only(matrix).tobytes()
    assert churned.tolist() == [*table.churned, *table.churned]
    assert weights.tolist() == [1.0] * n + [0.25] * n
    for i, field in enumerate(FEATURES):
        column = rows[n:, i]
        assert np.array_equal(column, matrix[:, i]) if field.name in REQUIRED else np.isnan(column).all()


def test_typed_frames_of_a_part_are_tables_of_their_own() -> None:
    part = split(Table(FRAME), 0).test
    assert typed(part.frame).equals(part.frame)
    assert part.data_digest != Table(FRAME).data_digest
