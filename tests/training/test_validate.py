import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bundle import FILES, BundleError, Reference, Shares, sha256
from app.contract import CONTRACT_DIGEST, FEATURES, FIELDS, binned
from training.cli import main
from training.data import load_table, matrix_of
from training.locations import TableError
from training.sample import sample, write_sample
from training.validate import LABEL, Limits, drift, moved, population_stability, table_schema

HEADER = "customer_id,tenure_months,monthly_charges_usd,contract,payment_method,total_charges_usd,partner,churned"
GOOD = "a,1,29.85,one-year,credit-card,29.85,true,false"
OTHER = "b,2,30,two-year,mailed-check,,false,true"


def report_on(path: Path, *lines: str, limits: Limits | None = None) -> list[str]:
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TableError) as refused:
        load_table(str(path), limits)
    return [line.strip() for line in str(refused.value).splitlines()[1:]]


@pytest.fixture
def churn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["churn", "--home", str(tmp_path / "home"), *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        written = capsys.readouterr()
        return int(exited.value.code or 0), written.out, written.err

    return run


def reference_of_frame(matrix: np.ndarray) -> Reference:
    bins = binned(matrix)
    shares = {
        field.name: Shares(
            bins=list(field.bins), shares=(np.bincount(bins[:, i], minlength=len(field.bins)) / len(bins)).tolist()
        )
        for i, field in enumerate(FEATURES)
    }
    return Reference(fields=shares, churn_probability=Shares(bins=["all"], shares=[1.0]))


def write_bundle(store: Path, reference: Reference) -> str:
    """A bundle whose model is not a model: only its reference is read here. Its digest."""
    content = {
        "card.md": b"card",
        "golden.json": msgspec.json.encode({"customers": [], "churn_probabilities": [], "tolerance": 1e-6}),
        "model.onnx": b"model",
        "reference.json": msgspec.json.encode(reference),
    }
    assert sorted(content) == sorted(FILES)
    manifest = msgspec.json.encode(
        {
            "contract_digest": CONTRACT_DIGEST,
            "data_digest": "0" * 64,
            "algorithm": "none",
            "features_digest": "0" * 64,
            "seed": 0,
            "rows": 1,
            "parity_max_abs": 0.0,
            "versions": {},
            "files": {name: sha256(data) for name, data in content.items()},
        }
    )
    folder = store / sha256(manifest)
    folder.mkdir(parents=True)
    for name, data in {**content, "manifest.json": manifest}.items():
        (folder / name).write_bytes(data)
    return folder.name


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("x,-1,30,one-year,credit-card,,true,true", "tenure_months, row 3: found '-1', must be 0 to 600 months"),
        ("x,601,30,one-year,credit-card,,true,true", "tenure_months, row 3: found '601', must be 0 to 600 months"),
        ("x,1.5,30,one-year,credit-card,,true,true", "tenure_months, row 3: found '1.5', must be a whole number"),
        ("x,,30,one-year,credit-card,,true,true", "tenure_months, row 3: found nothing, must be present"),
        ("x,one,30,one-year,credit-card,,true,true", "tenure_months, row 3: found 'one', must be a finite number"),
        ("x,1_0,30,one-year,credit-card,,true,true", "tenure_months, row 3: found '1_0', must be a finite number"),
        ("x,1,NaN,one-year,credit-card,,true,true", "monthly_charges_usd, row 3: found 'NaN', must be a finite number"),
        ("x,1,inf,one-year,credit-card,,true,true", "monthly_charges_usd, row 3: found 'inf', must be a finite number"),
        ("x,1,1e999,one-year,credit-card,,true,true", "monthly_charges_usd, row 3: found '1e999', must be a finite number"),
        ("x,1,10000.01,one-year,credit-card,,true,true", "monthly_charges_usd, row 3: found '10000.01', must be 0 to 10,000 USD"),
        (
            "x,1,30,weekly,credit-card,,true,true",
            "contract, row 3: found 'weekly', must be one of month-to-month, one-year, two-year",
        ),
        ("x,1,30,One year,credit-card,,true,true", "contract, row 3: found 'One year', must be one of"),
        ("x,1,30, ,credit-card,,true,true", "contract, row 3: found nothing, must be present"),
        ("x,1,30,one-year,credit-card,,maybe,true", "partner, row 3: found 'maybe', must be true or false"),
        ("x,1,30,one-year,credit-card,,true,", "churned, row 3: found nothing, must be present"),
        ("x,1,30,one-year,credit-card,,true,2", "churned, row 3: found '2', must be true or false"),
        ("x" * 65 + ",1,30,one-year,credit-card,,true,true", "must be 1 to 64 characters"),
        (
            "a,1,30,one-year,credit-card,,true,true",
            "customer_id, row 3: found 'a', must be unique, but row 1 has it with other values",
        ),
    ],
)
def test_a_bad_value_is_named_by_column_row_value_and_rule(tmp_path: Path, bad: str, told: str) -> None:
    lines = report_on(tmp_path / "t.csv", HEADER, GOOD, OTHER, bad)
    assert len(lines) == 1
    assert told in lines[0]


