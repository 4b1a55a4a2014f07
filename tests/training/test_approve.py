import shutil
from pathlib import Path

import msgspec
import pytest

from app.release import Release, ReleaseError, encode_release, sealed
from tests.signing import make_key, openssh_accepts, public_key
from tests.training import released
from tests.training.released import COMMIT, IMAGE, add_bundle, commit, git, make_home
from training.approve import approve
from training.history import current, releases
from training.home import Home
from training.promote import Request, promote, rollback
from training.replace import Refused


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "bob")


def allow(home: Home, key: Path, name: str = "bob@example.com") -> str:
    line = f'{name} namespaces="churn-release" ssh-ed25519 {public_key(key)} {name}\n'
    home.allowed_signers.write_text(line)
    return line


def release_to_prod(home: Home, seed: int = 1) -> Release:
    live = current(home, "prod")
    bundle = add_bundle(home, seed, compared=live.champion.bundle_digest if live else None)
    return promote(home, Request(stack="prod", bundle=bundle, image=IMAGE, commit=COMMIT))


def test_an_approval_signs_the_digest_and_leaves_the_rest_as_it_was(home: Home, key: Path, tmp_path: Path):
    lines = allow(home, key)
    release = release_to_prod(home)
    approved = approve(home, "prod", key)
    assert current(home, "prod") == approved
    assert msgspec.structs.replace(approved, approval=None) == release
    assert approved.approval is not None
    assert approved.approval.approver == "bob@example.com"
    told = {"approver": "bob@example.com", "allowed_signers": lines, "folder": tmp_path}
    assert openssh_accepts(approved.approval.signature, str(release.digest), **told)
    assert not openssh_accepts(approved.approval.signature, "0" * 64, **told)


def test_an_approval_is_kept_in_the_history_and_is_for_one_release_only(home: Home, key: Path):
    allow(home, key)
    release_to_prod(home)
    approved = approve(home, "prod", key)
    assert approve(home, "prod", key) == approved
    commit(home)
    later = release_to_prod(home, 2)
    assert later.approval is None
    assert releases(home, "prod") == [later, approved]
    commit(home)
    assert rollback(home, "prod").approval is None
    assert approve(home, "prod", key).approval is not None


def test_a_key_that_nobody_listed_is_refused_with_the_line_to_add(home: Home, key: Path):
    before = encode_release(release_to_prod(home))
    with pytest.raises(ReleaseError) as caught:
        approve(home, "prod", key)
    line = f'you@example.com namespaces="churn-release" ssh-ed25519 {public_key(key)}'
    assert (
        str(caught.value) == f"{home.allowed_signers} does not list {key}; have this line added to it, with your address:\n{line}"
    )
    assert home.release("prod").read_bytes() == before
    home.allowed_signers.write_text(line.replace("you@", "bob@"))
    assert approve(home, "prod", key).approval is not None


def test_the_author_does_not_approve_for_prod_but_does_for_staging(home: Home, key: Path):
    allow(home, key, "ada@example.com")
    release_to_prod(home)
    with pytest.raises(Refused, match=r"^approval: 'ada@example.com' created the release and the key that approves it is theirs"):
        approve(home, "prod", key)
    promote(home, Request(stack="staging", image=IMAGE, commit=COMMIT))
    assert approve(home, "staging", key).approval is not None


def test_a_release_that_the_gates_refuse_is_not_signed(home: Home, key: Path):
    allow(home, key)
    release = release_to_prod(home)
    wrong = (msgspec.structs.replace(release.champion, threshold=0.9),)
    home.release("prod").write_bytes(encode_release(sealed(msgspec.structs.replace(release, variants=wrong))))
    with pytest.raises(Refused, match=r"^threshold: "):
        approve(home, "prod", key)


