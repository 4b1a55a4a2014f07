"""`churn score` against scikit-learn's own `predict_proba` on a DataFrame, the same model and the same Parquet file.

    python -m bench.score [TABLE] [--rows 1000000] [--rounds 5]

Fits histogram gradient boosting on TABLE (the Telco table), exports it, and makes up a Parquet file of customers. Each run is a
process of its own with one thread for numerics (OMP_NUM_THREADS=1), which is also what the baseline is fastest with where cores
are shared. Timed is the work from opening the file to the result, reading included and imports left out: `churn score` to its
result on disk, the baseline to probabilities in memory, by whichever is faster of the file as one frame and as frames of 65,536
rows. Rounds are paired: the ratio is the median of theirs. Writes bench/results/score.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  # carries no types
import numpy as np
import pandas as pd
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types

from bench.frame_model import FrameModel
from training.bundle import contents, write_bundle
from training.candidates import BOOSTING, fit
from training.data import arrow_of, load_table
from training.home import REPOSITORY, Home
from training.prepare import clean, split
from training.sample import sample
from training.score import score, terms

_parquet = cast(Any, pyarrow.parquet)
RESULTS = Path(__file__).with_name("results")
# As `churn train` finds them on the Telco table.
PARAMS = {"learning_rate": 0.04, "max_iter": 190, "max_leaf_nodes": 7, "l2_regularization": 60.0}
OURS, ONE_FRAME, BATCHES = "churn score", "one frame", "frames of 65,536"
FRAME_ROWS = 65_536
MADE_AT_ONCE = 100_000


class Spent(NamedTuple):
    """By one run. Processor time tells more where other work is on the same cores."""

    seconds: float
    busy_seconds: float
    peak_mib: float


def main() -> None:
    """Fit, make the files, measure in child processes, print, write."""
    told = _arguments()
    if told.run:
        sys.stdout.write(_run(told.run, Path(told.table), told.rows))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digest = _prepare(folder, told.table, told.rows)
        rounds = [_round(folder, told.rows) for _ in range(told.rounds)]
        small_mib = statistics.median(_child(OURS, folder, told.rows // 4).peak_mib for _ in range(told.rounds))
    text = table(rounds, small_mib, told.rows, digest)
    (RESULTS / "score.md").write_text(text)
    sys.stdout.write(text)


def _prepare(folder: Path, table: Path, rows: int) -> str:
    """The bundle's digest; beside it the pipeline that it was exported from, and files of all and of a quarter of the rows."""
    learnt = split(clean(load_table(str(table)))[0], 0).train
    pipeline = fit(BOOSTING, PARAMS, learnt.matrix, learnt.churned, 0)
    files = contents(
        pipeline, learnt.matrix, learnt.matrix, data_digest=learnt.data_digest, algorithm=BOOSTING.name, seed=0, card="# Bench"
    )
    (folder / "pipeline").write_bytes(cloudpickle.dumps(pipeline))
    for count in (rows // 4, rows):
        schema = arrow_of(sample(10, 0)[0]).drop_columns(["churned"]).schema
        with _parquet.ParquetWriter(folder / f"{count}.parquet", schema) as writer:
            for seed, start in enumerate(range(0, count, MADE_AT_ONCE)):
                frame = sample(min(MADE_AT_ONCE, count - start), seed)[0]
                writer.write_table(arrow_of(frame).drop_columns(["churned"]))
    digest = write_bundle(files, Home(folder)).digest
    (folder / "digest").write_text(digest)
    return digest


def _round(folder: Path, rows: int) -> dict[str, Spent]:
    return {way: _child(way, folder, rows) for way in (OURS, ONE_FRAME, BATCHES)}


def _child(way: str, folder: Path, rows: int) -> Spent:
    """What one run in a process of its own took."""
    command = [sys.executable, "-m", "bench.score", str(folder), "--rows", str(rows), "--run", way]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout  # noqa: S603 # our own
    return Spent(*map(float, said.split()))


def _run(way: str, folder: Path, rows: int) -> str:
    source, pipeline = folder / f"{rows}.parquet", cloudpickle.loads((folder / "pipeline").read_bytes())
    started, busy = time.perf_counter(), time.process_time()
    if way == OURS:
        home = Home(folder)
        by = terms(home, bundle=(folder / "digest").read_text(), release=None, store=None)
        score(home, str(source), str(folder / "out.parquet"), by)
    elif way == ONE_FRAME:
        FrameModel(pipeline).predict(None, pd.read_parquet(source))
    else:
        batches = _parquet.ParquetFile(source).iter_batches(FRAME_ROWS)
        np.concatenate([FrameModel(pipeline).predict(None, batch.to_pandas()) for batch in batches])
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    # Not getrusage, whose maximum begins with that of the parent.
    peak_kib = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    return f"{seconds} {busy} {peak_kib / 1024}"


def table(rounds: list[dict[str, Spent]], small_mib: float, rows: int, digest: str) -> str:
    """The figures as Markdown."""
    medians = {way: Spent(*(statistics.median(each[way][i] for each in rounds) for i in range(3))) for way in rounds[0]}
    lines = [
        "Written by `python -m bench.score`.",
        f"{BOOSTING.name} of bundle {digest[:12]}, {rows:,} Parquet rows, reading included, one thread on either side",
        f"(OMP_NUM_THREADS=1), {os.cpu_count()} shared cores, median of {len(rounds)} paired rounds.",
        "",
        "| | seconds | of them on a processor | most memory, MiB |",
        "|---|---|---|---|",
    ]
    titles = {OURS: OURS, ONE_FRAME: f"predict_proba, {ONE_FRAME}", BATCHES: f"predict_proba, {BATCHES}"}
    lines += [f"| {titles[way]} | {m.seconds:.2f} | {m.busy_seconds:.2f} | {m.peak_mib:.0f} |" for way, m in medians.items()]
    by_clock, by_processor = (_ratios(rounds, i) for i in (0, 1))
    lines += [
        "",
        f"The faster baseline takes {by_clock} times as long as `churn score`, {by_processor} times as long on a processor.",
    ]
    ours = medians[OURS].peak_mib
    lines.append(
        f"A quarter of the rows needs {small_mib:.0f} MiB: {ours / small_mib:.2f} times the memory for 4 times the rows."
    )
    return "\n".join([*lines, ""])


def _ratios(rounds: list[dict[str, Spent]], i: int) -> str:
    ratios = [min(each[ONE_FRAME][i], each[BATCHES][i]) / each[OURS][i] for each in rounds]
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?", default=REPOSITORY / "var" / "telco.csv")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=(OURS, ONE_FRAME, BATCHES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
