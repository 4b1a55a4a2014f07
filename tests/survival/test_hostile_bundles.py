"""Bundles that were damaged or made by an enemy: refused before they are parsed, and nothing in them is run or followed."""

import gzip
import io
import os
import pickle
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import load_model_from_string

from app.bundle import FILES, MANIFEST, BundleError, Golden, Manifest, Reference, fetch_bundle, sha256
from app.release import Release, ReleaseError, encode_release
from app.service import load
from app.settings import Settings, SettingsError
from tests.app.support import Place, bundle_files, release, serving, variant, write_bundle
from tests.survival.crowd import SHARE
from tests.survival.hostile import MAX_GROWTH_BYTES, MIB, Memory, Watch, watched

ALL = (MANIFEST, *FILES)
WHOLE = bundle_files()
DAMAGED = int(1_000 * SHARE)
CANARY = b"nobody may read this canary"
ZEROS = "0" * 64


@contextmanager
def parsers() -> Iterator[list[Any]]:
    """What msgspec's decoders and ONNX Runtime are made to parse in this thread: the type of it, or the word model."""
    seen: list[Any] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and isinstance(getattr(called, "__self__", None), msgspec.json.Decoder):
            seen.append(called.__self__.type)
        if event == "call" and frame.f_code is onnxruntime.InferenceSession.__init__.__code__:
            seen.append("model")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundles")
    write_bundle(made, WHOLE)
    return made


def test_of_a_whole_bundle_all_is_seen_to_be_parsed(store: Path):
    with parsers() as parsed:
        fetch_bundle(store.as_uri(), sha256(WHOLE[MANIFEST]))
    assert parsed == [Manifest, Golden, Reference]


# The same cases each time: a failure is one of the code.
@settings(max_examples=DAMAGED, derandomize=True)
@given(
    name=st.sampled_from(ALL),
    at=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    how=st.sampled_from(["flipped", "cut off", "one more"]),
)
def test_one_damaged_byte_is_refused_and_the_file_is_not_parsed(store: Path, name: str, at: float, bit: int, how: str):
    whole, offset = WHOLE[name], int(at * len(WHOLE[name]))
    flipped = whole[:offset] + bytes([whole[offset] ^ 1 << bit]) + whole[offset + 1 :]
    damaged = {"flipped": flipped, "cut off": whole[:offset], "one more": whole[:offset] + bytes([bit]) + whole[offset:]}[how]
    path = store / sha256(WHOLE[MANIFEST]) / name
    path.write_bytes(damaged)
    try:
        with parsers() as parsed, pytest.raises(BundleError, match=rf"/{name} was changed"):
            fetch_bundle(store.as_uri(), sha256(WHOLE[MANIFEST]))
    finally:
        path.write_bytes(whole)
    # The manifest says what the others should be, so it is read before them, once it is known to be whole.
    assert parsed == ([] if name == MANIFEST else [Manifest])


