"""Fixtures of the tests of offline work."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


class Bucket(dict[str, bytes]):
    """What a store holds, by /bucket/key. It answers as many requests as `answers` says, then none; or no answer to its end."""

    answers = 1_000_000
    breaks_off = False


def listed(held: Bucket, bucket: str, prefix: str) -> bytes:
    """S3's answer to who asks for the keys in a bucket that begin so."""
    found = {path.removeprefix(f"{bucket}/"): len(content) for path, content in sorted(held.items())}
    items = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size>"
        '<LastModified>2026-11-23T00:00:00.000Z</LastModified><ETag>"1"</ETag></Contents>'
        for key, size in found.items()
        if key.startswith(prefix)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()


class Handler(BaseHTTPRequestHandler):
    """Enough of S3 for obstore; what it holds is its class's."""

    protocol_version = "HTTP/1.1"
    held: Bucket
    one_by_one: threading.Lock

    def answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if content and self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.held.breaks_off else content)
            self.close_connection = self.held.breaks_off

    def status_of_get(self, path: str) -> int:
        with self.one_by_one:
            self.held.answers -= 1
            return 503 if self.held.answers < 0 else 200 if path in self.held else 404

    def status_of_put(self, path: str, content: bytes) -> int:
        with self.one_by_one:
            self.held.answers -= 1
            if self.held.answers < 0:
                return 503
            if self.headers["If-None-Match"] == "*" and path in self.held:
                return 412
            self.held[path] = content
            return 200

    def do_GET(self) -> None:
        url = urlsplit(self.path.replace("%3D", "="))
        if "prefix" in (query := parse_qs(url.query)):
            self.answer(200, listed(self.held, url.path.rstrip("/"), query["prefix"][0]))
        else:
            status = self.status_of_get(url.path)
            self.answer(status, self.held[url.path] if status == 200 else b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.status_of_put(self.path.replace("%3D", "="), content))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it overrides
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """What a loopback server that speaks enough of S3 holds; obstore is pointed at it."""
    held = Bucket()
    mine = type("Mine", (Handler,), {"held": held, "one_by_one": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), mine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings = {
            "ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
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
