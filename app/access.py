"""Who may ask: bearer tokens by role, of which the process knows hashes only.

`python -m app.access` makes a token and prints the hash to put into the file that `CHURN_TOKENS` names.
"""

import hmac
import secrets
import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from app.problems import ProblemError
from app.settings import SettingsError

TokenRole = Literal["predict", "feedback", "operate"]
# The routes that need a token; the others are for everybody.
ROLES: dict[str, TokenRole] = {
    "/v1/predict": "predict",
    "/v1/predict/batch": "predict",
    "/v1/outcomes": "feedback",
    "/v1/model": "operate",
}
# A scanner for leaked secrets knows a token by it.
TOKEN_PREFIX = "churn_"  # noqa: S105 # what every one begins with
_SCHEME = b"bearer "

_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Headers = list[tuple[bytes, bytes]]


class TokenHashes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sha256 of each token that a role has; more than one while the old is replaced by the new."""

    predict: list[_Hash] = []
    feedback: list[_Hash] = []
    operate: list[_Hash] = []


class Access:
    """Says whether a request may be let in."""

    def __init__(self, hashes: TokenHashes) -> None:
        self._hashes = {
            role: [bytes.fromhex(each) for each in named]
            for role, named in (("predict", hashes.predict), ("feedback", hashes.feedback), ("operate", hashes.operate))
        }

    def check(self, role: TokenRole, headers: _Headers) -> None:
        """Return for a token of `role`. Raises ProblemError 401 for none or an unknown one, 403 for one of other roles."""
        found = _digest(headers)
        # All are compared, each in constant time: how long it takes tells nothing of any of them.
        roles = {known for known, hashes in self._hashes.items() for each in hashes if hmac.compare_digest(found, each)}
        if role in roles:
            return
        if roles:
            raise ProblemError(403, f"The token is not for this route, which needs the role {role}.")
        detail = "The token is not known here, or is no longer." if found else "Send a token: `Authorization: Bearer <token>`."
        challenge = 'Bearer realm="churn"' + (', error="invalid_token"' if found else "")
        raise ProblemError(401, detail, headers={"WWW-Authenticate": challenge})


def read_access(path: Path) -> Access:
    """The access that this file of `TokenHashes` gives. Raises SettingsError."""
    try:
        return Access(msgspec.json.decode(path.read_bytes(), type=TokenHashes))
    except OSError as exc:
        raise SettingsError(f"CHURN_TOKENS is {path}: {exc.strerror}; give a file of token hashes by role") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(
            f'CHURN_TOKENS is {path}: {exc}; give JSON such as {{"predict": ["<sha256 of a token>"]}}, as docs/serving.md says'
        ) from exc


def _digest(headers: _Headers) -> bytes:
    """The sha256 of the token; empty if there is none."""
    for name, value in headers:
        if name == b"authorization" and value[: len(_SCHEME)].lower() == _SCHEME:
            return sha256(value[len(_SCHEME) :].strip()).digest()
    return b""


def new_token() -> tuple[str, str]:
    """A token that nobody can guess, and the hash to let it in by."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, sha256(token.encode()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write("token   {}\nsha256  {}\n".format(*new_token()))
