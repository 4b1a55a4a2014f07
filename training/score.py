"""Whole files scored as the endpoint would score their customers: in constant memory, and to be killed at any moment."""

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.csv  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import tqdm  # pyright: ignore[reportMissingModuleSource]  # tqdm carries no types
from numpy.typing import NDArray

from app.bundle import Bundle, fetch_bundle
from app.contract import FEATURES, matrix
from app.decide import break_even, expected_value_usd
from app.model import Model, Rows
from app.release import BusinessCase, ReleaseError, decode_release
from app.service import MONEY_DIGITS, PROBABILITY_DIGITS
from training.data import as_in_file
from training.encode import Breach, Encoded, column_breaches, encode
from training.files import write_whole
from training.history import current
from training.home import Home
from training.locations import TableError, fetch_file, local_path, put_file, suffix_of, version_of
from training.read import RawTable
from training.stream import BATCH_BYTES, BATCH_ROWS, open_stream
from training.trees import BoostedTrees
from training.validate import PRINTED_ROWS, Violation, report

_pa = cast(Any, pyarrow)
_pc = cast(Any, pyarrow.compute)
_csv = cast(Any, pyarrow.csv)
_parquet = cast(Any, pyarrow.parquet)
_tqdm = cast(Any, tqdm)

_COLUMNS = {
    "row": _pa.int64(),
    "customer_id": _pa.string(),
    "churn_probability": _pa.float64(),
    "decision": _pa.string(),
    "expected_value_usd": _pa.float64(),
}
SCHEMA = _pa.schema(list(_COLUMNS.items()))
_DECISIONS = _pa.array(["none", "offer"])
_BAR = "{percentage:3.0f}% |{bar}| {postfix}[{elapsed}<{remaining}]"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """By what customers are scored, and from which probability and at what worth they get the offer."""

    bundle: Bundle
    threshold: float
    case: BusinessCase


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How many customers were scored, how many of those before an earlier run was ended, and to how many to make the offer."""

    rows: int
    rows_before: int
    offers: int


def terms(home: Home, *, bundle: str | None, release: Path | None, store: str | None) -> Terms:
    """Those of the champion in a release, which is the one live on local unless a file is named; or of a bundle in its case."""
    try:
        live = current(home, "local") if release is None else decode_release(release.read_bytes(), str(release))
    except FileNotFoundError:
        raise ReleaseError(f"{release} is not there; give the path of a release file") from None
    bundles = store or home.bundles_url
    if bundle is not None:
        case = live.business_case if live else BusinessCase()
        return Terms(bundle=fetch_bundle(bundles, bundle), threshold=break_even(case), case=case)
    if live is None:
        path = home.release("local")
        raise ReleaseError(f"{path} is not there; run `churn promote --stack local` first, or give --bundle or --release")
    champion = live.champion
    return Terms(bundle=fetch_bundle(bundles, champion.bundle_digest), threshold=champion.threshold, case=live.business_case)


def score(home: Home, source: str, out: str, by: Terms) -> Scored:
    """Score the customers in `source` into `out`, which is whole or as it was. A run that was ended is continued by the next one.

    Raises TableError for what cannot be read or written, and with every row that breaks the contract: then none is scored.
    """
    if suffix_of(out) not in {".csv", ".parquet"}:
        raise TableError(f"{out} ends in {suffix_of(out) or 'nothing'}; give a name that ends in .csv or .parquet")
    named = [local_path(place) or place for place in (source, out)]
    if named[0] == named[1]:
        raise TableError(f"{out} is the table itself; give another name for the result")
    version = version_of(source)
    case = msgspec.to_builtins(by.case)
    identity = [source, version, by.bundle.digest, by.threshold, case, BATCH_ROWS, BATCH_BYTES]
    key = sha256(json.dumps(identity).encode()).hexdigest()[:16]
    with _work_folder(home, out, key) as work:
        table = _local(source, work)
        parts, rows_before = _write_parts(table, source, by, work)
        if version_of(source) != version:
            raise TableError(f"{source} was changed while it was read; score it again")
        scored = _join(parts, work / "joined", suffix_of(out), rows_before)
        put_file(out, work / "joined")
        # The last act: until now a run that is ended leaves its parts to the next.
        shutil.rmtree(work.parent)
    return scored


@contextmanager
def _work_folder(home: Home, out: str, key: str) -> Generator[Path]:
    """The folder for the parts of just this result, on the disk that it goes to; what earlier runs kept for others is gone."""
    to = local_path(out)
    kept = home.var / "scores" / sha256(out.encode()).hexdigest()[:16]
    folder = kept if to is None else to.parent / f".{to.name}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    # Let go by the kernel, however the process ends.
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TableError(f"{out} is being written by another `churn score`; wait for it, or give another name") from None
        for stale in folder.iterdir():
            if stale.is_dir() and stale.name != key:
                shutil.rmtree(stale)
        (folder / key).mkdir(exist_ok=True)
        try:
            yield folder / key
        finally:
            # With nothing in it there is nothing to continue.
            with suppress(OSError):
                (folder / key).rmdir()
                shutil.rmtree(folder)


def _local(source: str, work: Path) -> Path:
    """The path of the table, or of a copy of it: readers of columns go to and fro in a file, which is slow from afar."""
    path = local_path(source)
    if path is None:
        path = work / "table"
        if not path.exists():
            fetch_file(source, path)
    return path


def _write_parts(table: Path, source: str, by: Terms, work: Path) -> tuple[list[Path], int]:
    """A file of results for each batch, and how many rows were in those that were there."""
    probabilities, parts, row, rows_before = _scorer(by.bundle), list[Path](), 0, 0
    with open_stream(table, source) as stream, _progress() as bar:
        bad = _Bad(stream.names)
        for raw, share in stream.batches:
            parts.append(work / f"{len(parts):06d}.arrow")
            if parts[-1].exists():
                rows_before += raw.num_rows
            else:
                encoded = encode(raw, stream.names)
                bad.add(raw, row, encoded.breaches)
                if not bad.count:
                    write_whole(parts[-1], _results(encoded, row, probabilities(encoded.matrix), by))
            row += raw.num_rows
            bar.set_postfix_str(f"{row:,} customers ", refresh=False)
            bar.update(share - bar.n)
    if bad.count:
        shutil.rmtree(work.parent)
        raise TableError(f"{source} breaks the contract ({bad.count:,} times), so none is scored:\n{bad.report()}")
    if not parts:
        raise TableError(f"{source} has a header but no rows; give a table with customers in it")
    return parts, rows_before


def _progress() -> Any:  # tqdm carries no types
    # None: silent unless standard error is a terminal.
    return _tqdm.tqdm(total=1.0, disable=None, bar_format=_BAR)


class _Bad:
    """What breaks the contract: all of it counted, of each rule only as many rows kept as are named."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._found = as_in_file(column_breaches(names), None, names)
        self._unlisted: Counter[tuple[str, str]] = Counter()
        self._listed: Counter[tuple[str, str]] = Counter()
        self.count = len(self._found)

    def add(self, raw: RawTable, rows_before: int, breaches: Sequence[Breach]) -> None:
        for column, rule, where in breaches:
            rows = np.flatnonzero(where)
            named = rows[: PRINTED_ROWS - self._listed[column, rule]].tolist()
            # With the file's own names and values, but of this batch.
            found = as_in_file([Violation(column, index + 1, "", rule) for index in named], raw, self._names)
            self._found += [case._replace(row=rows_before + 1 + index) for case, index in zip(found, named, strict=True)]
            self._listed[column, rule] += len(named)
            self._unlisted[column, rule] += len(rows) - len(named)
            self.count += len(rows)

    def report(self) -> str:
        """For people: the first rows of each rule, and how many more."""
        in_file = as_in_file([Violation(column, None, "", rule) for column, rule in self._unlisted], None, self._names)
        unlisted = zip(in_file, self._unlisted.values(), strict=True)
        return report(self._found, {(case.column, case.rule): count for case, count in unlisted})


