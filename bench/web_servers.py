"""uvicorn against granian: the same constant answer, the same client, in one run.

    python -m bench.web_servers [--seconds 5] [--rounds 3]

Rates and processor time at 1, 16 and 64 connections, memory, and when a client is let go that sends its head, or its body, no
further: uvicorn as it comes, without the limits that app/protocol.py adds. Writes bench/results/web_servers.md.
"""

import argparse
import os
import socket
import sys
import time
from contextlib import ExitStack

from bench.servers import Server, floor_server, granian_server
from bench.serving import CONNECTIONS, RESULTS, figures, one_round

UVICORN, GRANIAN = "uvicorn", "granian"
ANSWER_BYTES = 200
# Longer than any of them should wait for a client that has gone silent.
PATIENCE_SECONDS = 45.0
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SILENT = {"head": HEAD, "body": HEAD + b"content-length: 100\r\n\r\n{"}


def main() -> None:
    """Measure, print, write."""
    told = _arguments()
    with ExitStack() as stack:
        servers = {
            UVICORN: stack.enter_context(floor_server(ANSWER_BYTES)),
            GRANIAN: stack.enter_context(granian_server(ANSWER_BYTES)),
        }
        runs = [one_round(servers, CONNECTIONS, told.seconds) for _ in range(told.rounds)]
        resident = {name: server.resident_mb() for name, server in servers.items()}
        ends = {(name, what): _let_go(server, said) for name, server in servers.items() for what, said in SILENT.items()}
    lines = [
        f"A constant Starlette answer, {os.cpu_count()} cores shared by server and client, medians of {told.rounds} interleaved",
        f"rounds of {told.seconds:g} s. `make bench` writes this.",
        "",
        f"| | {UVICORN} | {GRANIAN} | {GRANIAN} / {UVICORN} | by processor time |",
        "|---|---|---|---|---|",
    ]
    for each in CONNECTIONS:
        its, other = (figures(runs, (name, each), (UVICORN, each)) for name in servers)
        cells = [f"{one['requests_per_second']:,.0f} (p99 {one['p99_ms']:.2f} ms)" for one in (its, other)]
        cells += [f"{other['rate_share']:.2f}", f"{other['processor_share']:.2f}"]
        lines.append(f"| requests a second, {each} connections | {' | '.join(cells)} |")
    lines.append(f"| resident, MiB | {resident[UVICORN]:.0f} | {resident[GRANIAN]:.0f} | | |")
    lines += [f"| a {what} without an end | {ends[UVICORN, what]} | {ends[GRANIAN, what]} | | |" for what in SILENT]
    text = "\n".join([*lines, ""])
    (RESULTS / "web_servers.md").write_text(text)
    sys.stdout.write(text)


def _let_go(server: Server, said: bytes) -> str:
    """After how long a client is let go that says this and then nothing."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(said)
        try:
            while connection.recv(65536):
                pass
        except TimeoutError:
            return f"kept for more than {PATIENCE_SECONDS:g} s"
    return f"closed after {time.monotonic() - started:.0f} s"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
