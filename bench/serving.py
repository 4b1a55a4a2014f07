"""The inference service against its floor and against `mlflow models serve`, measured in one run on one machine.

    python -m bench.serving [TABLE] [--seconds 5] [--rounds 3]

Trains histogram gradient boosting on TABLE (the Telco table) and serves it three ways: by this service, with tokens, events and
metrics on; by MLflow as the pipeline on a frame that a notebook would log; and by MLflow as the ONNX graph alone that
`churn train` registers. Then what each feature of the service costs, beside the service without any of them; and, where `wrk` is
installed, whether it sees the same rates. Rounds are interleaved, so that a noisy neighbour meets all of them, and the median
counts. Only ratios mean anything on shared cores, and those of processor time most. Writes bench/results/serving.json and .md.
"""

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import msgspec
import numpy as np
import onnx
from mlflow.onnx import save_model  # pyright: ignore[reportUnknownVariableType]  # untyped keyword arguments
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from app.access import TokenHashes, new_token
from app.bundle import MODEL_INPUT
from app.contract import Customer, matrix
from app.release import Role, decode_release, encode_release, sealed
from app.settings import Settings
from bench import load
from bench.frame_model import FrameModel
from bench.servers import CUSTOMER, Server, app_server, ask, floor_server, free_port, mlflow_server
from bench.without import FEATURES
from training.bundle import contents, write_bundle
from training.candidates import BOOSTING, fit
from training.data import Table, load_table
from training.home import REPOSITORY, Home
from training.prepare import clean, split
from training.promote import Request, promote
from training.settings import Settings as TrainingSettings
from training.train import Trained, train

RESULTS = Path(__file__).with_name("results")
CONNECTIONS = (1, 16, 64)
STARTS = 5
MLFLOW_FRAME, MLFLOW_ONNX = "mlflow (frame)", "mlflow (graph)"
APP = "app"
FLOOR = "floor"
BARE, AUTH, SPLIT, ALL = "bare", "auth", "split 90 to 10", "all of them"
ALONE, AGAIN, SHADOWED = "alone", "alone, another process", "with a shadow"
# Requests a second, some tenth of what the service can do.
SHADOWED_RATE = 2_000
# A p99 is mostly the machine's: many short turns, in any order, in processes that are started anew.
SHADOWED_BLOCKS, SHADOWED_TURNS, SHADOWED_SECONDS = 8, 30, 0.4
# A shadow is done with an answer by then, so that it is not at work in another's turn.
SHADOWED_PAUSE_SECONDS = 0.12
# Connections, where features and clients are compared.
MIDDLE = 16

Found = dict[str, Any]
# Of p99 in ms: a row for each process, in it the turns.
Blocks = NDArray[np.float64]
Round = dict[tuple[str, int], dict[str, float]]


def main() -> None:
    """Train, measure, print, write."""
    told = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        trained = train(load_table(str(told.table)), home, TrainingSettings(only=BOOSTING.name))
        digest = trained.training.bundle_digest
        promote(home, Request(stack="local", created_by="bench", reason="to be measured"))
        alone, token = served_here(home)
        bodies = {
            MLFLOW_FRAME: (_frame_model(home, trained, told.table), {"dataframe_records": [CUSTOMER]}),
            MLFLOW_ONNX: (_onnx_model(home, digest), {"inputs": {MODEL_INPUT: matrix([Customer(**CUSTOMER)]).tolist()}}),
        }
        found = measure(alone, token, bodies, told.seconds, told.rounds)
        second = _second_bundle(home, trained, told.table)
        divided = dataclasses.replace(alone, release=_with_second(home, second, "challenger", 10))
        shadowed = dataclasses.replace(alone, release=_with_second(home, second, "shadow", 0))
        found["features"] = features(alone, divided, token, told.seconds, told.rounds)
        found["shadow"] = shadow(alone, shadowed, token)
    found |= {"bundle": digest, "algorithm": trained.training.chosen, "cores": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "serving.md").write_text(table(found))
    sys.stdout.write(table(found))


def served_here(home: Home) -> tuple[Settings, str]:
    """How to serve what is live on local, and the token that it takes."""
    token, digest = new_token()
    tokens = home.var / "tokens.json"
    tokens.write_bytes(msgspec.json.encode(TokenHashes(predict=[digest])))
    return Settings(
        release=home.release("local"),
        bundles=home.bundles_url,
        events=(home.var / "events").as_uri(),
        tokens=tokens,
        port=0,
        metrics_port=0,
    ), token


