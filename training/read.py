"""A table as its file holds it: CSV as text, Parquet as typed, or the parts that `churn ingest` wrote."""

import csv
import hashlib
import io
from typing import Any, cast

import msgspec
import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.csv  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types

from app.contract import CONTRACT_DIGEST
from app.release import Digest
from training.locations import TableError, child_of, local_path, read_bytes, suffix_of

_pa = cast(Any, pyarrow)
_csv = cast(Any, pyarrow.csv)
_parquet = cast(Any, pyarrow.parquet)
RawTable = Any

MANIFEST = "manifest.json"


class TableManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an ingested table is: its content's digest and each part's. Written last, so that with it the table is whole."""

    contract_digest: Digest
    data_digest: Digest
    rows: int
    parts: dict[str, Digest]


def read_raw(location: str) -> tuple[RawTable, TableManifest | None]:
    """The table with the file's own column names and, of an ingested one, its manifest. Raises TableError."""
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    path = local_path(location)
    reader = None if path is not None and path.is_dir() else readers.get(suffix_of(location))
    if reader is None and path is not None and path.is_file():
        raise TableError(f"{location} ends in {suffix_of(location) or 'nothing'}; give a .csv or .parquet file")
    try:
        if reader is None:
            return _read_ingested(location)
        raw = reader(location, _content(location))
    except FileNotFoundError as exc:
        raise TableError(str(exc)) from exc
    if raw.num_rows == 0:
        raise TableError(f"{location} has a header but no rows; give a table with customers in it")
    return raw, None


def read_manifest(location: str) -> TableManifest:
    """The manifest of the ingested table in the folder `location`. Raises FileNotFoundError, or TableError if it is damaged."""
    place = child_of(location, MANIFEST)
    try:
        return msgspec.json.decode(read_bytes(place), type=TableManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise TableError(f"{place} is not the manifest of an ingested table: {exc}; ingest the table again") from exc


def _content(location: str) -> bytes:
    content = read_bytes(location)
    if not content.strip():
        raise TableError(f"{location} is empty; give a table with a header and rows")
    return content


def _read_csv(location: str, content: bytes) -> RawTable:
    try:
        content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        found = f"byte 0x{content[exc.start]:02x} at offset {exc.start:,} (line {line:,})"
        raise TableError(f"{location} is not UTF-8: {found}; save it as UTF-8") from exc
    try:
        return _csv.read_csv(io.BytesIO(content), **csv_options(location, content))
    except _pa.ArrowException as exc:
        raise TableError(f"{location} is not a CSV table: {_ragged_row(content) or exc}") from exc


def csv_options(location: str, begin: bytes) -> dict[str, Any]:
    """How pyarrow is to read a CSV file that begins so: every cell as text. Raises TableError for a header that is none."""
    names = _header(location, begin)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TableError(f"{location} has column {', '.join(twice)} more than once; give each column one name")
    convert = _csv.ConvertOptions(column_types=dict.fromkeys(names, _pa.string()), strings_can_be_null=False)
    return {"convert_options": convert, "parse_options": _csv.ParseOptions(newlines_in_values=True)}


def _header(location: str, content: bytes) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(content[: 2**20].decode("utf-8-sig", errors="ignore"))), list[str]())
    except csv.Error as exc:
        raise TableError(f"{location} is not a CSV table: line 1: {exc}") from exc


def _ragged_row(content: bytes) -> str | None:
    """Where the first row is that has not as many values as the header, as text for people."""
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    try:
        header = next(rows)
        for row in rows:
            if row and len(row) != len(header):
                return f"line {rows.line_num} has {len(row)} values, but the header has {len(header)}"
    except (csv.Error, StopIteration) as exc:
        return f"line {rows.line_num}: {exc}"
    return None


def _read_parquet(location: str, content: bytes) -> RawTable:
    try:
        return _parquet.read_table(_pa.BufferReader(content))
    except (_pa.ArrowException, OSError) as exc:
        raise TableError(f"{location} is truncated or not Parquet: {exc}") from exc


def _read_ingested(location: str) -> tuple[RawTable, TableManifest]:
    try:
        manifest = read_manifest(location)
    except FileNotFoundError:
        path = local_path(location)
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{location} is not there; give the path or URL of a table") from None
        found = f"has no {MANIFEST}, so it is not a table that `churn ingest` finished"
        raise TableError(f"{location} {found}; give a .csv or .parquet file, or ingest the table again") from None
    if manifest.contract_digest != CONTRACT_DIGEST:
        raise TableError(
            f"{location} was ingested under contract {manifest.contract_digest}, but this code has {CONTRACT_DIGEST}; "
            "ingest the table again"
        )
    if not manifest.parts:
        raise TableError(f"{location} has a manifest without parts; ingest the table again")
    parts = [_read_part(child_of(location, name), digest) for name, digest in manifest.parts.items()]
    return _pa.concat_tables(parts), manifest


def _read_part(location: str, digest: str) -> RawTable:
    content = read_bytes(location)
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise TableError(f"{location} was changed: its sha256 is {found}, expected {digest}; ingest the table again")
    return _read_parquet(location, content)