def test_a_rollback_that_does_not_restore_what_it_names_is_not_signed(home: Home, key: Path):
    allow(home, key)
    first = release_to_prod(home)
    commit(home)
    second = release_to_prod(home, 2)
    unseen = msgspec.structs.replace(first.champion, bundle_digest=add_bundle(home, 3), version="1.0.2")
    forged = msgspec.structs.replace(first, variants=(unseen,), created_at=second.created_at, previous=second.digest)
    forged = sealed(msgspec.structs.replace(forged, rollback_of=first.digest))
    home.release("prod").write_bytes(encode_release(forged))
    with pytest.raises(
        Refused, match=f"^rollback: it does not restore {first.digest}, which it names; run `churn rollback` again$"
    ):
        approve(home, "prod", key)
    nowhere = sealed(msgspec.structs.replace(forged, rollback_of="9" * 64))
    home.release("prod").write_bytes(encode_release(nowhere))
    with pytest.raises(ReleaseError, match=f"^the release {'9' * 64} is neither in git nor here; run `git fetch --unshallow`"):
        approve(home, "prod", key)


def test_what_was_replaced_has_to_be_at_hand(home: Home, key: Path):
    allow(home, key)
    first = release_to_prod(home)
    commit(home)
    release_to_prod(home, 2)
    shutil.rmtree(home.root / ".git")
    home.past_release(str(first.digest)).unlink()
    with pytest.raises(ReleaseError, match=f"^the release {first.digest} is neither in git nor here"):
        approve(home, "prod", key)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_keys_of_other_types_are_refused_with_the_way_to_a_right_one(home: Home, tmp_path: Path, kind: str):
    release_to_prod(home)
    other = make_key(tmp_path / "other", kind)
    with pytest.raises(
        ReleaseError, match=r"cannot approve: the signature is by a key of type .*; make a key with `ssh-keygen -t"
    ):
        approve(home, "prod", other)


def test_what_ssh_keygen_says_is_passed_on(home: Home, tmp_path: Path):
    release_to_prod(home)
    with pytest.raises(ReleaseError, match=r"nokey did not sign: .*No such file.*; give the private key with --key$"):
        approve(home, "prod", tmp_path / "nokey")


def test_without_openssh_that_is_said(home: Home, key: Path, monkeypatch: pytest.MonkeyPatch):
    release_to_prod(home)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReleaseError, match=r"^ssh-keygen is not there; install OpenSSH 8\.2 or later$"):
        approve(home, "prod", key)


def test_without_a_release_there_is_nothing_to_approve(home: Home, key: Path):
    with pytest.raises(
        ReleaseError, match=r"prod\.json is not there, so nothing can be approved; run `churn promote --stack prod`$"
    ):
        approve(home, "prod", key)


def churn(home: Home, *arguments: str) -> str:
    done = released.churn(home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_churn_approve_says_who_approved_what(home: Home, key: Path):
    allow(home, key)
    release = release_to_prod(home)
    said = churn(home, "approve", "--stack", "prod", "--key", str(key))
    assert said == f"{home.release('prod')}: 1.0.0 ({release.digest}) approved by bob@example.com\n"


def test_a_release_that_replaced_a_draft_is_read_approved_and_undone_in_a_fresh_clone(home: Home, key: Path, tmp_path: Path):
    allow(home, key)
    release_to_prod(home)
    first = approve(home, "prod", key)
    commit(home)
    for seed in (2, 3):
        bundle = add_bundle(home, seed, compared=first.champion.bundle_digest)
        release = promote(home, Request(stack="prod", bundle=bundle))
    commit(home)
    clone = Home(tmp_path / "clone")
    git(home.root, "clone", "--quiet", str(home.root), str(clone.root))
    git(clone.root, "config", "user.email", "ada@example.com")
    assert releases(clone, "prod") == [release, first]
    churn(clone, "approve", "--stack", "prod", "--key", str(key))
    approved = current(clone, "prod")
    git(clone.root, "-c", "user.name=Bob", "commit", "--quiet", "--all", "--message", "approve")
    shutil.rmtree(clone.var)
    churn(clone, "rollback", "--stack", "prod")
    churn(clone, "approve", "--stack", "prod", "--key", str(key))
    back = current(clone, "prod")
    assert back is not None
    assert back.approval is not None
    assert (back.variants, back.previous, back.rollback_of) == (first.variants, release.digest, first.digest)
    assert releases(clone, "prod") == [back, approved, first]
    assert len(churn(clone, "releases", "--stack", "prod").splitlines()) == 4
