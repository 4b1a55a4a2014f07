"""A batch of 1,000 customers over HTTP against scoring them in this process, and what a batch client does to single requests.

    python -m bench.batch [TABLE] [--seconds 5] [--rounds 5]

The same rows of TABLE (the Telco table) and the same bundle on both sides. In process is what a program with the bundle at hand
would do: the matrix of the decoded customers, and one call of the model. Over HTTP everything else comes with it: the bytes, the
contract, decisions, money, events and metrics, with tokens on. Rounds are paired. Writes bench/results/batch.md.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from app.api import Batch
from app.bundle import fetch_bundle
from app.contract import matrix
from app.model import Model
from bench import load
from bench.servers import Server, app_server, ask, free_port
from bench.serving import RESULTS, served_here
from training.candidates import BOOSTING
from training.data import arrow_of, load_table
from training.home import REPOSITORY, Home
from training.promote import Request, promote
from training.sample import sample
from training.settings import Settings
from training.train import train

ROWS = 1000
AT_LEAST = 0.35
AT_MOST_MS = 5.0


def main() -> int:
    """Write the result; 1 if a figure misses its limit."""
    told = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        digest = train(load_table(str(told.table)), home, Settings(only=BOOSTING.name)).training.bundle_digest
        promote(home, Request(stack="local", created_by="bench", reason="to be measured"))
        settings, token = served_here(home)
        settings = dataclasses.replace(settings, port=free_port())
        model = Model(fetch_bundle(home.bundles_url, digest))
        body = json.dumps({"customers": _customers()}).encode()
        content = load.request("/v1/predict/batch", body, f"authorization: Bearer {token}\r\n")
        with app_server(settings, content=ask(token)) as server:
            shares = [_share(server, content, model, body, told.seconds) for _ in range(told.rounds)]
            waits = [_waits(server, content, told.seconds) for _ in range(told.rounds)]
    text = _text(shares, waits, told.seconds)
    (RESULTS / "batch.md").write_text(text)
    sys.stdout.write(text)
    return int(statistics.median(shares) < AT_LEAST or statistics.median(b - a for a, b in waits) > AT_MOST_MS)


def _customers() -> list[dict[str, object]]:
    rows = arrow_of(sample(ROWS, 0)[0]).drop_columns(["churned"]).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _share(server: Server, content: bytes, model: Model, body: bytes, seconds: float) -> float:
    """Batches a second over HTTP, one after another, as a share of what this process does itself."""
    customers = msgspec.json.decode(body, type=Batch).customers
    done, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        model.score(matrix(customers))
        done += 1
    return load.run(server.port, content, 1, seconds).requests_per_second / (done / seconds)


def _waits(server: Server, batch: bytes, seconds: float) -> tuple[float, float]:
    """p99 of single requests in ms, without and with a client that sends batches as fast as they are answered."""
    alone = load.run(server.port, server.content, 1, seconds).p99_ms
    # A process of its own: a thread would share this one's interpreter with the client that measures.
    other = multiprocessing.get_context("fork").Process(target=load.run, args=(server.port, batch, 1, seconds + 1))
    other.start()
    beside = load.run(server.port, server.content, 1, seconds).p99_ms
    other.join()
    if other.exitcode:
        raise RuntimeError("the batch client was not answered")
    return alone, beside


def _text(shares: list[float], waits: list[tuple[float, float]], seconds: float) -> str:
    alone, beside, more = (statistics.median(each) for each in zip(*((a, b, b - a) for a, b in waits), strict=True))
    return (
        f"Batches of {ROWS:,} customers, {BOOSTING.name}, {os.cpu_count()} cores shared by server and clients, medians of "
        f"{len(shares)} paired rounds of {seconds:g} s. `make bench` writes this.\n\n"
        f"- Over HTTP, one client: **{statistics.median(shares):.2f}** of scoring the same rows in process "
        f"({min(shares):.2f} to {max(shares):.2f}; at least {AT_LEAST}).\n"
        f"- p99 of single requests: {alone:.2f} ms alone, {beside:.2f} ms beside a batch client at full speed, "
        f"**{more:.2f} ms** more (at most {AT_MOST_MS:g}).\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?", default=REPOSITORY / "var" / "telco.csv")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