def _results(encoded: Encoded, rows_before: int, probabilities: Rows, by: Terms) -> bytes:
    """The batch's part of the result, as the endpoint would answer, in Arrow's own format."""
    rows = len(encoded.matrix)
    # Exactly as Python rounds: a float32 times 10^6 is exact in float64, and so is what is a tie.
    probability = np.round(probabilities.astype(np.float64), PROBABILITY_DIGITS)
    # Written for one probability, and the same operations in the same order on many.
    worth_usd = cast(Any, expected_value_usd)(by.case, probability)
    columns = {
        "row": np.arange(rows_before + 1, rows_before + rows + 1),
        "customer_id": _pa.nulls(rows, _pa.string()) if encoded.ids is None else encoded.ids,
        "churn_probability": probability,
        "decision": _DECISIONS.take(_pa.array((probability >= by.threshold).astype(np.int8))),
        "expected_value_usd": _money_usd(worth_usd),
    }
    sink = _pa.BufferOutputStream()
    with _pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(_pa.table(columns, schema=SCHEMA))
    return sink.getvalue().to_pybytes()


def _scorer(bundle: Bundle) -> Callable[[Rows], Rows]:
    """From rows (n, features) to the probabilities (n,) that the endpoint's model gives them."""
    model, trees, golden = Model(bundle), BoostedTrees.of(bundle.model), matrix(bundle.golden.customers)
    # Whatever its graph looks like: only a model that these trees are, to the last bit, is scored by them.
    if trees is not None and np.array_equal(trees.score(golden), model.score(golden)):
        return trees.score
    return partial(_by_neighbours, model)


