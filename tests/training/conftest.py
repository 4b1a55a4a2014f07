"""Fixtures of the tests of offline work."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What a loopback server that speaks enough of S3 holds, by /bucket/key; obstore is pointed at it."""
    held: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.replace("%3D", "=")
            self.answer(200, held[path]) if path in held else self.answer(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            held[self.path.replace("%3D", "=")] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it overrides
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        settings = {
            "ENDPOINT": address,
            "ALLOW_HTTP": "true",
            "ACCESS_KEY_ID": "a",
            "SECRET_ACCESS_KEY": "b",
            "REGION": "eu-west-1",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield held
        server.shutdown()
        thread.join()
