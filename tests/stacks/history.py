"""A small real git history to review, and the example of a review in the docs: `python -m tests.stacks.history`."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.release import encode_release
from stacks.review import main as review
from stacks.review_commits import commit_of
from tests.conftest import CHECKOUT
from tests.releases import IMAGE, compared_with, estimate, make_evidence, make_release, make_variant, successor

# What a plan is made of, with one stack, as each further one takes a second of the processor for each commit.
PARTS = ("app", "policies", "stacks", "Dockerfile", "Pulumi.yaml", "Pulumi.dev.yaml")
OWN = msgspec.structs.replace(IMAGE, repository="123456789012.dkr.ecr.eu-west-1.amazonaws.com/churn")
FIGURES = {"auc": estimate(0.845), "required_fields_auc": estimate(0.84), "profit_usd_per_customer": estimate(21.6, 2.4)}
LIVE = make_release(stack="dev", image=OWN, variants=(make_variant(evidence=make_evidence(metrics=FIGURES)),))
WORSE_EVIDENCE = compared_with(
    LIVE.champion.bundle_digest,
    auc_difference=estimate(-0.05, 0.01),
    profit_difference_usd_per_month=estimate(-900.0, 100.0),
    decisions_changed_count=210,
)
WORSE = successor(LIVE, variants=(make_variant(bundle_digest="b" * 64, version="1.0.1", evidence=WORSE_EVIDENCE),))
# Of the contract that it comes with, hence a new major version.
NEXT = msgspec.structs.replace(OWN, digest="sha256:" + "3" * 64, contract_digest="e" * 64, commit="4" * 40)
BETTER_EVIDENCE = compared_with(
    LIVE.champion.bundle_digest,
    contract_digest=NEXT.contract_digest,
    metrics={**FIGURES, "auc": estimate(0.849), "profit_usd_per_customer": estimate(22.8, 2.4)},
    auc_difference=estimate(0.004, 0.003),
    profit_difference_usd_per_month=estimate(140.0, 91.0),
    decisions_changed_count=63,
)
BETTER = successor(LIVE, image=NEXT, variants=(make_variant(bundle_digest="b" * 64, version="2.0.0", evidence=BETTER_EVIDENCE),))
Edit = Callable[[Path], object]
HEAD = """\
# What a pull request is answered

Written by `make docs`: what `make review` prints of a pull request that changes the number of nodes, the model and the contract
at once, in a repository with one stack. [review.md](review.md) says how it is made.

---

"""


def edit(file: str, old: str, new: str) -> Edit:
    def change(folder: Path) -> None:
        path = folder / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    return change


def release(content: bytes) -> Edit:
    return lambda folder: (folder / "releases" / "dev.json").write_bytes(content)


NODES = edit("Pulumi.dev.yaml", "cluster:systemNodesMin: 2", "cluster:systemNodesMin: 3")
PAYMENT = edit("app/contract.py", '"mailed-check", "bank-transfer"', '"bank-transfer"')
CASES: dict[str, Sequence[Edit]] = {
    "base": (),
    "nothing": (lambda folder: (folder / "notes.md").write_text("nothing that a plan reads"),),
    "database": (edit("stacks/database.py", 'username="mlflow"', 'username="tracking"'),),
    "worse": (release(encode_release(WORSE)),),
    "contract": (PAYMENT,),
    "violation": (edit("Pulumi.dev.yaml", "publicAccessCidrs: []", "publicAccessCidrs: [203.0.113.7/32]"),),
    "dear": (edit("Pulumi.dev.yaml", "network:nat: one", "network:nat: per-zone"),),
    "unreadable": (edit("Pulumi.dev.yaml", "network:nat: one", "network:nat: two"),),
    "all": (NODES, PAYMENT, release(encode_release(BETTER))),
}


def git(folder: Path, *arguments: str) -> str:
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    return subprocess.run(
        ["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True, text=True, env=alone
    ).stdout


def build(folder: Path) -> Path:
    """The folder as a repository with a branch for each case, all from the branch `base`."""
    for part in PARTS:
        if (CHECKOUT / part).is_dir():
            shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        else:
            shutil.copy(CHECKOUT / part, folder / part)
    (folder / "releases").mkdir()
    release(encode_release(LIVE))(folder)
    git(folder, "init", "--quiet", "--initial-branch=base")
    for case, edits in CASES.items():
        if case != "base":
            git(folder, "checkout", "--quiet", "-b", case, "base")
        for each in edits:
            each(folder)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "-m", case)
    git(folder, "checkout", "--quiet", "base")
    return folder


def named(text: str, commits: dict[str, str]) -> str:
    """A review that names its commits by their branch: their digests change with every change of the code in them."""
    for branch, commit in commits.items():
        text = text.replace(commit[:12], branch)
    return text


def main() -> None:
    """Print the page docs/example-review.md."""
    out = io.StringIO()
    with TemporaryDirectory() as made:
        folder = build(Path(made).resolve())
        # An engine that is logged in would be asked.
        os.environ["PATH"] = str(Path(shutil.which("git") or "").parent)
        with chdir(folder), redirect_stdout(out):
            code = review(["base", "all"])
        commits = {branch: commit_of(folder, branch, branch) for branch in ("base", "all")}
    if code == 2:
        sys.exit(code)
    sys.stdout.write(HEAD + named(out.getvalue(), commits))


if __name__ == "__main__":
    main()