def _frame_model(home: Home, trained: Trained, table: Path) -> str:
    """The same model as a data scientist would log it: a pipeline that takes a frame of the contract's fields."""
    path = home.var / "frame_model"
    pipeline = _fitted(trained, _learnt(trained, table), trained.training.settings.seed)
    mlflow.pyfunc.save_model(str(path), python_model=FrameModel(pipeline), pip_requirements=[])
    return str(path)


def _second_bundle(home: Home, trained: Trained, table: Path) -> str:
    """The digest of a model of the same kind and size, fitted with another seed."""
    rows, seed = _learnt(trained, table), trained.training.settings.seed + 1
    files = contents(
        _fitted(trained, rows, seed),
        rows.matrix,
        rows.matrix,
        data_digest=rows.data_digest,
        algorithm=BOOSTING.name,
        seed=seed,
        card="# Bench",
    )
    return write_bundle(files, home).digest


def _with_second(home: Home, bundle_digest: str, role: Role, percent: int) -> Path:
    """The live release with this bundle beside its own; no gate lets a mere copy through, and none is asked."""
    release = decode_release(home.release("local").read_bytes(), "local")
    champion = msgspec.structs.replace(release.champion, weight_percent=100 - percent)
    other = msgspec.structs.replace(champion, role=role, weight_percent=percent, bundle_digest=bundle_digest)
    file = home.var / f"{role}.json"
    file.write_bytes(encode_release(sealed(msgspec.structs.replace(release, variants=(champion, other)))))
    return file


def _learnt(trained: Trained, table: Path) -> Table:
    return split(clean(load_table(str(table)))[0], trained.training.settings.seed).train


def _fitted(trained: Trained, rows: Table, seed: int) -> Pipeline:
    own = next(one for one in trained.training.competitors if one.name == BOOSTING.name)
    return fit(BOOSTING, own.params, rows.matrix, rows.churned, seed)


def _onnx_model(home: Home, digest: str) -> str:
    path = home.var / "onnx_model"
    save_model(onnx.load(str(home.bundle(digest) / "model.onnx")), str(path), pip_requirements=[])
    return str(path)


def measure(settings: Settings, token: str, mlflow_models: dict[str, tuple[str, Any]], seconds: float, rounds: int) -> Found:
    """Requests a second by connections and server, starts and memory."""
    starts: dict[str, list[float]] = {APP: [], FLOOR: []}
    length = 0
    for _ in range(STARTS):
        with _app(settings, token) as server:
            starts[APP].append(server.start_seconds)
            length = len(load.once(server.port, server.content).partition(b"\r\n\r\n")[2])
        with floor_server(length) as server:
            starts[FLOOR].append(server.start_seconds)
    with ExitStack() as stack:
        servers = {APP: stack.enter_context(_app(settings, token)), FLOOR: stack.enter_context(floor_server(length))}
        for name, (model, body) in mlflow_models.items():
            servers[name] = stack.enter_context(mlflow_server(model, body))
        fresh = {name: server.resident_mb() for name, server in servers.items()}
        runs = [one_round(servers, CONNECTIONS, seconds) for _ in range(rounds)]
        agreement = _agreement({name: servers[name] for name in (APP, FLOOR)}, seconds, rounds) if shutil.which("wrk") else {}
        resident = {name: server.resident_mb() for name, server in servers.items()}
    return {
        "rounds": rounds,
        "seconds": seconds,
        "answer_bytes": length,
        "start_seconds": {name: statistics.median(each) for name, each in starts.items()},
        "resident_mb_fresh": fresh,
        "resident_mb_after_load": resident,
        "load": {name: {str(c): figures(runs, (name, c), (FLOOR, c)) for c in CONNECTIONS} for name in servers},
        "wrk": agreement,
    }


def features(alone: Settings, divided: Settings, token: str, seconds: float, rounds: int) -> Found:
    """What each feature costs: the service without any of them, with each by itself, and with all."""
    bare, bare_divided = (dataclasses.replace(each, tokens=None) for each in (alone, divided))
    ways = {BARE: (bare, FEATURES), AUTH: (alone, FEATURES), SPLIT: (bare_divided, FEATURES)}
    ways |= {feature: (bare, tuple(each for each in FEATURES if each != feature)) for feature in FEATURES}
    ways[ALL] = (divided, ())
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(_app(settings, token, "bench.without", *out)) for name, (settings, out) in ways.items()
        }
        runs = [one_round(servers, (MIDDLE,), seconds) for _ in range(rounds)]
    return {name: figures(runs, (name, MIDDLE), (BARE, MIDDLE)) for name in servers}


