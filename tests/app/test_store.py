"""The process and a bundle store that is down, comes back, and goes away again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.bundle import StoreError, fetch_bundle
from tests.app.support import ASKED, Place, ServerProcess, aws, serving


@contextmanager
def bucket(port: int, folder: Path) -> Iterator[list[str]]:
    """An S3 endpoint on loopback with what is in `folder`; the requests it had."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            url = urlsplit(self.path)
            if "prefix" in (query := parse_qs(url.query)):
                found = sorted((folder / query["prefix"][0]).glob("*"))
                items = "".join(
                    f"<Contents><Key>{path.relative_to(folder)}</Key><Size>{path.stat().st_size}</Size>"
                    '<LastModified>2026-01-31T00:00:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
                    for path in found
                )
                content = f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()
            else:
                content = (folder / url.path.removeprefix("/store/")).read_bytes()
            self.send_response(200)
            for name, value in (("etag", '"x"'), ("last-modified", "Sat, 31 Jan 2026 00:00:00 GMT")):
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def process(place: Place, port: int) -> Iterator[ServerProcess]:
    """A process whose store is the bucket at this port, with a folder for temporary files that outlives it."""
    (place.root / "tmp").mkdir(exist_ok=True)
    settings = place.settings(bundles="s3://store/bundles")
    with serving(settings, place.root / "log", TMPDIR=str(place.root / "tmp"), **aws(port)) as server:
        yield server
        assert server.stop() == 0


def kept(place: Place) -> list[Path]:
    return sorted((place.root / "tmp" / "churn-bundles").glob("*/*"))


def test_a_process_waits_for_its_store_and_says_so(place: Place, port: int):
    with process(place, port) as server:
        assert "cannot be fetched" in server.said("not_ready")["reason"]
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert "s3://store/bundles" in httpx.get(f"{server.url}/readyz").json()["detail"]
        with bucket(port, place.root):
            server.said("ready")
        assert httpx.post(f"{server.url}/v1/predict", json=ASKED).status_code == 200
        assert [line["event"] for line in server.log()] == ["listening", "not_ready", "ready"]


def test_a_bundle_that_was_fetched_once_serves_while_the_store_is_down(place: Place, port: int):
    with bucket(port, place.root) as asked, process(place, port) as server:
        server.said("ready")
        assert asked
    assert [path.name for path in kept(place)] == ["card.md", "golden.json", "manifest.json", "model.onnx", "reference.json"]
    with process(place, port) as server:
        server.said("ready")
        assert httpx.post(f"{server.url}/v1/predict", json=ASKED).status_code == 200


def test_a_kept_bundle_that_was_changed_is_fetched_anew(place: Place, port: int):
    with bucket(port, place.root), process(place, port) as server:
        server.said("ready")
    [graph] = [path for path in kept(place) if path.name == "model.onnx"]
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"\0")
    with process(place, port) as server:
        assert "cannot be fetched" in server.said("not_ready")["reason"]
    with bucket(port, place.root), process(place, port) as server:
        server.said("ready")
    assert graph.read_bytes() == whole


def test_a_bundle_that_is_not_on_the_volume_yet_is_served_as_soon_as_it_is(place: Place):
    [bundle] = (place.root / "bundles").iterdir()
    arriving = bundle.rename(place.root / "arriving")
    with serving(place.settings(), place.root / "log") as server:
        assert "is not there" in server.said("not_ready")["reason"]
        assert httpx.get(f"{server.url}/livez").status_code == 200
        arriving.rename(bundle)
        server.said("ready")
        assert httpx.post(f"{server.url}/v1/predict", json=ASKED).status_code == 200
        assert server.stop() == 0


def test_a_place_without_a_manifest_has_no_bundle_yet(place: Place):
    [bundle] = (place.root / "bundles").iterdir()
    (bundle / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"holds no bundle: manifest\.json is missing there"):
        fetch_bundle((place.root / "bundles").as_uri(), bundle.name)
