import base64
import hashlib
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from policies.signature import NAMESPACE, may_belong_to, principals_of, signing_key
from tests.signing import make_key, public_key, sign

DIGEST = "5" * 64


def packed(string: bytes) -> bytes:
    return len(string).to_bytes(4, "big") + string


def forged(
    private: Ed25519PrivateKey,
    *,
    magic: bytes = b"SSHSIG",
    version: bytes = b"\0\0\0\1",
    namespace: bytes = NAMESPACE.encode(),
    reserved: bytes = b"",
    hash_name: bytes = b"sha512",
    key: bytes = b"ssh-ed25519",
    signed: bytes = b"ssh-ed25519",
) -> bytes:
    """What ssh-keygen writes, valid but for the given parts (`key` and `signed` are their type)."""
    hashed = hashlib.new(hash_name.decode(), DIGEST.encode()).digest()
    message = b"SSHSIG" + packed(namespace) + packed(reserved) + packed(hash_name) + packed(hashed)
    public = packed(key) + packed(private.public_key().public_bytes_raw())
    signature = packed(signed) + packed(private.sign(message))
    parts = (public, namespace, reserved, hash_name, signature)
    return magic + version + b"".join(map(packed, parts))


def unarmored(signature: str) -> bytes:
    return base64.b64decode("".join(signature.splitlines()[1:-1]))


def armored(blob: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(blob).decode()}\n-----END SSH SIGNATURE-----\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "id")


@pytest.fixture(scope="module")
def signature(key: Path) -> str:
    return sign(key, DIGEST)


def test_a_signature_by_openssh_names_its_key(key: Path, signature: str):
    assert signing_key(signature, DIGEST) == public_key(key)


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_both_hashes_of_openssh_are_read(key: Path, hash_name: str):
    assert signing_key(sign(key, DIGEST, options=["-O", f"hashalg={hash_name}"]), DIGEST) == public_key(key)


def test_a_signature_of_another_digest_is_refused(signature: str):
    with pytest.raises(ValueError, match=r"^the signature is not of this release's digest: sign it again$"):
        signing_key(signature, "6" * 64)


def test_a_signature_for_another_purpose_is_refused(key: Path):
    with pytest.raises(ValueError, match=r"^the signature is for namespace 'git', not churn-release$"):
        signing_key(sign(key, DIGEST, namespace="git"), DIGEST)


@pytest.mark.parametrize(("kind", "named"), [("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256")])
def test_a_key_of_another_type_is_refused_by_its_name(tmp_path: Path, kind: str, named: str):
    other = make_key(tmp_path / "id", kind)
    with pytest.raises(ValueError, match=f"^the signature is by a key of type '{named}' and not ssh-ed25519$"):
        signing_key(sign(other, DIGEST), DIGEST)


@given(st.data())
def test_a_signature_with_any_changed_byte_is_refused(signature: str, data: st.DataObject):
    blob = bytearray(unarmored(signature))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"^the signature |^An Ed25519 public key"):
        signing_key(armored(bytes(blob)), DIGEST)


@given(st.data())
def test_a_signature_cut_short_or_followed_by_more_is_refused(signature: str, data: st.DataObject):
    blob = unarmored(signature)
    cut = data.draw(st.integers(0, len(blob) - 1))
    for other in (blob[:cut], blob + data.draw(st.binary(min_size=1))):
        with pytest.raises(ValueError, match=r"^the signature "):
            signing_key(armored(other), DIGEST)


@given(st.text() | st.binary().map(armored))
def test_noise_is_refused(noise: str):
    with pytest.raises(ValueError, match=r"^the signature is not "):
        signing_key(noise, DIGEST)


def test_the_frame_of_a_signature_is_what_openssh_writes(key: Path):
    """The forger below makes the very bytes that ssh-keygen makes, so that what it changes is what is refused."""
    private = load_ssh_private_key(key.read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    assert forged(private) == unarmored(sign(key, DIGEST))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"reserved": b"x"}, "the signature has a reserved field or a hash other than sha256 and sha512"),
        ({"hash_name": b"md5"}, "the signature has a reserved field or a hash other than sha256 and sha512"),
        ({"namespace": b"\xff"}, "the signature is for namespace '\\ufffd', not churn-release"),
        ({"key": b"ssh-rsa"}, "the signature is by a key of type 'ssh-rsa' and not ssh-ed25519"),
        ({"key": b"\xff"}, "the signature is by a key of type '\\ufffd' and not ssh-ed25519"),
        ({"signed": b"ssh-rsa"}, "the signature is by a key of type 'ssh-ed25519' with an algorithm of another type"),
        ({"magic": b"SSHSIH"}, "the signature is not SSHSIG version 1"),
        ({"version": b"\0\0\0\2"}, "the signature is not SSHSIG version 1"),
    ],
    ids=["reserved", "hash", "namespace", "key type", "key type that is no text", "algorithm", "magic", "version"],
)
def test_a_signature_that_is_right_but_for_one_part_is_refused(parts: dict[str, bytes], why: str):
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        signing_key(armored(forged(Ed25519PrivateKey.generate(), **parts)), DIGEST)


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_signature_of_other_parts_is_refused(count: int):
    with pytest.raises(ValueError, match=f"^the signature has {count} parts in a place that takes 5$"):
        signing_key(armored(b"SSHSIG\0\0\0\1" + packed(b"x") * count), DIGEST)


