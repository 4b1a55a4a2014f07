import json
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from app.release import Approval, ReleaseError, encode_release
from tests.training.released import add_bundle, churn, commit, git, make_home
from training.history import releases, table
from training.home import Home
from training.promote import Request, promote, rollback


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


def three_releases(home: Home, *, committed: bool = False) -> list[str]:
    """The digests of three releases on local, the newest first."""
    digests: list[str] = []
    live = None
    for seed in range(3):
        release = promote(home, Request(stack="local", bundle=add_bundle(home, seed, compared=live)))
        live = release.champion.bundle_digest
        digests.insert(0, str(release.digest))
        if committed:
            commit(home)
    return digests


def test_there_is_no_history_where_nothing_was_released(home: Home):
    assert releases(home, "local") == []


def test_releases_are_read_from_the_copies_made_here(home: Home):
    digests = three_releases(home)
    assert [release.digest for release in releases(home, "local")] == digests
    assert releases(home, "dev") == []


def test_releases_are_read_from_git_where_there_are_no_copies(home: Home):
    digests = three_releases(home, committed=True)
    for copy in (home.var / "releases").glob("*.json"):
        copy.unlink()
    assert [release.digest for release in releases(home, "local")] == digests
    assert [release.digest for release in releases(Home(home.root), "local")] == digests


def test_git_is_read_across_branches_removals_and_versions_that_are_no_release(home: Home):
    first, *_ = three_releases(home)[::-1]
    chain = releases(home, "local")
    file = home.release("local")
    git(home.root, "checkout", "--quiet", "-b", "side")
    file.write_bytes(encode_release(chain[2]))
    commit(home)
    file.write_text("not a release")
    commit(home)
    file.unlink()
    commit(home)
    git(home.root, "checkout", "--quiet", "--orphan", "main")
    file.write_bytes(encode_release(chain[0]))
    home.past_release(first).unlink()
    assert releases(home, "local") == chain


def test_a_copy_that_is_broken_or_of_another_release_is_not_believed(home: Home):
    third, second, first = three_releases(home)
    home.past_release(first).write_bytes(home.past_release(third).read_bytes())
    assert [release.digest for release in releases(home, "local")] == [third, second]
    home.past_release(second).write_bytes(b"{}")
    assert [release.digest for release in releases(home, "local")] == [third]


def test_of_a_release_the_version_committed_last_counts_as_an_approval_comes_later(home: Home):
    unapproved = promote(home, Request(stack="local", bundle=add_bundle(home, 0)))
    commit(home)
    approved = msgspec.structs.replace(unapproved, approval=Approval(approver="bob@example.com", signature=""))
    home.release("local").write_bytes(encode_release(approved))
    commit(home)
    later = promote(home, Request(stack="local", bundle=add_bundle(home, 1, compared=unapproved.champion.bundle_digest)))
    # The copy made here has not heard of the approval.
    home.past_release(str(unapproved.digest)).write_bytes(encode_release(unapproved))
    assert releases(home, "local") == [later, approved]
    home.past_release(str(unapproved.digest)).unlink()
    assert releases(home, "local") == [later, approved]


def test_times_in_the_table_are_utc(home: Home):
    release = promote(home, Request(stack="local", bundle=add_bundle(home, 0)))
    east = release.created_at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    [_, line] = table([msgspec.structs.replace(release, created_at=east)]).splitlines()
    assert line.startswith(f"{release.created_at:%Y-%m-%d %H:%MZ}  ")


def test_history_without_git_is_that_of_the_copies(home: Home, monkeypatch: pytest.MonkeyPatch):
    digests = three_releases(home)
    monkeypatch.setenv("PATH", "")
    assert [release.digest for release in releases(home, "local")] == digests


def test_a_release_file_that_was_edited_is_refused(home: Home):
    three_releases(home)
    file = home.release("local")
    file.write_bytes(file.read_bytes().replace(b"ada@", b"eve@"))
    with pytest.raises(ReleaseError, match="it was edited by hand"):
        releases(home, "local")


