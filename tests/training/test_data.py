import io
import math
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import FIELDS, Customer, Field, matrix
from training.data import Table, load_table, matrix_of, typed
from training.locations import TableError, download
from training.sample import sample, write_sample

CHECKOUT = Path(__file__).parents[2]
HEADER = "customer_id,tenure_months,monthly_charges_usd,contract,payment_method,total_charges_usd,partner,churned"
GOOD = ("a,1,29.85,one-year,credit-card,29.85,true,false", "b,2,30,two-year,mailed-check,,false,true")


def values_of(field: Field) -> st.SearchStrategy[object]:
    low, high = field.low or 0, field.high or 1
    strategies: dict[str, st.SearchStrategy[object]] = {
        "integer": st.integers(int(low), int(high)),
        "number": st.floats(low, high),
        "identifier": st.text("abcXYZ-0189", min_size=1, max_size=8),
    }
    known = strategies[field.kind] if field.kind in strategies else st.sampled_from(field.values)
    return known if field.required else st.none() | known


CUSTOMERS = st.lists(st.builds(Customer, **{field.name: values_of(field) for field in FIELDS}), min_size=1, max_size=20)


def frame_of(customers: list[Customer]) -> pd.DataFrame:
    frame = pd.DataFrame([msgspec.to_builtins(customer) for customer in customers], columns=[field.name for field in FIELDS])
    return frame.astype(object).assign(churned=[i % 2 == 0 for i in range(len(customers))])