def shadow(alone: Settings, shadowed: Settings, token: str, seed: int = 0) -> Found:
    """What a shadow does to those who are answered by somebody else, at an even rate that leaves the service time for it."""
    rng = np.random.default_rng(seed)
    ways = {ALONE: alone, AGAIN: alone, SHADOWED: shadowed}
    p99s_ms = {name: np.empty((SHADOWED_BLOCKS, SHADOWED_TURNS)) for name in ways}
    for block in range(SHADOWED_BLOCKS):
        with ExitStack() as stack:
            servers = {name: stack.enter_context(_app(settings, token)) for name, settings in ways.items()}
            for server in servers.values():
                load.run(server.port, server.content, MIDDLE, 1)
            for turn, name in [(turn, name) for turn in range(SHADOWED_TURNS) for name in rng.permutation([*ways]).tolist()]:
                took = load.paced(servers[name].port, servers[name].content, MIDDLE, SHADOWED_RATE, SHADOWED_SECONDS)
                p99s_ms[name][block, turn] = 1000 * np.percentile(took, 99)
                time.sleep(SHADOWED_PAUSE_SECONDS)
    return {
        "p99_ms": {name: float(np.median(each)) for name, each in p99s_ms.items()},
        # Two processes that are alike, and one that is not beside both of them.
        "shares": {
            AGAIN: _share(p99s_ms[AGAIN], p99s_ms[ALONE], rng),
            SHADOWED: _share(p99s_ms[SHADOWED], np.hstack([p99s_ms[ALONE], p99s_ms[AGAIN]]), rng),
        },
    }


def _share(own: Blocks, base: Blocks, rng: np.random.Generator) -> tuple[float, float, float]:
    """The ratio of medians, and the ends of 95% of it when processes (rows), and then their turns, are drawn anew."""

    def drawn() -> float:
        blocks = rng.integers(0, len(own), len(own))
        ours, theirs = (np.median(each[blocks][:, rng.integers(0, each.shape[1], each.shape[1])]) for each in (own, base))
        return float(ours / theirs)

    low, high = np.percentile([drawn() for _ in range(2_000)], [2.5, 97.5])
    return float(np.median(own) / np.median(base)), float(low), float(high)