class Malicious:
    """Runs a command in whoever unpickles it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self._command,)


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("model.onnx", content)
    return packed.getvalue()


# A few hundred kilobytes each, that are far more to who unpacks them or follows their lengths.
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(bytes(64 * MIB), 1),
    "zlib": lambda: zlib.compress(bytes(64 * MIB), 1),
    "zip": lambda: zipped(bytes(64 * MIB)),
    # Blocks of 128 KiB that are one byte over and over, as RFC 8878 has them.
    "zstd": lambda: b"\x28\xb5\x2f\xfd\x00\x78" + b"\x02\x00\x10\xff" * 10_000,
    "a length beyond the end": lambda: b"\x3a\xff\xff\xff\xff\x07\xff",
    "deep JSON": lambda: b'{"a":' * 100_000 + b"\xff",
}


def enclosed(place: Place, name: str, content: bytes) -> None:
    """A release of a bundle with this content, under digests that are right."""
    files = {**WHOLE, name: content}
    if name != MANIFEST:
        manifest = msgspec.json.decode(WHOLE[MANIFEST], type=Manifest)
        files[MANIFEST] = msgspec.json.encode(
            msgspec.structs.replace(manifest, files={each: sha256(files[each]) for each in FILES})
        )
    place.write_release(variant(write_bundle(place.root / "bundles", files)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def canary(place: Place) -> Iterator[Watch]:
    """A file beside the store, and whether anybody opened it."""
    (place.root / "canary").write_bytes(CANARY)
    with watched(place.root / "canary") as watch:
        yield watch


def why_not_ready(place: Place) -> str:
    """What a process says of its release; it lives, and ends in order."""
    with serving(place.settings(), place.root / "log") as server:
        reason: str = server.said("not_ready")["reason"]
        assert server.stop() == 0
        assert [line["event"] for line in server.log()] == ["listening", "not_ready", "stopping", "stopped"]
    return reason


def test_a_process_with_a_damaged_bundle_lives_and_says_which_file_it_is(place: Place):
    digest = place.add_bundle()
    place.write_release(variant(digest))
    model = place.root / "bundles" / digest / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert "model.onnx was changed" in why_not_ready(place)


def test_a_pickle_is_never_unpickled_whatever_file_it_is(place: Place):
    ran = place.root / "ran"
    pickled = pickle.dumps(Malicious(f"touch {ran}"))
    for name in ALL:
        enclosed(place, name, pickled)
        with pytest.raises(BundleError, match=name):
            load(place.settings())
    enclosed(place, "model.onnx", pickled)
    assert "model.onnx cannot be loaded" in why_not_ready(place)
    assert not ran.exists()
    pickle.loads(pickled)  # noqa: S301 # ours: to see that it would have run
    assert ran.exists()


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_and_not_inflated_whatever_file_it_is(place: Place, kind: str):
    content = BOMBS[kind]()
    load(with_whole_bundle(place))
    memory = Memory(os.getpid())
    for name in ALL:
        enclosed(place, name, content)
        with pytest.raises(BundleError, match=name):
            load(place.settings())
    assert memory.growth_bytes <= MAX_GROWTH_BYTES


def with_whole_bundle(place: Place) -> Settings:
    place.write_release(variant(place.add_bundle()))
    return place.settings()


@pytest.mark.parametrize("location", ["canary", "./canary", "../canary", "{root}/canary"])
def test_weights_in_another_file_are_not_read(place: Place, canary: Watch, location: str, monkeypatch: pytest.MonkeyPatch):
    model = load_model_from_string(WHOLE["model.onnx"])
    [kept] = [each for each in model.graph.initializer if each.name == "b"]
    kept.ClearField("raw_data")
    kept.data_location = kept.EXTERNAL
    for key, value in (("location", location.format(root=place.root)), ("offset", "0"), ("length", "4")):
        kept.external_data.add(key=key, value=value)
    enclosed(place, "model.onnx", model.SerializeToString())
    monkeypatch.chdir(place.root)
    with pytest.raises(BundleError, match=r"model\.onnx cannot be loaded"):
        load(place.settings())
    assert not canary.opened()


@pytest.mark.parametrize("name", ALL)
def test_a_file_that_is_a_link_is_not_followed(place: Place, canary: Watch, name: str):
    settings = with_whole_bundle(place)
    [folder] = (place.root / "bundles").iterdir()
    (folder / name).unlink()
    (folder / name).symlink_to(place.root / "canary")
    with pytest.raises(BundleError, match=f"{name} is a link") as refused:
        load(settings)
    assert not canary.opened()
    assert sha256(CANARY) not in str(refused.value)


def test_a_bundle_that_is_a_link_is_not_followed(place: Place):
    settings = with_whole_bundle(place)
    [folder] = (place.root / "bundles").iterdir()
    folder.rename(place.root / "elsewhere")
    folder.symlink_to(place.root / "elsewhere")
    with pytest.raises(BundleError, match="is a link"):
        load(settings)


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/environ", "/proc/self/mem", "/nowhere", ".", "model.onnx"])
def test_a_link_to_what_is_no_file_holds_nobody_up(place: Place, target: str):
    settings = with_whole_bundle(place)
    [folder] = (place.root / "bundles").iterdir()
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(target)
    with pytest.raises(BundleError, match=r"model\.onnx is a link"):
        load(settings)


def test_a_pipe_holds_nobody_up(place: Place):
    settings = with_whole_bundle(place)
    [folder] = (place.root / "bundles").iterdir()
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        load(settings)


@pytest.mark.parametrize(
    "name",
    [
        "../canary",
        "../../canary",
        "{root}/canary",
        "model.onnx/../../../canary",
        "..%2f..%2fcanary",
        "%2e%2e/canary",
        "..\\..\\canary",
        "./card.md",
        "card.md\0",
        "card.md\n",
        "file://{root}/canary",
        "",
    ],
)
def test_a_manifest_that_names_what_is_elsewhere_is_refused_and_it_is_not_read(place: Place, canary: Watch, name: str):
    manifest = msgspec.json.decode(WHOLE[MANIFEST], type=Manifest)
    name = name.format(root=place.root)
    for files in ({**manifest.files, name: sha256(CANARY)}, {**dict(list(manifest.files.items())[1:]), name: sha256(CANARY)}):
        enclosed(place, MANIFEST, msgspec.json.encode(msgspec.structs.replace(manifest, files=files)))
        with pytest.raises(BundleError, match="does not belong in its manifest"):
            load(place.settings())
    assert not canary.opened()


DIGESTS = [
    "",
    ".",
    "..",
    "../canary",
    "../../canary",
    "/etc/passwd",
    "{root}/canary",
    "file://{root}/canary",
    "%2e%2e%2fcanary",
    "..%2fcanary",
    "..\\canary",
    "~/canary",
    "$HOME",
    "`touch ran`",
    "*",
    f"../{ZEROS[3:]}",
    f"{ZEROS}/../../canary",
    f"{ZEROS}\0",
    f"{ZEROS}\n",
    f"\n{ZEROS}",
    ZEROS[1:],
    ZEROS + "0",
    "A" * 64,
    "g" * 64,
    "\uff10" * 64,
    "\u0660" * 64,
]


@pytest.mark.parametrize("digest", DIGESTS)
def test_what_is_no_digest_is_no_path(place: Place, canary: Watch, digest: str):
    digest = digest.format(root=place.root)
    with pytest.raises(BundleError, match="give its whole digest"):
        fetch_bundle((place.root / "bundles").as_uri(), digest)
    place.write_release(variant(place.add_bundle()))
    made: Release = release(variant(digest))
    (place.root / "release.json").write_bytes(encode_release(made))
    with pytest.raises(ReleaseError, match=r"release\.json"):
        load(place.settings())
    assert not canary.opened()


@pytest.mark.parametrize(
    "store",
    [
        "{root}/bundles",
        "bundles",
        "file:{root}/bundles",
        "file://localhost{root}/bundles",
        "file://elsewhere{root}/bundles",
        "file://%2e%2e/bundles",
        "FILE://{root}/bundles",
        "http://127.0.0.1/bundles",
        "https://127.0.0.1/bundles",
        "memory:///bundles",
        "data:,bundles",
        "ssh://127.0.0.1/bundles",
        " file://{root}/bundles",
        "file:///",
    ],
)
def test_a_store_of_another_kind_is_no_setting(place: Place, store: str):
    environ = {**with_whole_bundle(place).environment(), "CHURN_BUNDLES": store.format(root=place.root)}
    with pytest.raises(SettingsError, match="CHURN_BUNDLES"):
        Settings.load(environ)