def written(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def refusal(location: str | Path) -> str:
    with pytest.raises(TableError) as refused:
        load_table(str(location))
    assert str(location) in str(refused.value)
    return str(refused.value)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of a folder: its address and the folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", tmp_path
        server.shutdown()
        thread.join()


@given(CUSTOMERS)
@settings(max_examples=60)
def test_a_frame_and_structs_give_the_same_matrix_bit_for_bit(customers: list[Customer]) -> None:
    made = matrix_of(typed(frame_of(customers)))
    assert made.dtype == np.float32
    assert made.tobytes() == matrix(customers).tobytes()


@given(CUSTOMERS)
@settings(max_examples=20)
def test_csv_and_parquet_hold_the_same_table(tmp_path_factory: pytest.TempPathFactory, customers: list[Customer]) -> None:
    unique = [msgspec.structs.replace(customer, customer_id=f"c{i}") for i, customer in enumerate((*customers, customers[0]))]
    frame, folder = frame_of(unique), tmp_path_factory.mktemp("tables")
    frame.to_csv(folder / "t.csv", index=False)
    typed(frame).to_parquet(folder / "t.parquet")
    csv, parquet = (load_table(str(folder / name)) for name in ("t.csv", "t.parquet"))
    pd.testing.assert_frame_equal(csv.frame, parquet.frame)
    assert csv.data_digest == parquet.data_digest == Table(typed(frame)).data_digest
    assert csv.matrix.tobytes() == matrix(unique).tobytes()


def test_the_digest_follows_values_ids_labels_and_order() -> None:
    frame = sample(50, seed=1)[0]
    changed = [
        frame.assign(customer_id=[*frame.customer_id[:-1], "another"]),
        frame.assign(churned=~frame.churned),
        frame.assign(monthly_charges_usd=np.nextafter(frame.monthly_charges_usd, 1e4)),
        frame[::-1],
    ]
    digests = {Table(each).data_digest for each in (frame, *changed)}
    assert len(digests) == 5
    assert Table(frame.copy()).data_digest in digests


def test_the_telco_file_reads_as_the_same_table_in_contract_names(telco_csv: Path, tmp_path: Path) -> None:
    table = load_table(str(telco_csv))
    table.frame.to_csv(tmp_path / "renamed.csv", index=False)
    assert (len(table.frame), int(table.churned.sum())) == (7_043, 1_869)
    assert int(table.frame.total_charges_usd.isna().sum()) == 11
    assert load_table(str(tmp_path / "renamed.csv")).data_digest == table.data_digest


def test_the_telco_wording_becomes_the_contracts(tmp_path: Path) -> None:
    header = (
        "customerID,tenure,MonthlyCharges,Contract,PaymentMethod,InternetService,MultipleLines,SeniorCitizen,TotalCharges,Churn"
    )
    rows = (
        "1,0,20,Month-to-month,Bank transfer (automatic),Fiber optic,No phone service,1, ,Yes",
        "2,3,20.5,Two year,Electronic check,DSL,,0,61.5,No",
    )
    frame = load_table(written(tmp_path / "t.csv", header, *rows)).frame
    first = frame.iloc[0]
    assert [first.contract, first.payment_method, first.internet_service] == ["month-to-month", "bank-transfer", "fiber-optic"]
    assert [first.multiple_lines, first.senior_citizen, bool(first.churned)] == ["no-phone-service", True, True]
    assert frame.total_charges_usd.isna().tolist() == [True, False]
    assert frame.multiple_lines.isna().tolist() == [False, True]


def test_parquet_may_hold_its_values_in_other_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "customer_id": [1, 2],
            "tenure_months": [1.0, 2.0],
            "monthly_charges_usd": [20, 30],
            "contract": pd.Categorical(["one-year", "two-year"]),
            "payment_method": ["credit-card", "credit-card"],
            "senior_citizen": [0, 1],
            "partner": [None, None],
            "churned": [0.0, 1.0],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = load_table(str(tmp_path / "t.parquet")).frame
    assert read.senior_citizen.tolist() == [False, True]
    assert read.churned.tolist() == [False, True]
    assert read.customer_id.tolist() == ["1", "2"]
    assert read.partner.isna().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_parquet_with_a_number_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    pa = pytest.importorskip("pyarrow")
    frame = sample(20, seed=0)[0]
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    columns["monthly_charges_usd"][4] = value
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert f"monthly_charges_usd, row 5: found {value}, must be a finite number" in refusal(tmp_path / "t.parquet")


def test_columns_of_a_type_that_means_nothing_to_the_field_are_refused(tmp_path: Path) -> None:
    frame = sample(20, seed=0)[0].drop(columns=["partner", "tenure_months", "customer_id"])
    odd = frame.assign(partner=pd.Series([[1]] * 20), tenure_months=pd.Timestamp("2026-01-01"), customer_id=1.5)
    odd.to_parquet(tmp_path / "t.parquet")
    told = refusal(tmp_path / "t.parquet")
    assert "partner, row 1: found [1], must be true or false" in told
    assert "must be a finite number" in told
    assert "customer_id, row 20: found 1.5, must be text" in told


def test_a_mixed_header_is_refused(tmp_path: Path) -> None:
    told = refusal(written(tmp_path / "t.csv", HEADER.replace("tenure_months", "tenure"), *GOOD))
    assert "mixes contract names" in told
    assert "(tenure)" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (HEADER.encode() + b"\n", "has a header but no rows"),
        (HEADER.encode() + b"\n" + GOOD[0].encode() + b"\nc\xe9", "is not UTF-8: byte 0xe9 at offset 153 (line 3)"),
        ("\n".join((HEADER, GOOD[0], "b,2,30")).encode(), "line 3 has 3 values, but the header has 8"),
        ("\n".join((HEADER + ",partner", GOOD[0] + ",true")).encode(), "has column partner more than once"),
        (('"' + "x" * 200_000 + "\n").encode(), "line 1: field larger than field limit"),
        ((HEADER + '\n"' + "x,\n" * 100_000).encode(), "is not a CSV table: line"),
        (f"{','.join(map(str, range(49)))}\n{','.join(['z' * 100_000] * 49)}\n".encode(), "is not a CSV table: straddling"),
    ],
    ids=["empty", "blank", "header-only", "latin-1", "ragged", "twice", "long-header", "open-quote", "endless-row"],
)
def test_a_csv_that_is_none_is_refused_with_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert told in refusal(tmp_path / "t.csv")


