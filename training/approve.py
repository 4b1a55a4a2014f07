"""An approver's signature on the release in a stack's file, made by OpenSSH itself so that passphrases and agents work."""

import subprocess
from pathlib import Path

import msgspec

from app.release import Approval, Release, ReleaseError, Stack
from policies.signature import KEY_TYPE, NAMESPACE, principals_of, signing_key
from training.history import releases, replaced
from training.home import Home
from training.promote import restores
from training.replace import Refused, allowed_signers, check, replace


def approve(home: Home, stack: Stack, key: Path) -> Release:
    """The release now in the stack's file, approved with this private key (or a public one whose other half the agent holds).

    Raises Refused, also for what the gates say of the release itself: nobody signs what may not be deployed.
    """
    chain = releases(home, stack)
    if not chain:
        raise ReleaseError(f"{home.release(stack)} is not there, so nothing can be approved; run `churn promote --stack {stack}`")
    release, previous = chain[0], replaced(chain)
    _check_restores(release, chain)
    check(home, release, previous, approved=False)
    approved = msgspec.structs.replace(release, approval=_signed(home, str(release.digest), key))
    check(home, approved, previous, approved=True)
    replace(home, approved, replaces=release.digest)
    return approved


def _check_restores(release: Release, chain: list[Release]) -> None:
    # A rollback is spared some gates for having passed them before, so it has to be the same.
    if (named := release.rollback_of) is None:
        return
    past = next((past for past in chain if past.digest == named), None)
    if past is None:
        raise ReleaseError(f"the release {named} is neither in git nor here; run `git fetch --unshallow`, then repeat")
    if not restores(release, past):
        raise Refused([f"rollback: it does not restore {named}, which it names; run `churn rollback` again"])


def _signed(home: Home, digest: str, key: Path) -> Approval:
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.expanduser())]
    try:
        # A passphrase is asked for on the terminal itself.
        done = subprocess.run(command, input=digest, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
    except FileNotFoundError as exc:
        raise ReleaseError("ssh-keygen is not there; install OpenSSH 8.2 or later") from exc
    if done.returncode != 0:
        raise ReleaseError(f"{key} did not sign: {done.stderr.strip()}; give the private key with --key")
    try:
        signer = signing_key(done.stdout, digest)
    except ValueError as exc:
        raise ReleaseError(f"{key} cannot approve: {exc}; make a key with `ssh-keygen -t ed25519`") from exc
    principals = principals_of(signer, allowed_signers(home))
    if not principals:
        line = f'you@example.com namespaces="{NAMESPACE}" {KEY_TYPE} {signer}'
        raise ReleaseError(f"{home.allowed_signers} does not list {key}; have this line added to it, with your address:\n{line}")
    return Approval(approver=principals[0], signature=done.stdout)
