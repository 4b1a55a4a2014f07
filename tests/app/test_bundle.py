from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bundle import FILES, MANIFEST, BundleError, fetch_bundle, open_bundle, sha256
from tests.app.support import bundle_files, write_bundle

WHOLE = bundle_files()
DIGEST = sha256(WHOLE[MANIFEST])
ALL = (MANIFEST, *FILES)


def test_a_whole_bundle_is_read_back(tmp_path: Path):
    digest = write_bundle(tmp_path, WHOLE)
    bundle = fetch_bundle(tmp_path.as_uri() + "/", digest)
    assert (bundle.digest, bundle.model, bundle.card) == (digest, WHOLE["model.onnx"], WHOLE["card.md"].decode())
    assert len(bundle.golden.customers) == len(bundle.golden.churn_probabilities)


@given(st.sampled_from(ALL), st.data())
def test_a_flipped_bit_anywhere_is_named(name: str, data: st.DataObject):
    content = bytearray(WHOLE[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleError, match=f"here/{name} was changed"):
        open_bundle({**WHOLE, name: bytes(content)}, DIGEST, "here")


@given(st.sampled_from(ALL), st.data())
def test_a_file_that_was_cut_off_is_named(name: str, data: st.DataObject):
    cut = WHOLE[name][: data.draw(st.integers(0, len(WHOLE[name]) - 1))]
    with pytest.raises(BundleError, match=f"here/{name} was changed"):
        open_bundle({**WHOLE, name: cut}, DIGEST, "here")


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    digest = write_bundle(tmp_path, WHOLE)
    (tmp_path / digest / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing there"):
        fetch_bundle(tmp_path.as_uri(), digest)


def test_a_file_too_many_is_named(tmp_path: Path):
    digest = write_bundle(tmp_path, WHOLE)
    (tmp_path / digest / "model.pkl").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.pkl does not belong there"):
        fetch_bundle(tmp_path.as_uri(), digest)


def test_a_manifest_that_names_other_files_is_refused():
    manifest = WHOLE[MANIFEST].replace(b'"card.md"', b'"card.txt"')
    with pytest.raises(BundleError, match=r"card.md is missing, card.txt does not belong in its manifest"):
        open_bundle({**WHOLE, MANIFEST: manifest}, sha256(manifest), "here")


def test_a_bundle_for_another_contract_is_refused():
    files = bundle_files(contract_digest="e" * 64)
    with pytest.raises(BundleError, match=r"made for contract e{64}, but this code has contract"):
        open_bundle(files, sha256(files[MANIFEST]), "here")


@pytest.mark.parametrize("name", ["golden", "reference"])
def test_a_file_of_another_schema_is_named(name: str):
    files = bundle_files(**{name: b'{"rows": []}'})  # pyright: ignore[reportArgumentType]  # the name is one of the two files
    with pytest.raises(BundleError, match=f"here/{name}.json is not of this schema"):
        open_bundle(files, sha256(files[MANIFEST]), "here")


@given(st.binary(max_size=80))
@settings(max_examples=30)
def test_a_manifest_of_any_bytes_is_refused(content: bytes):
    with pytest.raises(BundleError, match=r"here/manifest\.json"):
        open_bundle({**WHOLE, MANIFEST: content}, sha256(content), "here")


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(BundleError, match=DIGEST):
        fetch_bundle((tmp_path / "nowhere").as_uri(), DIGEST)


@pytest.mark.parametrize("store", ["relative/path", "nowhere://at/all"])
def test_what_is_no_store_is_said_with_one_that_is(store: str):
    with pytest.raises(BundleError, match=r"is no place of a store: .*give a URL such as file:///srv/bundles"):
        fetch_bundle(store, DIGEST)


@pytest.mark.parametrize("digest", ["", "abc", f"../{'0' * 61}", f"{'0' * 64}\n"])
def test_what_is_no_digest_is_never_looked_for(tmp_path: Path, digest: str):
    with pytest.raises(BundleError, match="give its whole digest, 64 hex digits"):
        fetch_bundle(tmp_path.as_uri(), digest)


def test_a_file_larger_than_a_bundle_has_is_refused_before_it_is_read(tmp_path: Path):
    digest = write_bundle(tmp_path, WHOLE)
    with (tmp_path / digest / "model.onnx").open("r+b") as file:
        file.truncate(2**28 + 1)  # a hole: it takes no room
    with pytest.raises(BundleError, match=r"model\.onnx has 268,435,457 bytes"):
        fetch_bundle(tmp_path.as_uri(), digest)