def test_the_table_says_who_when_why_and_what_was_replaced(home: Home):
    third, second, first = three_releases(home)
    back = rollback(home, "local", to="1.0.0", reason="it was\n better")
    lines = table(releases(home, "local")).splitlines()
    assert lines[0].split() == ["created", "by", "variants", "AUC", "replaced", "approved", "by", "why"]
    assert lines[1].startswith(
        f"{back.created_at:%Y-%m-%d %H:%MZ}  ada@example.com  champion 1.0.0 100%  0.8450 (0.8250 to 0.8650)  "
    )
    assert lines[1].split()[10] == third[:12]
    assert lines[1].endswith(f"back to {first[:12]}: it was better")
    assert [line.split()[10] for line in lines[2:]] == [second[:12], first[:12], "nothing"]
    assert len(lines) == 5


def test_the_table_names_a_gap_and_the_approver(home: Home):
    third, second, _ = three_releases(home)
    home.past_release(second).unlink()
    [release] = releases(home, "local")
    assert release.digest == third
    approved = msgspec.structs.replace(release, approval=Approval(approver="bob@example.com", signature=""))
    text = table([approved])
    assert "bob@example.com" in text
    assert text.splitlines()[-1].startswith(f"gap: {second} and what came before are neither in git nor here")


def test_churn_releases_prints_the_table_or_json(home: Home):
    digests = three_releases(home)
    assert churn(home, "releases").stdout.rstrip() == table(releases(home, "local"))
    told = churn(home, "releases", "--stack", "local", "--json")
    assert told.returncode == 0
    assert [release["digest"] for release in json.loads(told.stdout)] == digests


# Several commands in one process, as MLflow takes its time to be imported.
COMMANDS = """
import json, sys
from training.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["churn", *command]
    try:
        main()
    except SystemExit as exc:
        assert exc.code == 0, command
"""


def test_churn_promote_and_rollback_write_and_say_what_they_wrote(home: Home):
    first = add_bundle(home, 1, threshold=0.5)
    better = add_bundle(home, 2, compared=first, threshold=0.5)
    image = ["--image", f"registry.example/churn@sha256:{'1' * 64}", "--commit", "2" * 40]
    commands = [
        ["promote", "--bundle", first, "--offer-cost-usd", "84", "--reason", "first"],
        ["promote", "--bundle", first],
        ["promote", "--role", "challenger", "--weight", "20"],
        ["rollback", "--to", "1.0.0"],
        ["promote", "--stack", "prod", "--from", "local", *image],
    ]
    told = json.dumps([["--home", str(home.root), *command] for command in commands])
    done = subprocess.run([sys.executable, "-c", COMMANDS, told], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    alone = f"  champion 1.0.0, 100 % of the customers, offer from probability 0.500, bundle {first}\n"
    assert done.stdout == (
        f"{home.release('local')}: written\n{alone}"
        f"{home.release('local')}: already says so, nothing was written\n{alone}"
        f"{home.release('local')}: written\n{alone.replace('100 %', '80 %')}"
        f"  challenger 1.0.1, 20 % of the customers, offer from probability 0.500, bundle {better}\n"
        f"{home.release('local')}: written\n{alone}"
        f"{home.release('prod')}: written\n{alone}  not approved yet: churn approve --stack prod --key ~/.ssh/id_ed25519\n"
    )


def test_churn_ends_with_1_when_a_gate_refuses_and_with_2_for_bad_input(home: Home):
    add_bundle(home, 1, calibration_error=0.2)
    refused = churn(home, "promote")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("calibration: champion 1.0.0 (")
    assert len(refused.stderr.splitlines()) == 1
    wrong = churn(home, "rollback")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert len(wrong.stderr.splitlines()) == 1


def test_a_rollback_stands_without_mlflow_and_is_marked_there_without_going_further_back(home: Home):
    third, *_ = three_releases(home)
    database = home.var / "mlflow.db"
    database.write_bytes(b"no database " * 1000)
    done = churn(home, "rollback")
    back = releases(home, "local")[0]
    assert (done.returncode, back.previous, back.champion.version) == (2, third, "1.0.1")
    assert "the release stands without it; `churn rollback --stack local --to 1.0.1` marks it there later" in done.stderr
    database.unlink()
    again = churn(home, "rollback", "--stack", "local", "--to", "1.0.1")
    assert (again.returncode, "already says so, nothing was written" in again.stdout) == (0, True)
    assert releases(home, "local")[0] == back