@settings(max_examples=30)
@given(st.integers(0, 6_000), st.binary(max_size=40))
def test_a_damaged_parquet_is_refused_or_reads_as_some_table(
    tmp_path_factory: pytest.TempPathFactory, length: int, tail: bytes
) -> None:
    content = io.BytesIO()
    sample(20, seed=0)[0].to_parquet(content)
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    path.write_bytes(content.getvalue()[:length] + tail)
    told = refusal(path)
    assert "is truncated or not Parquet" in told or "is empty" in told


def test_what_is_no_table_is_refused_by_what_it_is(tmp_path: Path) -> None:
    written(tmp_path / "t.txt", HEADER, *GOOD)
    assert "is not there" in refusal(tmp_path / "nothing.csv")
    assert "is not there" in refusal(tmp_path / "nothing")
    assert "ends in .txt; give a .csv or .parquet file" in refusal(tmp_path / "t.txt")
    assert "has no manifest.json" in refusal(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    assert "has no manifest.json" in refusal(tmp_path / "folder.csv")


def test_a_byte_order_mark_blank_lines_and_other_line_ends_are_no_matter(tmp_path: Path) -> None:
    plain = load_table(written(tmp_path / "t.csv", HEADER, *GOOD))
    (tmp_path / "u.csv").write_bytes(("\ufeff" + HEADER + "\r\n" + GOOD[0] + "\r\n\r\n" + GOOD[1]).encode())
    assert load_table(str(tmp_path / "u.csv")).data_digest == plain.data_digest


def test_a_table_is_read_from_a_web_server_and_a_file_url(served: tuple[str, Path]) -> None:
    address, folder = served
    (folder / "a folder").mkdir()
    path = folder / "a folder" / "t.csv"
    expected = load_table(written(path, HEADER, *GOOD)).data_digest
    for location in (f"{address}/a%20folder/t.csv?version=1", path.as_uri()):
        assert load_table(location).data_digest == expected
    assert "is not there" in refusal(f"{address}/none.csv")
    assert "has no manifest.json" in refusal(f"{address}/none")


def test_a_silent_server_and_a_closed_port_are_given_up_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/t.csv"
        started = time.monotonic()
        assert "cannot be read" in refusal(address)
        assert time.monotonic() - started < 15
    assert "cannot be read" in refusal(address)


def test_a_download_is_written_only_if_it_is_the_file(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    (folder / "there.csv").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert download(f"{address}/there.csv", digest, tmp_path / "out" / "new.csv") == 3
    assert (tmp_path / "out" / "new.csv").read_bytes() == b"abc"
    for name, expected, told in (("there.csv", "0" * 64, f"has sha256 {digest}"), ("none.csv", digest, "is not there")):
        with pytest.raises(TableError, match=told):
            download(f"{address}/{name}", expected, tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TableError, match="cannot be written"):
        write_sample(tmp_path / "file" / "sample.csv", rows=10, seed=0)


def test_a_new_contract_field_is_one_line(tmp_path: Path) -> None:
    for package in ("app", "training"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    contract = tmp_path / "app" / "contract.py"
    anchor = "    # Last: `matrix` pairs"
    about = '_about("Loyalty points", "LoyaltyPoints", "points", (0, 500), (100, 300))'
    line = f"    loyalty_points: Annotated[int, {about}] | None = None\n"
    contract.write_text(contract.read_text().replace(anchor, line + anchor))
    program = """
from pathlib import Path
from training.data import load_table
from training.locations import TableError
from training.sample import write_sample
write_sample(Path("sample.csv"), 200, 0)
table = load_table("sample.csv")
column = table.matrix[:, -1]
assert table.frame.columns[-3] == "loyalty_points" and table.matrix.shape == (200, 20)
assert 0 <= column[column == column].min() < 100 < 300 < column[column == column].max() <= 500
text = Path("sample.csv").read_text().splitlines()
at = text[0].replace('"', "").split(",").index("loyalty_points")
row = text[1].split(",")
row[at] = "501"
Path("bad.csv").write_text("\\n".join([text[0], ",".join(row), *text[2:]]))
try:
    load_table("bad.csv")
except TableError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "loyalty_points, row 1: found '501', must be 0 to 500 points" in done.stdout