def test_every_violation_is_in_one_report_under_the_files_own_names(tmp_path: Path) -> None:
    header = "customerID,tenure,MonthlyCharges,Contract,Colour,Churn"
    rows = ("1,-1,20,Month-to-month,red,Yes", "2,x,20,Weekly,red,No", "2,3,20,One year,red,No")
    lines = report_on(tmp_path / "t.csv", header, *rows)
    assert lines == [
        "tenure, row 1: found '-1', must be 0 to 600 months",
        "tenure, row 2: found 'x', must be a finite number",
        "Colour: found a column, must be a field of the contract",
        "PaymentMethod: found nothing, must be present",
        "Contract, row 2: found 'Weekly', must be one of month-to-month, one-year, two-year",
        "customerID, row 3: found '2', must be unique, but row 2 has it with other values",
    ]


def test_a_report_counts_what_it_does_not_print(tmp_path: Path) -> None:
    rows = [f"c{i},-{i},30,one-year,credit-card,,true,{i % 2}" for i in range(1, 101)]
    lines = report_on(tmp_path / "t.csv", HEADER, *rows)
    assert len(lines) == 21
    assert lines[19].startswith("tenure_months, row 20:")
    assert lines[20] == "tenure_months: 80 more, 100 in all, must be 0 to 600 months"


def test_no_label_or_one_class_is_refused(tmp_path: Path) -> None:
    unlabelled = report_on(tmp_path / "t.csv", HEADER.removesuffix(",churned"), GOOD.removesuffix(",false"))
    assert unlabelled == ["churned: found nothing, must be present"]
    one = report_on(tmp_path / "t.csv", HEADER, GOOD, GOOD.replace("a,", "b,", 1))
    assert one == ["churned: found only false, must be both true and false"]


def test_the_same_row_twice_and_the_same_values_under_other_ids_are_no_violation(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join((HEADER, GOOD, OTHER, GOOD, OTHER.replace("b,", "c,", 1), OTHER.replace("b,", ",", 1))))
    assert len(load_table(str(path)).frame) == 5


def test_limits_are_checked_in_the_same_report(tmp_path: Path) -> None:
    rows = [GOOD.replace("a,", f"a{i},", 1).replace("29.85,true", ",true" if i % 4 else "29.85,true") for i in range(300)]
    lines = report_on(tmp_path / "t.csv", HEADER, *rows, *rows[:100], OTHER, limits=Limits())
    assert "total_charges_usd: found 75.1% missing, must be at most 50.0% missing" in lines
    assert "gender: found 100.0% missing, must be at most 50.0% missing" in lines
    assert "every column: found 24.9% duplicate rows, must be at most 10.0% duplicate rows" in lines
    assert "churned: found 0.25% true, must be at least 1.00% of rows of each class" in lines
    assert not any(line.startswith("partner") for line in lines)
    load_table(str(tmp_path / "t.csv"), Limits(missing_share=1, duplicate_share=0.25, class_share=0.002))


