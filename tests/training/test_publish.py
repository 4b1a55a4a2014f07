"""Bundles put into a store: a folder, and a loopback server that speaks S3."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.bundle import FILES, MANIFEST, BundleError, fetch_bundle, fetch_files, sha256
from tests.app.support import bundle_files
from tests.app.support import write_bundle as write_files
from tests.training.conftest import Bucket
from tests.training.released import add_bundle, churn, make_home
from training.home import Home
from training.promote import Request, promote
from training.publish import publish

STORE = "s3://artifacts/bundles"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, bucket: Bucket, tmp_path: Path) -> str:
    """A store that is empty; a folder that is not there yet, its name not a plain one."""
    assert bucket == {}
    return STORE if request.param == "s3" else (tmp_path / "srv" / "the bundles").as_uri()


def test_a_published_bundle_is_what_pods_fetch_and_publishing_again_writes_nothing(home: Home, store: str):
    digest = add_bundle(home, 1)
    first, again = publish(home, digest, store), publish(home, digest, f"{store}/")
    assert (first.location, first.written, again.written) == (f"{store}/{digest}", 5, 0)
    assert fetch_files(store, digest) == fetch_files(home.bundles_url, digest)
    assert fetch_bundle(store, digest).digest == digest


def test_a_large_bundle_is_written_once_too(home: Home, store: str):
    digest = write_files(home.var / "bundles", bundle_files(model=bytes(12 * 2**20)))
    assert [publish(home, digest, store).written for _ in range(2)] == [5, 0]
    assert fetch_files(store, digest) == fetch_files(home.bundles_url, digest)


def test_of_many_who_publish_the_same_at_once_each_ends_well_and_each_file_is_written_once(home: Home, store: str):
    digest = add_bundle(home, 1)
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: publish(home, digest, store), range(10)))
    assert sum(each.written for each in done) == 5
    assert fetch_bundle(store, digest).digest == digest


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_what_is_there_is_never_changed_and_both_digests_are_named(name: str, home: Home, bucket: Bucket):
    digest = add_bundle(home, 1)
    bucket[f"/artifacts/bundles/{digest}/{name}"] = b"another"
    ours = sha256((home.bundle(digest) / name).read_bytes())
    with pytest.raises(BundleError, match=rf"{name} has sha256 {sha256(b'another')}, but this bundle's has {ours}"):
        publish(home, digest, STORE)
    assert bucket[f"/artifacts/bundles/{digest}/{name}"] == b"another"
    with pytest.raises(BundleError):
        fetch_bundle(STORE, digest)


def test_a_bundle_that_is_damaged_here_is_not_published(home: Home, bucket: Bucket):
    digest = add_bundle(home, 1)
    (home.bundle(digest) / "model.onnx").write_bytes(b"never loaded herE")
    with pytest.raises(BundleError, match=r"model\.onnx was changed"):
        publish(home, digest, STORE)
    with pytest.raises(BundleError, match="is not there"):
        publish(home, "0" * 64, STORE)
    assert bucket == {}


@pytest.mark.parametrize("answers", range(10))
def test_wherever_the_store_goes_down_half_a_bundle_is_none_and_the_same_command_completes_it(
    answers: int, home: Home, bucket: Bucket
):
    digest = add_bundle(home, 1)
    bucket.answers = answers
    with pytest.raises(
        BundleError, match=rf"{STORE}/{digest} is not published; what is there stays, and the same command puts the rest"
    ):
        publish(home, digest, STORE)
    bucket.answers = 1_000_000
    if len(bucket) < 5:
        with pytest.raises(BundleError, match=r"holds no bundle: manifest\.json is missing"):
            fetch_bundle(STORE, digest)
    assert publish(home, digest, STORE).written == 5 - min(answers, 5)
    assert fetch_bundle(STORE, digest).digest == digest


def test_churn_publish_takes_a_digest_the_last_bundle_or_all_of_a_release(home: Home, store: str):
    champion = promote(home, Request(stack="local", bundle=add_bundle(home, 1))).champion.bundle_digest
    challenger = add_bundle(home, 2, compared=champion)
    promote(home, Request(stack="local", bundle=challenger, role="challenger"))
    last = add_bundle(home, 3, compared=champion)
    assert churn(home, "publish", "--to", store).stdout == f"{store}/{last}: published, files: 5\n"
    assert churn(home, "publish", champion, "--to", store).stdout == f"{store}/{champion}: published, files: 5\n"
    assert churn(home, "publish", "--stack", "local", "--to", store).stdout == (
        f"{store}/{champion}: was there already, the same\n{store}/{challenger}: published, files: 5\n"
    )
    for digest in (champion, challenger, last):
        assert fetch_bundle(store, digest).digest == digest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stack", "dev"], "releases/dev.json is not there"),
        (["0" * 64, "--stack", "dev"], "give one of them"),
        (["0" * 64], "is not there"),
        (["/etc/passwd"], "give its whole digest"),
        ([], "run `churn train TABLE`"),
    ],
    ids=["no release", "both", "no such bundle", "a path", "nothing trained"],
)
def test_what_cannot_be_published_is_bad_input(arguments: list[str], told: str, home: Home, tmp_path: Path):
    done = churn(home, "publish", *arguments, "--to", tmp_path.as_uri())
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_store_that_refuses_is_bad_input_within_a_minute(home: Home, monkeypatch: pytest.MonkeyPatch):
    digest = add_bundle(home, 1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, value in {"ENDPOINT": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    done = churn(home, "publish", digest, "--to", STORE)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{STORE}/{digest} is not published" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_bad_input(home: Home, tmp_path: Path):
    digest = add_bundle(home, 1)
    (tmp_path / "file").write_bytes(b"")
    done = churn(home, "publish", digest, "--to", f"{(tmp_path / 'file').as_uri()}/bundles")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not published; what is there stays, and the same command puts the rest" in done.stderr