def table(found: Found) -> str:
    """The figures as Markdown, ratios beside them."""
    names = list(found["load"])
    about = (
        f"{found['algorithm']} of bundle {found['bundle'][:12]}, {found['cores']} cores shared by server and client, median of"
    )
    lines = [f"{about} {found['rounds']} interleaved rounds of {found['seconds']:g} s. `make bench` writes this.", ""]
    lines.append("Tokens, events and metrics are on. Shares are medians of the rounds' own, rates beside them.")
    lines += ["", "| connections | " + " | ".join(f"{name}, req/s (p50 / p99 ms)" for name in names) + " | "]
    lines[-1] += (
        " | ".join(f"app / {name}" for name in names[1:]) + " | app / floor by processor time | p99 over the floor's, ms |"
    )
    lines.append("|" + "---|" * (2 * len(names) + 2))
    for connections in map(str, CONNECTIONS):
        by_name = {name: found["load"][name][connections] for name in names}
        app = by_name[APP]
        cells = [
            f"{each['requests_per_second']:,.0f} ({each['median_ms']:.2f} / {each['p99_ms']:.2f})" for each in by_name.values()
        ]
        shares = [f"{app['rate_share'] / by_name[name]['rate_share']:.2f}" for name in names[1:]]
        more = [f"{app['processor_share']:.2f}", f"{app['p99_more_ms']:.2f}"]
        lines.append("| " + " | ".join([connections, *cells, *shares, *more]) + " |")
    starts, fresh, loaded = found["start_seconds"], found["resident_mb_fresh"], found["resident_mb_after_load"]
    lines += ["", "| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    lines.append("| start to first answer, s | " + " | ".join(f"{starts[n]:.2f}" if n in starts else "" for n in names) + " |")
    lines.append("| resident, MiB, fresh | " + " | ".join(f"{fresh[name]:.0f}" for name in names) + " |")
    lines.append("| resident, MiB, after the load | " + " | ".join(f"{loaded[name]:.0f}" for name in names) + " |")
    lines += ["", f"What each feature costs at {MIDDLE} connections, by itself and together:", ""]
    lines += [
        "| | req/s | processor time a request, us | of the bare rate | of the bare by processor time |",
        "|---|---|---|---|---|",
    ]
    for name, each in found["features"].items():
        shares = f"{each['rate_share']:.2f} | {each['processor_share']:.2f}"
        lines.append(f"| {name} | {each['requests_per_second']:,.0f} | {each['processor_us']:.1f} | {shares} |")
    beside = found["shadow"]
    p99s_ms = ", ".join(f"{each:.2f} ms {name}" for name, each in beside["p99_ms"].items())
    shares = {
        name: f"{share - 1:+.1%} (95% of it from {low - 1:+.1%} to {high - 1:+.1%})"
        for name, (share, low, high) in beside["shares"].items()
    }
    lines += [
        "",
        f"What a shadow does to p99 at {SHADOWED_RATE:,} requests a second, each timed from when it was due, as the median of "
        f"{SHADOWED_BLOCKS * SHADOWED_TURNS} turns of {SHADOWED_SECONDS:g} s in {SHADOWED_BLOCKS} processes each: {p99s_ms}. "
        f"{SHADOWED.capitalize()} {shares[SHADOWED]}, at most +5%; of two without, one beside the other {shares[AGAIN]}.",
    ]
    if found["wrk"]:
        rates = ", ".join(f"{name} {each['rate']:,.0f} ({each['share']:.2f} of ours)" for name, each in found["wrk"].items())
        lines += ["", f"`wrk` with {MIDDLE} connections, in turns with the client used above, counts requests a second: {rates}."]
    return "\n".join([*lines, ""])


def _app(settings: Settings, token: str, *module: str) -> AbstractContextManager[Server]:
    content = ask(token if settings.tokens else None)
    return app_server(dataclasses.replace(settings, port=free_port()), content=content, module=module or ("app",))


def one_round(servers: dict[str, Server], connections: tuple[int, ...], seconds: float) -> Round:
    """One run of each server at each number of connections, taking turns."""
    return {(name, each): _run(server, each, seconds) for each in connections for name, server in servers.items()}


def _run(server: Server, connections: int, seconds: float) -> dict[str, float]:
    busy = server.busy_seconds()
    ran = load.run(server.port, server.content, connections, seconds)
    busy = server.busy_seconds() - busy
    # What a slow one was asked last it works on after its clients have gone, and takes from the next in turn.
    server.rest()
    return {**dataclasses.asdict(ran), "processor_us": busy / (ran.requests_per_second * seconds) * 1e6}


def figures(rounds: list[Round], own: tuple[str, int], base: tuple[str, int]) -> dict[str, float]:
    """Medians of what was measured and, round by round, beside the base."""
    pairs = [(each[own], each[base]) for each in rounds]
    return {
        **{name: statistics.median(mine[name] for mine, _ in pairs) for name in pairs[0][0]},
        "rate_share": statistics.median(mine["requests_per_second"] / its["requests_per_second"] for mine, its in pairs),
        "processor_share": statistics.median(its["processor_us"] / mine["processor_us"] for mine, its in pairs),
        "p99_share": statistics.median(mine["p99_ms"] / its["p99_ms"] for mine, its in pairs),
        "p99_more_ms": statistics.median(mine["p99_ms"] - its["p99_ms"] for mine, its in pairs),
    }


def _agreement(servers: dict[str, Server], seconds: float, rounds: int) -> Found:
    """What `wrk` counts of each server, as it is and as a share of what our own client counts in turns with it."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            own = load.run(server.port, server.content, MIDDLE, seconds).requests_per_second
            found[name].append((_wrk(server, seconds), own))
    return {
        name: {"rate": statistics.median(w for w, _ in pairs), "share": statistics.median(w / own for w, own in pairs)}
        for name, pairs in found.items()
    }


def _wrk(server: Server, seconds: float) -> float:
    head, _, body = server.content.decode().partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if not line.startswith("content-length"))
    script = [
        f"wrk.method, wrk.body = 'POST', '{body}'",
        *(f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()),
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write("\n".join(script))
        file.flush()
        url = f"http://127.0.0.1:{server.port}{head.split()[1]}"
        command = ["wrk", "-t1", f"-c{MIDDLE}", f"-d{max(1, round(seconds))}s", "-s", file.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 # our own
    if "Non-2xx" in said:
        raise RuntimeError(f"wrk was refused:\n{said}")
    return float(said.split("Requests/sec:")[1].split()[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?", default=REPOSITORY / "var" / "telco.csv")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
