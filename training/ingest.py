"""A checked table in the lake: partitioned Parquet, written once under the digest of its content."""

import io
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import msgspec
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types

from app.contract import CONTRACT_DIGEST
from training.data import Table, arrow_of
from training.locations import child_of, write_bytes
from training.read import MANIFEST, TableManifest, read_manifest

ROWS_PER_PART = 100_000
_parquet = cast(Any, pyarrow.parquet)


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """Where the table is, for `load_table`; `was_there` when an earlier run had written it."""

    location: str
    rows: int
    parts: int
    was_there: bool


def ingest(table: Table, store: str) -> Ingested:
    """Write `<store>/customers/data_digest=<digest>/`, unless it is there. Without its manifest, written last, it is no table."""
    location = child_of(store, f"customers/data_digest={table.data_digest}")
    try:
        manifest, was_there = read_manifest(location), True
    except FileNotFoundError:
        manifest, was_there = _write(table, location), False
    return Ingested(location=location, rows=manifest.rows, parts=len(manifest.parts), was_there=was_there)


def _write(table: Table, location: str) -> TableManifest:
    parts: dict[str, str] = {}
    for number, start in enumerate(range(0, len(table.frame), ROWS_PER_PART)):
        name = f"part-{number:05d}.parquet"
        content = io.BytesIO()
        _parquet.write_table(arrow_of(table.frame.iloc[start : start + ROWS_PER_PART]), content)
        write_bytes(child_of(location, name), content.getvalue())
        parts[name] = sha256(content.getvalue()).hexdigest()
    manifest = TableManifest(contract_digest=CONTRACT_DIGEST, data_digest=table.data_digest, rows=len(table.frame), parts=parts)
    write_bytes(child_of(location, MANIFEST), msgspec.json.format(msgspec.json.encode(manifest, order="sorted")))
    return manifest