@pytest.mark.parametrize("left", [b"\0", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\5four"])
def test_a_part_that_ends_early_is_refused(left: bytes):
    with pytest.raises(ValueError, match=r"^the signature is cut short$"):
        signing_key(armored(b"SSHSIG\0\0\0\1" + left), DIGEST)


@pytest.mark.parametrize(
    "armor",
    [
        "{}",
        "-----BEGIN SSH SIGNATURE-----\n{}",
        "x{whole}",
        "{whole}x",
        "-----BEGIN SSH SIGNATURE-----\n{}!\n-----END SSH SIGNATURE-----",
    ],
)
def test_a_signature_without_its_armor_is_refused(signature: str, armor: str):
    body = "\n".join(signature.splitlines()[1:-1])
    with pytest.raises(ValueError, match=r"^the signature is not an armored SSH SIGNATURE$"):
        signing_key(armor.format(body, whole=signature), DIGEST)


def test_white_space_around_a_signature_does_not_matter(key: Path, signature: str):
    assert signing_key(f"\n {signature} \n", DIGEST) == public_key(key)


@pytest.mark.parametrize(
    ("line", "granted"),
    [
        ("ada@x ssh-ed25519 KEY", ["ada@x"]),
        ("  ada@x\tssh-ed25519  KEY  a comment # of words", ["ada@x"]),
        ("ada@x,bob@x ssh-ed25519 KEY", ["ada@x", "bob@x"]),
        ('ada@x namespaces="churn-release" ssh-ed25519 KEY', ["ada@x"]),
        ('ada@x Namespaces="git,churn-release" ssh-ed25519 KEY', ["ada@x"]),
        ('ada@x namespaces="git" ssh-ed25519 KEY', []),
        ('ada@x namespaces="churn-release-not" ssh-ed25519 KEY', []),
        ('ada@x namespaces="*" ssh-ed25519 KEY', []),
        ('ada@x namespaces="churn-release",valid-before="20200101" ssh-ed25519 KEY', []),
        ('ada@x valid-after="20200101" ssh-ed25519 KEY', []),
        ("ada@x cert-authority ssh-ed25519 KEY", []),
        ("*@x ssh-ed25519 KEY", []),
        ("*@x,ada@x ssh-ed25519 KEY", ["ada@x"]),
        ("!ada@x ssh-ed25519 KEY", []),
        ("ad?@x ssh-ed25519 KEY", []),
        ("# ada@x ssh-ed25519 KEY", []),
        ("  #ada@x ssh-ed25519 KEY", []),
        ("ada@x ssh-rsa KEY", []),
        ("ada@x ssh-ed25519 KEYandmore", []),
        ("ada@x ssh-ed25519", []),
        ("ssh-ed25519 KEY", []),
        ("", []),
    ],
)
def test_a_line_grants_to_whom_it_names_and_only_if_every_word_is_understood(line: str, granted: list[str]):
    lines = f"zed@x ssh-ed25519 OTHER\n{line}\n"
    assert principals_of("KEY", lines) == granted


def test_lines_add_up():
    assert principals_of("KEY", "ada@x ssh-ed25519 KEY\nbob@x ssh-ed25519 KEY\n") == ["ada@x", "bob@x"]


@pytest.mark.parametrize(
    ("line", "theirs"),
    [
        ("ada@x ssh-ed25519 KEY", True),
        ("bob@x,Ada@X ssh-ed25519 KEY", True),
        ("*@x ssh-ed25519 KEY", True),
        ('ada@x valid-before="20200101" ssh-ed25519 KEY', True),
        ("bob@x ssh-ed25519 KEY", False),
        ("ada@x ssh-ed25519 OTHER", False),
    ],
)
def test_any_line_that_connects_a_person_with_a_key_makes_it_theirs(line: str, theirs: bool):
    assert may_belong_to("KEY", "aDA@x", line) is theirs
