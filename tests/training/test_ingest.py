import json
import os
import sys
from pathlib import Path

import pytest

from tests.training.conftest import Bucket
from training import ingest as ingest_module
from training.cli import main
from training.data import Table, load_table
from training.ingest import ingest
from training.locations import TELCO_SHA256, TableError
from training.sample import sample, write_sample


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "ROWS_PER_PART", 100)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.usefixtures("small_parts")
def test_an_ingested_table_reads_back_as_the_same_and_is_written_once(tmp_path: Path) -> None:
    table = Table(sample(250, seed=1)[0])
    first = ingest(table, str(tmp_path))
    before = contents(tmp_path)
    again = ingest(Table(table.frame.copy()), str(tmp_path))
    assert first.location == f"{tmp_path}/customers/data_digest={table.data_digest}"
    assert (first.rows, first.parts, first.was_there, again.was_there) == (250, 3, False, True)
    assert contents(tmp_path) == before
    assert sorted(Path(name).name for name in before) == ["manifest.json", *(f"part-0000{i}.parquet" for i in range(3))]
    assert load_table(first.location).frame.equals(table.frame)


@pytest.mark.usefixtures("small_parts")
def test_what_a_kill_left_behind_is_no_table_and_the_next_run_completes_it(tmp_path: Path) -> None:
    table = Table(sample(250, seed=1)[0])
    location = Path(ingest(table, str(tmp_path)).location)
    whole = {name: content for name, (content, _) in contents(location).items()}
    for lost in (("manifest.json",), ("manifest.json", "part-00001.parquet", "part-00002.parquet")):
        for name in lost:
            (location / name).unlink()
        with pytest.raises(TableError, match=r"not a table that `churn ingest` finished"):
            load_table(str(location))
        assert not ingest(table, str(tmp_path)).was_there
        assert {name: content for name, (content, _) in contents(location).items()} == whole


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "part-00001.parquet").unlink(), r"part-00001\.parquet is not there"),
        (lambda folder: (folder / "part-00001.parquet").write_bytes(b"PAR1"), r"part-00001\.parquet was changed"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "not the manifest of an ingested table"),
        (lambda folder: edit(folder, contract_digest="0" * 64), "was ingested under contract 0000"),
        (lambda folder: edit(folder, rows=249), "has other rows than its manifest says"),
        (lambda folder: edit(folder, data_digest="0" * 64), "has other rows than its manifest says"),
        (lambda folder: edit(folder, parts={}), "has a manifest without parts"),
    ],
    ids=["part-gone", "part-changed", "manifest-torn", "other-contract", "other-rows", "other-digest", "no-parts"],
)
def test_an_ingested_table_that_was_changed_is_refused(tmp_path: Path, damage, told: str) -> None:
    location = ingest(Table(sample(250, seed=1)[0]), str(tmp_path)).location
    damage(Path(location))
    with pytest.raises(TableError, match=told):
        load_table(location)


def edit(folder: Path, **changed: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest | changed))


@pytest.mark.usefixtures("small_parts")
def test_a_table_goes_to_an_object_store_and_comes_back(bucket: dict[str, bytes], tmp_path: Path) -> None:
    table = Table(sample(250, seed=2)[0])
    done = ingest(table, "s3://lake/raw/")
    assert done.location == f"s3://lake/raw/customers/data_digest={table.data_digest}"
    assert len(bucket) == 4
    assert all(key.startswith(f"/lake/raw/customers/data_digest={table.data_digest}/") for key in bucket)
    assert [*bucket][-1].endswith("manifest.json")
    assert load_table(done.location).data_digest == table.data_digest
    assert ingest(table, "s3://lake/raw").was_there
    write_sample(tmp_path / "t.csv", rows=250, seed=2)
    bucket["/lake/t.csv"] = (tmp_path / "t.csv").read_bytes()
    assert load_table("s3://lake/t.csv").data_digest == table.data_digest


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("answers", range(5))
def test_wherever_the_store_goes_down_half_a_table_is_none_and_the_same_command_completes_it(
    answers: int, bucket: Bucket
) -> None:
    table = Table(sample(250, seed=2)[0])
    location = f"s3://lake/customers/data_digest={table.data_digest}"
    bucket.answers = answers
    with pytest.raises(TableError, match=rf"^{location}/.* cannot be (read|written): .*; see to it, then repeat"):
        ingest(table, "s3://lake")
    bucket.answers = 1_000_000
    with pytest.raises(TableError, match=r"not a table that `churn ingest` finished"):
        load_table(location)
    assert not ingest(table, "s3://lake").was_there
    assert load_table(location).data_digest == table.data_digest


def run(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["churn", "--home", str(home), *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return int(exited.value.code or 0)


def test_the_command_says_what_it_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_sample(tmp_path / "t.csv", rows=100, seed=1)
    assert run(monkeypatch, tmp_path, "ingest", tmp_path / "t.csv", tmp_path / "lake") == 0
    assert "100 rows, written, parts: 1" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, "ingest", tmp_path / "t.csv", tmp_path / "lake") == 0
    assert "was there already, nothing written" in capsys.readouterr().out
    (tmp_path / "bad.csv").write_text((tmp_path / "t.csv").read_text().replace("two-year", "soon"))
    assert run(monkeypatch, tmp_path, "ingest", tmp_path / "bad.csv", tmp_path / "other") == 2
    assert "found 'soon'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_fetch_writes_the_public_table_or_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, bucket: dict[str, bytes], telco_csv: Path
) -> None:
    address = f"{os.environ['AWS_ENDPOINT']}/telco.csv"
    bucket["/telco.csv"] = telco_csv.read_bytes()[:-1]
    assert run(monkeypatch, tmp_path, "fetch", "--url", address) == 2
    assert f"expected {TELCO_SHA256}" in capsys.readouterr().err
    assert not (tmp_path / "var").exists()
    bucket["/telco.csv"] = telco_csv.read_bytes()
    assert run(monkeypatch, tmp_path, "fetch", "--url", address) == 0
    assert (tmp_path / "var" / "telco.csv").read_bytes() == telco_csv.read_bytes()
    assert run(monkeypatch, tmp_path, "fetch", tmp_path / "other.csv", "--url", address) == 0
    assert (tmp_path / "other.csv").is_file()
