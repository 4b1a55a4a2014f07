"""A table file a batch of rows at a time, in memory that does not grow with the file."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.csv  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types

from app.contract import FIELDS
from training.data import contract_names
from training.locations import TableError, suffix_of
from training.read import RawTable, csv_options

_pa = cast(Any, pyarrow)
_csv = cast(Any, pyarrow.csv)
_parquet = cast(Any, pyarrow.parquet)

BATCH_ROWS = 65_536
BATCH_BYTES = 8 * 2**20
_HEADER_BYTES = 2**20
_BUFFER_BYTES = 2**16
_FEW_VALUES = {field.name for field in FIELDS if field.values}


class Stream(NamedTuple):
    """`names` has the contract's name of each column; `batches` the rows, each batch with the share of the file then read."""

    names: dict[str, str]
    batches: Iterator[tuple[RawTable, float]]


@contextmanager
def open_stream(path: Path, location: str) -> Generator[Stream]:
    """The .csv or .parquet table in `path`, its errors naming `location`; the same file gives the same batches.

    Raises TableError at once for what is no table, and from `batches` where its content turns out to be none.
    """
    openers = {".csv": _open_csv, ".parquet": _open_parquet}
    opener = openers.get(suffix_of(location))
    if opener is None:
        raise TableError(f"{location} ends in {suffix_of(location) or 'nothing'}; give a .csv or .parquet file")
    with path.open("rb") as file:
        try:
            header, batches = opener(location, file)
        except (_pa.ArrowException, OSError) as exc:
            raise _unreadable(location, exc) from exc
        yield Stream(contract_names(location, header), _named(location, batches))


def _open_csv(location: str, file: Any) -> tuple[list[str], Iterator[tuple[RawTable, float]]]:
    begin = file.read(_HEADER_BYTES)
    if not begin.strip():
        raise TableError(f"{location} is empty; give a table with a header and rows")
    size = file.seek(0, 2)
    file.seek(0)
    reading = _csv.ReadOptions(block_size=BATCH_BYTES)
    reader = _csv.open_csv(file, read_options=reading, **csv_options(location, begin))
    batches = ((_pa.Table.from_batches([batch]), file.tell() / size) for batch in reader if len(batch))
    return reader.schema.names, batches


def _open_parquet(location: str, file: Any) -> tuple[list[str], Iterator[tuple[RawTable, float]]]:
    schema = _parquet.read_schema(file)
    file.seek(0)
    names = contract_names(location, schema.names)
    # What has few values is read as their indices, and each value looked at once.
    coded = [
        written for written, name in names.items() if name in _FEW_VALUES and _pa.types.is_string(schema.field(written).type)
    ]
    # Buffered, or a row group's columns would be in memory whole, and a file may be one row group.
    source = _parquet.ParquetFile(file, read_dictionary=coded, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    rows = source.metadata.num_rows
    batches = source.iter_batches(BATCH_ROWS)
    return schema.names, (
        (_pa.Table.from_batches([batch]), min((number + 1) * BATCH_ROWS / rows, 1.0)) for number, batch in enumerate(batches)
    )


def _named(location: str, batches: Iterator[tuple[RawTable, float]]) -> Iterator[tuple[RawTable, float]]:
    try:
        yield from batches
    except (_pa.ArrowException, OSError) as exc:
        raise _unreadable(location, exc) from exc


def _unreadable(location: str, exc: Exception) -> TableError:
    kind = "not a CSV table" if suffix_of(location) == ".csv" else "truncated or not Parquet"
    return TableError(f"{location} is {kind}: {exc}")