def test_the_schema_follows_the_contract() -> None:
    schema = table_schema()
    assert [*schema.columns] == [*(field.name for field in FIELDS), LABEL]
    assert schema.strict
    for field in FIELDS:
        column = schema.columns[field.name]
        assert (column.nullable, column.required) == (not field.required, field.required)


SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=9).map(lambda raw: np.array(raw) / sum(raw))


@given(SHARES, st.randoms())
def test_population_stability_is_its_formula_symmetric_and_zero_for_the_same(shares: np.ndarray, random) -> None:
    other = np.array(random.sample(list(shares), len(shares)))
    expected = sum((b - a) * np.log(b / a) for a, b in zip(shares, other, strict=True))
    assert population_stability(shares, other) == pytest.approx(expected, abs=1e-12)
    assert population_stability(shares, other) == pytest.approx(population_stability(other, shares), abs=1e-12)
    assert population_stability(shares, other) >= -1e-12
    assert population_stability(shares, shares) == 0


def test_population_stability_of_a_known_example() -> None:
    assert population_stability(np.array([0.5, 0.5]), np.array([0.6, 0.4])) == pytest.approx(0.04054651, abs=1e-8)


def test_drift_names_what_moved_and_nothing_else() -> None:
    reference = reference_of_frame(np.asarray(load_matrix(5_000, seed=1)))
    same, later = load_matrix(5_000, seed=2), load_matrix(5_000, seed=3)
    later[:, 1] += 30
    assert moved(drift(same, reference)) == []
    assert moved(drift(later, reference)) == ["monthly_charges_usd"]


def test_an_empty_bin_has_a_finite_index() -> None:
    matrix = load_matrix(1_000, seed=1)
    reference = reference_of_frame(matrix)
    gone = matrix.copy()
    gone[:, 2] = 0
    indices = drift(gone, reference)
    assert np.isfinite(indices["contract"])
    assert indices["contract"] > 0.2
    assert max(drift(matrix, reference).values()) < 1e-12


def load_matrix(rows: int, seed: int) -> np.ndarray:
    return matrix_of(sample(rows, seed)[0])


def test_validate_exits_by_what_it_found(churn, tmp_path: Path) -> None:
    table, bad, older = tmp_path / "t.csv", tmp_path / "bad.csv", tmp_path / "older.csv"
    write_sample(table, rows=3_000, seed=1)
    bad.write_text(table.read_text().replace("two-year", "three-year", 1))
    frame = sample(3_000, seed=2)[0]
    frame.assign(contract=pd.Categorical(["two-year"] * 3_000)).to_csv(older, index=False)
    store = tmp_path / "home" / "var" / "bundles"
    digest = write_bundle(store, reference_of_frame(load_matrix(3_000, seed=4)))

    code, out, _ = churn("validate", table)
    assert (code, "keeps the contract" in out, "3,000 rows, 0 of them removed" in out) == (0, True, True)
    code, out, err = churn("validate", bad)
    assert (code, out, "found 'three-year'" in err) == (2, "", True)
    for bundle in (digest, store / digest, f"{(store / digest).as_uri()}/"):
        code, out, err = churn("validate", table, "--against", bundle)
        assert (code, "no field has moved" in out) == (0, True), err
    code, out, _ = churn("validate", older, "--against", digest)
    assert code == 1
    assert "1 of 19 fields have moved" in out
    assert "contract: population stability index" in out
    assert churn("validate", table, "--against", "0" * 64)[0] == 2
    assert churn("validate", table, "--max-missing", "0.001")[0] == 2


def test_a_reference_with_other_bins_is_refused() -> None:
    reference = reference_of_frame(load_matrix(100, seed=1))
    other = msgspec.structs.replace(reference, fields={**reference.fields, "contract": Shares(bins=["a"], shares=[1.0])})
    with pytest.raises(BundleError, match="other bins for contract"):
        drift(load_matrix(100, seed=1), other)
