"""Reviews of a real git history, each commit planned by its own code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.contract import CONTRACT_DIGEST, FIELDS
from stacks.review import main
from stacks.review_commits import Commit, commit_of, read, worktrees
from stacks.review_compare import Money, Review, Said, StackReview, between
from stacks.review_contract import Record, compared
from stacks.review_model import ModelReview, Row, VariantReview
from stacks.review_page import MARKER, page
from stacks.review_preview import WANTED, Previews, previews
from stacks.review_risk import risks
from tests.conftest import CHECKOUT
from tests.stacks.history import CASES, HEAD, build, git, named

HERE = Record(digest=CONTRACT_DIGEST, fields=FIELDS)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def commits(history: Path) -> dict[str, Commit]:
    """What each commit says of itself."""
    names = [case for case in CASES if case != "nothing"]
    found: dict[str, Commit] = {}
    # Two by two, as many as there are in a review: each takes half a gigabyte.
    for pair in zip(names[::2], names[1::2], strict=True):
        ids = [commit_of(history, "HEAD", case) for case in pair]
        with worktrees(history, ids) as places:
            found |= zip(pair, read(places, ids), strict=True)
    return found


@pytest.fixture(scope="module")
def reviewed(commits: dict[str, Commit]) -> Callable[[str], Review]:
    return lambda case: between(commits["base"], commits[case], Previews(missing="nobody asked"))


def dev(review: Review) -> StackReview:
    [found] = review.stacks
    return found


def test_a_replaced_database_is_the_risk_and_flagged_among_the_differences(reviewed: Callable[[str], Review]):
    review = reviewed("database")
    assert risks(review) == ["replaces the database (dev)"]
    text = page(review)
    assert "**Risk:** replaces the database (dev)" in text
    assert "! aws:rds/instance:Instance database  REPLACED\n    username: mlflow -> tracking" in text
    assert "**1 of them replaced**" in text


def test_a_worse_model_is_told_in_figures_in_money_and_by_the_gates(reviewed: Callable[[str], Review]):
    review = reviewed("worse")
    assert risks(review) == ["breaks a rule or the budget (dev)", "has a worse model (dev)"]
    text = page(review)
    assert "1.0.0 → 1.0.1, AUC -0.0500 (-0.0600 to -0.0400), **worse**" in text
    assert "| -0.0500 (-0.0600 to -0.0400) | -643 (-714 to -571) | 210 of 1,400 (15.0%) |" in text
    [new] = [each.message for each in dev(review).said if each.new]
    assert "model-gate: " in new
    assert "auc: champion 1.0.1" in new


def test_a_narrower_contract_is_major_and_wants_another_bundle(reviewed: Callable[[str], Review]):
    review = reviewed("contract")
    assert "breaks clients by the contract" in risks(review)
    text = page(review)
    assert "**Contract:** **major**, it refuses what clients send today. Bundles made before do not fit it" in text
    assert r"| payment\_method | mailed-check is refused now | major |" in text


def test_a_broken_rule_is_new_once_and_named(reviewed: Callable[[str], Review]):
    review = reviewed("violation")
    assert risks(review) == ["breaks a rule or the budget (dev)"]
    assert any("eks-private-endpoint" in each.message and each.new for each in dev(review).said if each.level == "refused")
    assert "- **refused** (new): stack dev: eks-private-endpoint" in page(review)


def test_what_was_refused_before_is_not_new(commits: dict[str, Commit]):
    review = between(commits["violation"], commits["violation"], Previews())
    assert dev(review).refused
    assert not any(each.new for each in dev(review).said)
    assert not risks(review)


def test_a_plan_that_ends_with_1_is_refused_and_one_that_only_says_something_is_not(commits: dict[str, Commit]):
    base = commits["base"].stacks["dev"]
    silent, talking = (msgspec.structs.replace(base, code=code, said=said) for code, said in ((1, ()), (0, ("a warning",))))
    for plan, refused, cell in ((silent, True, "| **refused** |"), (talking, False, "| all hold |")):
        after = msgspec.structs.replace(commits["base"], stacks={"dev": plan})
        review = between(commits["base"], after, Previews())
        assert dev(review).refused == refused
        assert cell in page(review)
    assert "- advisory (new): a warning" in page(review)


def test_a_jump_of_cost_is_told_by_component(reviewed: Callable[[str], Review]):
    review = reviewed("dear")
    [risk] = [risk for risk in risks(review) if risk.startswith("costs ")]
    money = dev(review).cost
    assert money.before is not None
    assert money.after == pytest.approx(money.before + 73)
    assert risk == f"costs {73 / money.before:.0%} more (dev)"
    assert "| network | 4 | 0 | 2 | 0 | 36.50 → 109.50 (**+73.00**) |" in page(review)


def test_a_stack_that_cannot_be_planned_says_why_and_is_not_gone(reviewed: Callable[[str], Review]):
    review = reviewed("unreadable")
    assert dev(review).refused
    assert not dev(review).changes
    assert risks(review) == ["cannot be planned (dev)"]
    assert "network:nat is two" in page(review)
    assert "| **cannot be planned** | 307.23 | **refused** |" in page(review)


def test_nodes_a_model_and_the_contract_at_once_are_all_in_one_comment(reviewed: Callable[[str], Review]):
    text = page(reviewed("all"))
    assert "minSize: 2 -> 3" in text
    assert "1.0.0 → 2.0.0, AUC +0.0040 (+0.0010 to +0.0070)" in text
    assert "**worse**" not in text
    assert "mailed-check is refused now" in text
    table = text.partition("<details>")[0].splitlines()
    assert len(table) < 25, "one screen before anything is unfolded"


def test_the_example_in_the_docs_is_that_comment(reviewed: Callable[[str], Review]):
    review = msgspec.structs.replace(reviewed("all"), previews=Previews(missing=WANTED))
    text = HEAD + named(page(review), {"base": review.base, "all": review.head})
    assert (CHECKOUT / "docs/example-review.md").read_text() == text, "run `make docs`"


def test_a_stack_that_comes_or_goes_is_all_its_resources_and_all_its_cost(commits: dict[str, Commit]):
    without = msgspec.structs.replace(commits["base"], stacks={}, releases={})
    comes, goes = (between(*pair, Previews()) for pair in ((without, commits["base"]), (commits["base"], without)))
    assert (dev(comes).state, dev(goes).state) == ("new", "gone")
    assert {each.kind for each in dev(comes).changes} == {"added"}
    assert dev(comes).cost.more == -dev(goes).cost.more > 0
    assert "deletes the database (dev)" in risks(goes)


def test_a_comment_fits_into_github_however_much_changes(commits: dict[str, Commit]):
    without = msgspec.structs.replace(commits["base"], stacks={}, releases={})
    many = {f"dev{number}": commits["base"].stacks["dev"] for number in range(4)}
    text = page(between(without, msgspec.structs.replace(without, stacks=many), Previews()))
    assert len(text) < 65_536
    assert "more lines" in text


def test_a_commit_cannot_write_into_the_comment_what_it_likes():
    evil = f"`````\n</details>{MARKER} @everyone [click](http://x.example) | x"
    said = (Said(level="refused", message=evil, new=True),)
    none = Row(figure=evil, before=None, after=None)
    variant = VariantReview(role="champion", before=None, after=None, rows=(none,), subgroups=(none,))
    model = ModelReview(champion=("1.0.0", "1.0.0"), profit=none, changes=(evil,), variants=(variant,))
    named = "</b></details> @everyone"
    given = {"stack": named, "refused": True, "cost": Money(before=1, after=1), "cost_at_most": Money(before=1, after=1)}
    changed = StackReview(state="changed", said=said, model=model, **given)
    unreadable = StackReview(state="unreadable", problems=(evil,), **given)
    asked = Previews(by_stack={named: evil})
    text = page(Review(base="1", head="2", stacks=(changed, unreadable), contract=compared(HERE, HERE), previews=asked))
    [opening, closing] = [line for line in text.splitlines() if line.startswith("``````")]
    outside = text.partition(opening)[0] + text.rpartition(f"\n{closing}\n")[2]
    assert outside.count(MARKER) == 1
    assert outside.count("</details>") == 2
    assert "@everyone" not in outside
    assert "[click](" not in outside


def test_a_comment_fits_into_github_however_much_is_said():
    said = tuple(Said(level="advisory", message=f"{number} {'word ' * 30}", new=True) for number in range(2000))
    nothing = Money(before=1, after=1)
    stack = StackReview(stack="dev", state="changed", refused=False, cost=nothing, cost_at_most=nothing, said=said)
    text = page(Review(base="1", head="2", stacks=(stack,), contract=compared(HERE, HERE), previews=Previews()))
    assert len(text) < 65_536
    assert "more: `make plan STACK=…` has all" in text


def test_the_command_writes_both_forms_and_leaves_no_worktree(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(history)
    monkeypatch.setenv("PATH", f"{Path(shutil.which('git') or '').parent}")
    assert main(["base", "nothing", "--out", str(tmp_path / "new" / "it.md"), "--json", str(tmp_path / "it.json")]) == 0
    assert capsys.readouterr().out == ""
    text = (tmp_path / "new" / "it.md").read_text()
    assert text.startswith(f"{MARKER}\n")
    assert "**Risk:** none" in text
    assert "<details>" not in text
    assert "the engine was not asked" in text
    told = json.loads((tmp_path / "it.json").read_text())
    assert [each["state"] for each in told["stacks"]] == ["as before"]
    assert told["contract"]["consequence"] == "none"
    assert len(git(history, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(("refs", "name"), [(("nope", "base"), "BASE"), (("base", "--help"), "HEAD")], ids=["base", "head"])
def test_a_ref_that_is_no_commit_is_bad_input(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refs: tuple[str, str], name: str
):
    monkeypatch.chdir(history)
    assert main(["--", *refs]) == 2
    assert f"{name} is '{refs[name == 'HEAD']}', which is no commit here; give a branch, tag or commit" in capsys.readouterr().err


def test_code_that_does_not_run_is_bad_input_and_leaves_no_worktree(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    git(history, "checkout", "--quiet", "-b", "broken", "base")
    (history / "app" / "contract.py").write_text("import nothing_of_this_name\n")
    git(history, "commit", "--quiet", "--all", "-m", "broken")
    git(history, "checkout", "--quiet", "base")
    monkeypatch.chdir(history)
    assert main(["broken", "broken"]) == 2
    assert "does not run: ModuleNotFoundError: No module named 'nothing_of_this_name'" in capsys.readouterr().err
    assert len(git(history, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "changes", "consequence"),
    [
        ("tenure_months", {"high": 700}, "minor"),
        ("tenure_months", {"high": None}, "minor"),
        ("tenure_months", {"high": 500}, "major"),
        ("tenure_months", {"low": 1}, "major"),
        ("tenure_months", {"low": None}, "minor"),
        ("tenure_months", {"required": False}, "minor"),
        ("gender", {"required": True}, "major"),
        ("tenure_months", {"unit": "days"}, "major"),
        ("tenure_months", {"kind": "number"}, "major"),
        ("contract", {"categories": ("month-to-month", "one-year", "two-year", "none")}, "minor"),
        ("contract", {"categories": ("month-to-month", "one-year")}, "major"),
        ("tenure_months", {"title": "Months"}, "patch"),
        ("tenure_months", {"telco": "Months"}, "patch"),
        ("tenure_months", {"bin_edges": (1.0,)}, "patch"),
    ],
)
def test_a_changed_field_has_its_consequence_for_clients(field: str, changes: dict[str, Any], consequence: str):
    fields = tuple(msgspec.structs.replace(each, **changes) if each.name == field else each for each in FIELDS)
    found = compared(HERE, msgspec.structs.replace(HERE, fields=fields))
    assert [(each.field, each.consequence) for each in found.differences] == [(field, consequence)]
    assert found.consequence == consequence


def test_a_field_that_comes_or_goes_has_its_consequence():
    optional, required = FIELDS[-1], FIELDS[0]
    without = msgspec.structs.replace(HERE, fields=FIELDS[1:-1])
    told = {each.field: each.consequence for each in compared(without, HERE).differences}
    assert told == {required.name: "major", optional.name: "minor"}
    assert {each.consequence for each in compared(HERE, without).differences} == {"major"}


def test_another_order_alone_wants_another_bundle_and_nothing_of_clients():
    found = compared(HERE, Record(digest="0" * 64, fields=FIELDS))
    assert (found.consequence, found.retrain) == ("patch", True)
    assert compared(HERE, HERE).consequence == "none"


PULUMI = """#!/bin/sh
case "$1" in
  whoami) exit ${LOGGED_OUT:-0} ;;
  preview) test "$4" = dev || { echo "error: no stack named $4" >&2; exit 255; }
    echo '{"steps": [], "changeSummary": {"same": 120, "update": 2}}' ;;
esac
"""


@pytest.fixture
def engine_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to preview in, and a script that answers as the engine's command does; the command itself wants an account."""
    for name in ("bin", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "pulumi").write_text(PULUMI)
    (tmp_path / "bin" / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("PULUMI_ACCESS_TOKEN", raising=False)
    return tmp_path / "folder"


def test_the_engine_is_asked_where_it_is_logged_in(engine_on_path: Path):
    found = previews(engine_on_path, ["dev", "qa"])
    assert found.by_stack == {"dev": "same 120, update 2", "qa": "failed: error: no stack named qa"}
    assert not found.missing


def test_the_engine_is_not_asked_where_it_is_not_logged_in(engine_on_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOGGED_OUT", "1")
    assert "logged in" in previews(engine_on_path, ["dev"]).missing