def _by_neighbours(model: Model, rows: Rows) -> Rows:
    """In the order of the rows, though neighbours are scored together: trees take 1.5 times as long in random order."""
    # The drift bins of the required fields as one number, without those of all others that `binned` works out as well.
    key = np.zeros(len(rows), dtype=np.int64)
    for i, field in enumerate(FEATURES):
        if field.required:
            column: Rows = rows[:, i]
            edges = np.asarray(field.bin_edges, dtype=np.float32)
            key = key * len(field.bins) + (column.astype(np.int64) if field.values else np.searchsorted(edges, column))
    order = np.argsort(key)
    probabilities = np.empty(len(rows), dtype=np.float32)
    probabilities[order] = model.score(rows[order])
    return probabilities


def _money_usd(exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each amount rounded as `round` does, which numpy does otherwise where what it multiplies to be rounded is nearly a tie."""
    scaled = exact * 10**MONEY_DIGITS
    rounded = np.rint(scaled) / 10**MONEY_DIGITS
    uncertain = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) <= np.abs(scaled) * 1e-15
    rounded[uncertain] = [round(amount, MONEY_DIGITS) for amount in exact[uncertain].tolist()]
    return rounded


def _join(parts: Sequence[Path], joined: Path, suffix: str, rows_before: int) -> Scored:
    """Write the parts as one file, safe on disk, one at a time in memory."""
    rows = offers = 0
    with joined.open("wb") as file:
        # Only decisions repeat themselves.
        parquet = suffix == ".parquet"
        with (
            _parquet.ParquetWriter(file, SCHEMA, use_dictionary=["decision"])
            if parquet
            else _csv.CSVWriter(file, SCHEMA) as writer
        ):
            for part in parts:
                with _pa.OSFile(str(part)) as content:
                    results = _pa.ipc.open_file(content).read_all()
                writer.write_table(results)
                rows += results.num_rows
                offers += _pc.sum(_pc.equal(results.column("decision"), "offer")).as_py()
        file.flush()
        os.fsync(file.fileno())
    return Scored(rows=rows, rows_before=rows_before, offers=offers)
