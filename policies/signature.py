"""OpenSSH signatures (`ssh-keygen -Y sign`) of a release digest, and the `allowed_signers` file that says whose they are.

Formats: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig and ALLOWED SIGNERS in ssh-keygen(1). Only
Ed25519 keys are known here, and what is not understood is refused.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NAMESPACE = "churn-release"
KEY_TYPE = "ssh-ed25519"

_ARMOR = re.compile(r"\s*-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\s*")
_PREAMBLE = b"SSHSIG"
_VERSION_1 = b"\0\0\0\1"
_HASHES = (b"sha256", b"sha512")
_LINE = re.compile(rf"(\S+)\s+(?:(\S+)\s+)?{KEY_TYPE}\s+(\S+)(?:\s.*)?")
_NAMESPACES = re.compile(r'namespaces="([^"]*)"', re.IGNORECASE)
_PATTERN_CHARACTERS = set('*?!"')


def signing_key(signature: str, digest: str) -> str:
    """The key, as `allowed_signers` spells it, that signed the digest's hex text. Raises ValueError saying what is wrong."""
    armored = _ARMOR.fullmatch(signature)
    if armored is None:
        raise ValueError("the signature is not an armored SSH SIGNATURE")
    blob = base64.b64decode(armored[1].replace("\n", ""), validate=True)
    if blob[:10] != _PREAMBLE + _VERSION_1:
        raise ValueError("the signature is not SSHSIG version 1")
    key, namespace, reserved, hash_name, signed = _strings(blob[10:], count=5)
    if namespace != NAMESPACE.encode():
        raise ValueError(f"the signature is for namespace {namespace.decode(errors='replace')!a}, not {NAMESPACE}")
    if reserved or hash_name not in _HASHES:
        raise ValueError("the signature has a reserved field or a hash other than sha256 and sha512")
    hashed = hashlib.new(hash_name.decode(), digest.encode()).digest()
    _check(key, signed, _PREAMBLE + b"".join(map(_packed, (namespace, reserved, hash_name, hashed))))
    return base64.b64encode(key).decode()


def principals_of(key: str, allowed_signers: str) -> list[str]:
    """Who may sign with this key. A line with a pattern or an option other than namespaces names nobody."""
    return [
        name
        for names, options in _lines_of(key, allowed_signers)
        if _grants(options)
        for name in names
        if not _PATTERN_CHARACTERS & set(name)
    ]


def may_belong_to(key: str, person: str, allowed_signers: str) -> bool:
    """Whether any line, whatever its options, connects the key with this person; capitals make no difference."""
    names = [name for names, _ in _lines_of(key, allowed_signers) for name in names]
    return any(fnmatchcase(person.casefold(), name.casefold()) for name in names)


def _lines_of(key: str, allowed_signers: str) -> Iterator[tuple[list[str], str | None]]:
    for line in allowed_signers.splitlines():
        listed = _LINE.fullmatch(line.strip())
        if listed is not None and not line.lstrip().startswith("#") and listed[3] == key:
            yield listed[1].split(","), listed[2]


def _grants(options: str | None) -> bool:
    if options is None:
        return True
    namespaces = _NAMESPACES.fullmatch(options)
    return namespaces is not None and NAMESPACE in namespaces[1].split(",")


def _check(key: bytes, signed: bytes, message: bytes) -> None:
    key_type = key[4 : 4 + int.from_bytes(key[:4])]
    if key_type != KEY_TYPE.encode():
        raise ValueError(f"the signature is by a key of type {key_type.decode(errors='replace')!a} and not {KEY_TYPE}")
    _, public = _strings(key, count=2)
    algorithm, signature = _strings(signed, count=2)
    if algorithm != KEY_TYPE.encode():
        raise ValueError(f"the signature is by a key of type {KEY_TYPE!a} with an algorithm of another type")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as exc:
        raise ValueError("the signature is not of this release's digest: sign it again") from exc


def _strings(blob: bytes, *, count: int) -> list[bytes]:
    """The `count` length-prefixed strings that fill `blob` to its last byte."""
    strings: list[bytes] = []
    while blob:
        end = 4 + int.from_bytes(blob[:4])
        if len(blob) < end:
            raise ValueError("the signature is cut short")
        strings.append(blob[4:end])
        blob = blob[end:]
    if len(strings) != count:
        raise ValueError(f"the signature has {len(strings)} parts in a place that takes {count}")
    return strings


def _packed(string: bytes) -> bytes:
    return len(string).to_bytes(4) + string
