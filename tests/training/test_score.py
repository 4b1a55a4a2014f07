"""`churn score`: the endpoint's answers for a whole file, in constant memory, whatever ends the process."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from app.contract import FIELDS
from app.main import create_app
from app.release import BusinessCase, encode_release, sealed
from tests.app.support import Place, release, served, variant, wait_for, write_bundle
from tests.training.models import quick_contents, small_table
from training import cli, stream
from training.data import arrow_of, load_table
from training.sample import sample
from training.stream import open_stream
from training.trees import BoostedTrees

Run = Callable[..., tuple[int, str, str]]
# Ties in the last digit of the money, in case two ways to round should differ.
CASES = {
    "the usual case": BusinessCase(),
    "a case full of ties": BusinessCase(offer_cost_usd=0.01, offer_acceptance=0.5, margin_usd_per_month=0.25, horizon_months=1),
    "a crooked case": BusinessCase(offer_cost_usd=1.23, offer_acceptance=0.337, margin_usd_per_month=12.345, horizon_months=7),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return released(tmp_path, BusinessCase())


def released(root: Path, case: BusinessCase, algorithm: str = "histogram-gradient-boosting") -> Place:
    """A release of a model whose offers begin at a probability that splits the customers."""
    champion = variant(write_bundle(root / "bundles", quick_contents(algorithm)))
    written = msgspec.structs.replace(release(champion), business_case=case)
    (root / "release.json").write_bytes(encode_release(sealed(written)))
    return Place(root)


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output and errors of the command."""

    def churn(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["churn", "--home", str(place.root / "home"), "score", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return churn


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BATCH_ROWS", 100)
    monkeypatch.setattr(stream, "BATCH_BYTES", 10_000)


def by(place: Place) -> list[object]:
    return ["--release", place.root / "release.json", "--store", (place.root / "bundles").as_uri()]


def customers() -> Any:
    """600 customers with missing values, of whom nobody knows what becomes."""
    return arrow_of(small_table().frame).drop_columns(["churned"])


def write(table: Any, path: Path) -> Path:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def results(path: Path) -> list[dict[str, Any]]:
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    return table.to_pylist()


def answers(place: Place) -> list[dict[str, Any]]:
    """What the endpoint says of the same customers."""
    with served(create_app(place.settings())) as url, httpx.Client(base_url=url) as http:
        wait_for(lambda: http.get("/readyz").status_code == 200, "readiness")
        answer = http.post("/v1/predict/batch", json={"customers": customers().to_pylist()})
    assert answer.status_code == 200
    return answer.json()["predictions"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("source", "out"), [("in.csv", "out.parquet"), ("in.parquet", "out.csv")])
@pytest.mark.usefixtures("small_batches")
def test_a_file_is_scored_exactly_as_the_endpoint_answers(source: str, out: str, case: str, run: Run, tmp_path: Path):
    place = released(tmp_path / "released", CASES[case])
    table = write(customers(), tmp_path / source)
    code, said, err = run(table, tmp_path / out, *by(place))
    assert (code, err) == (0, "")
    found, expected = results(tmp_path / out), answers(place)
    names = ("churn_probability", "decision", "expected_value_usd")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in expected]
    assert [row["row"] for row in found] == list(range(1, 601))
    assert [row["customer_id"] for row in found] == customers().column("customer_id").to_pylist()
    offers = sum(row["decision"] == "offer" for row in expected)
    assert f"out{Path(out).suffix}: 600 customers scored, {offers} to get the offer; bundle " in said
    assert {path.name for path in tmp_path.iterdir()} == {"released", "bundles", "release.json", source, out}


@pytest.mark.parametrize("algorithm", ["histogram-gradient-boosting", "random-forest"])
@pytest.mark.usefixtures("small_batches")
def test_a_model_that_is_not_those_trees_is_scored_by_its_graph(
    algorithm: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(BoostedTrees, "score", lambda _, rows: np.full(len(rows), 0.5, dtype=np.float32))
    place = released(tmp_path / "released", BusinessCase(), algorithm)
    assert run(write(customers(), tmp_path / "in.csv"), tmp_path / "out.csv", *by(place))[0] == 0
    found = [row["churn_probability"] for row in results(tmp_path / "out.csv")]
    assert found == [answer["churn_probability"] for answer in answers(place)]


def test_the_telco_files_own_names_a_file_url_and_only_the_required_fields_will_do(run: Run, place: Place, tmp_path: Path):
    assert run(write(customers(), tmp_path / "in.csv"), tmp_path / "ours.csv", *by(place))[0] == 0
    telco = arrow_of(small_table().frame)
    telco = telco.rename_columns({**{field.name: field.telco for field in FIELDS}, "churned": "Churn"})
    table = write(telco, tmp_path / "telco.parquet")
    assert run(table.as_uri(), (tmp_path / "theirs.csv").as_uri(), *by(place))[0] == 0
    assert results(tmp_path / "theirs.csv") == results(tmp_path / "ours.csv")
    required = customers().select([field.name for field in FIELDS if field.required])
    assert run(write(required, tmp_path / "required.csv"), tmp_path / "few.parquet", *by(place))[0] == 0
    few = results(tmp_path / "few.parquet")
    assert {row["customer_id"] for row in few} == {None}
    assert len({row["churn_probability"] for row in few}) > 10


def test_what_is_live_on_local_is_the_default_and_a_bundle_goes_by_its_case(run: Run, place: Place, tmp_path: Path):
    table = write(customers(), tmp_path / "in.csv")
    code, _, err = run(table, tmp_path / "out.csv")
    assert code == 2
    assert "run `churn promote --stack local` first, or give --bundle or --release" in err
    assert run(table, tmp_path / "named.csv", *by(place))[0] == 0
    [bundle] = (place.root / "bundles").iterdir()
    assert run(table, tmp_path / "bundle.csv", "--bundle", bundle.name, *by(place)[2:])[0] == 0
    home = place.root / "home"
    (home / "releases").mkdir(parents=True)
    (place.root / "release.json").rename(home / "releases" / "local.json")
    (home / "var").mkdir()
    (place.root / "bundles").rename(home / "var" / "bundles")
    assert run(table, tmp_path / "live.csv")[0] == 0
    assert results(tmp_path / "live.csv") == results(tmp_path / "named.csv") == results(tmp_path / "bundle.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_batch_is_bounded_and_so_is_what_reading_holds(suffix: str, tmp_path: Path):
    once = pa.concat_tables([arrow_of(sample(10_000, 1)[0]).drop_columns(["customer_id"])] * 20)
    peaks: list[int] = []
    for times in (1, 4):
        # One row group, however many rows.
        table = pa.concat_tables([once] * times)
        path = tmp_path / f"{times}{suffix}"
        pyarrow.csv.write_csv(table, path) if suffix == ".csv" else pyarrow.parquet.write_table(table, path, row_group_size=10**7)
        before, peak, rows = pa.total_allocated_bytes(), 0, 0
        with open_stream(path, str(path)) as opened:
            for batch, _ in opened.batches:
                assert batch.num_rows <= (stream.BATCH_ROWS if suffix == ".parquet" else stream.BATCH_BYTES // 60)
                peak = max(peak, pa.total_allocated_bytes() - before)
                rows += batch.num_rows
        assert rows == 200_000 * times
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0] + 2**20


SMALL_BATCHES = "from training import stream; stream.BATCH_ROWS = 5; from training.cli import main; main()"


def start(place: Place, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SMALL_BATCHES, "--home", str(place.root / "home"), "score", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("parts", [0, 1, 40, 100, 119, 120], ids="killed after {} parts".format)
def test_a_killed_run_leaves_the_old_result_and_the_next_one_continues_it(parts: int, place: Place, tmp_path: Path):
    table, out, work = write(customers(), tmp_path / "in.parquet"), tmp_path / "out.csv", tmp_path / ".out.csv.parts"
    whole = tmp_path / "whole.csv"
    with start(place, table, whole, *by(place)) as process:
        process.communicate(timeout=60)
    assert len(results(whole)) == 600
    out.write_text("the result before")
    with start(place, table, out, *by(place)) as process:

        def far_enough() -> bool:
            there = len([*work.glob("*/*.arrow")]) >= parts and work.exists()
            return there or process.poll() is not None

        wait_for(far_enough, f"{parts} parts", seconds=60)
        process.send_signal(signal.SIGKILL)
    # It may have been quicker than the signal: then the result is there, whole.
    assert out.read_bytes() in {b"the result before", whole.read_bytes()}
    kept = len([*work.glob("*/*.arrow")])
    with start(place, table, out, *by(place)) as process:
        said, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.read_bytes() == whole.read_bytes()
    assert (f"({kept * 5} of them by an earlier run)" in said) == (kept > 0)
    assert not work.exists()


@pytest.mark.usefixtures("small_batches")
def test_parts_of_another_table_or_bundle_are_never_used(run: Run, place: Place, tmp_path: Path):
    table, out = write(customers(), tmp_path / "in.csv"), tmp_path / "out.csv"
    other = tmp_path / ".out.csv.parts" / "0123456789abcdef"
    other.mkdir(parents=True)
    (other / "000000.arrow").write_bytes(b"of another table")
    code, said, _ = run(table, out, *by(place))
    assert (code, "earlier run" in said, other.exists()) == (0, False, False)


def test_two_runs_do_not_write_one_result(run: Run, place: Place, tmp_path: Path):
    table, work = write(customers(), tmp_path / "in.csv"), tmp_path / ".out.csv.parts"
    work.mkdir()
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run(table, tmp_path / "out.csv", *by(place))
    assert code == 2
    assert "is being written by another `churn score`" in err
    assert run(table, tmp_path / "out.csv", *by(place))[0] == 0


SPOILT = {
    "tenure_months": ["long", "-1", "601", "2.5", "", "inf"],
    "monthly_charges_usd": ["NaN", "-0.01", "10000.01", "", "1e99"],
    "contract": ["weekly", "", "One year"],
    "payment_method": ["cash"],
    "total_charges_usd": ["much", "-3"],
    "senior_citizen": ["maybe", "2"],
    "internet_service": ["satellite"],
    "customer_id": ["x" * 65],
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.usefixtures("small_batches")
def test_every_bad_row_is_named_as_churn_validate_names_it_and_none_is_scored(
    suffix: str, run: Run, place: Place, tmp_path: Path
):
    table = pyarrow.csv.read_csv(
        write(arrow_of(small_table().frame), tmp_path / "good.csv"),
        convert_options=pyarrow.csv.ConvertOptions(column_types={field.name: pa.string() for field in FIELDS}),
    )
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for place_, (name, values) in enumerate(SPOILT.items()):
        for turn, value in enumerate(values):
            columns[name][place_ * 60 + turn * 7 + 5] = value
    bad = write(pa.table(columns, schema=table.schema), tmp_path / f"bad{suffix}")
    (tmp_path / "out.csv").write_text("the result before")
    code, said, err = run(bad, tmp_path / "out.csv", *by(place))
    assert (code, said) == (2, "")
    with pytest.raises(ValueError, match="breaks the contract") as expected:
        load_table(str(bad))
    assert sorted(err.splitlines()[1:]) == sorted(str(expected.value).splitlines()[1:])
    assert err.startswith(f"{bad} breaks the contract ({sum(map(len, SPOILT.values()))} times), so none is scored:\n")
    assert (tmp_path / "out.csv").read_text() == "the result before"
    assert not (tmp_path / ".out.csv.parts").exists()


@pytest.mark.usefixtures("small_batches")
def test_of_many_bad_rows_the_first_are_named_and_the_rest_counted(run: Run, place: Place, tmp_path: Path):
    names = customers().column_names
    table = customers().set_column(names.index("contract"), "contract", pa.array(["weekly"] * 600))
    table = table.append_column("age", pa.array([3] * 600)).drop_columns(["payment_method"])
    code, _, err = run(write(table, tmp_path / "in.parquet"), tmp_path / "out.csv", *by(place))
    assert code == 2
    assert "  age: found a column, must be a field of the contract\n" in err
    assert "  payment_method: found nothing, must be present\n" in err
    assert [f"  contract, row {row}: found 'weekly'" in err for row in (1, 20, 21)] == [True, True, False]
    assert "  contract: 580 more, 600 in all, must be one of month-to-month" in err
    assert "(602 times)" in err


def test_from_one_object_store_to_another(run: Run, place: Place, tmp_path: Path, bucket: dict[str, bytes]):
    table = write(customers(), tmp_path / "in.parquet")
    bucket["/lake/in.parquet"] = table.read_bytes()
    assert run(table, tmp_path / "out.csv", *by(place))[0] == 0
    code, said, err = run("s3://lake/in.parquet", "s3://lake/scores/out.csv", *by(place))
    assert (code, err) == (0, "")
    assert said.startswith("s3://lake/scores/out.csv: 600 customers scored")
    assert bucket["/lake/scores/out.csv"] == (tmp_path / "out.csv").read_bytes()
    assert not [*(place.root / "home" / "var" / "scores").iterdir()]
    assert "s3://lake/none.csv is not there" in run("s3://lake/none.csv", tmp_path / "none.csv", *by(place))[2]


def content(name: str, written: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        (folder / name).write_bytes(written)
        return [folder / name, folder / "out.csv"]

    return make


def halved(folder: Path) -> list[object]:
    path = write(customers(), folder / "half.parquet")
    path.write_bytes(path.read_bytes()[:5000])
    return [path, folder / "out.csv"]


def no_page(folder: Path) -> list[object]:
    path = write(customers(), folder / "page.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(3000) + whole[3004:])
    return [path, folder / "out.csv"]


def ragged(folder: Path) -> list[object]:
    path = write(customers(), folder / "ragged.csv")
    path.write_bytes(path.read_bytes() * 2 + b"1,2\n")
    return [path, folder / "out.csv"]


REFUSED: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "no file": (lambda folder: [folder / "none.csv", folder / "out.csv"], "is not there"),
    "an empty file": (content("in.csv", b""), "is empty"),
    "only a header": (content("in.csv", b"tenure_months,monthly_charges_usd,contract,payment_method\n"), "no rows"),
    "a column twice": (content("in.csv", b"contract,contract\n1,2\n"), "more than once"),
    "not UTF-8": (content("in.csv", b"contract\n\xe9\n"), "is not a CSV table"),
    "another suffix": (content("in.txt", b"contract\n"), "give a .csv or .parquet file"),
    "another suffix of the result": (lambda folder: [folder / "in.csv", folder / "out.xlsx"], "ends in .xlsx"),
    "the result in place of the table": (content("out.csv", b"contract\n"), "is the table itself"),
    "half of a Parquet file": (halved, "truncated or not Parquet"),
    "a Parquet file with a hole": (no_page, "truncated or not Parquet"),
    "rows of other lengths": (ragged, "is not a CSV table"),
    "a folder": (lambda folder: [folder, folder / "out.csv"], "give a .csv or .parquet file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_one_message_and_exit_code_2(case: str, run: Run, place: Place, tmp_path: Path):
    make, told = REFUSED[case]
    (tmp_path / "here").mkdir()
    arguments = make(tmp_path / "here")
    before = {path.name for path in (tmp_path / "here").iterdir()}
    code, said, err = run(*arguments, *by(place))
    assert (code, said) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert {path.name for path in (tmp_path / "here").iterdir()} == before


def test_progress_is_shown_on_a_terminal_only(place: Place, tmp_path: Path):
    table = write(customers(), tmp_path / "in.csv")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-c", SMALL_BATCHES, "--home", str(place.root / "home"), "score", table, tmp_path / "out.csv"]
    ended = subprocess.run([*command, *map(str, by(place))], stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "100%" in shown
    assert "600 customers" in shown
    assert json.dumps(ended.stdout.decode()).count("\\n") == 1
