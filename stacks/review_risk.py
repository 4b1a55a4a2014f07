"""What one should look at first, in words, the worst first."""

from collections.abc import Iterator

from stacks.render import Change
from stacks.review_compare import Review, StackReview

# What holds data or everything else: to lose it is more than a restart.
HOLDS = {
    "aws:ec2/vpc:Vpc": "the network",
    "aws:ecr/repository:Repository": "the image repository {name}",
    "aws:eks/cluster:Cluster": "the cluster",
    "aws:kms/key:Key": "the key {name}",
    "aws:rds/instance:Instance": "the database",
    "aws:s3/bucket:Bucket": "the bucket {name}",
    "kubernetes:core/v1:PersistentVolumeClaim": "the volume {name}",
}
# A bill that rises by less is in the table alone.
JUMP = 0.1


def risks(review: Review) -> list[str]:
    """Each risk once, with the stacks that have it."""
    found: dict[str, list[str]] = {}
    for told in (_unreadable, _lost, _refused, _worse):
        for stack in review.stacks:
            for risk in told(stack):
                found.setdefault(risk, []).append(stack.stack)
    if review.contract.consequence == "major":
        found["breaks clients by the contract"] = []
    if review.contract.retrain:
        found["needs a new bundle, as the contract is another"] = []
    for told in (_dearer, _remade):
        for stack in review.stacks:
            for risk in told(stack):
                found.setdefault(risk, []).append(stack.stack)
    return [f"{risk} ({', '.join(stacks)})" if stacks else risk for risk, stacks in found.items()]


def _unreadable(stack: StackReview) -> Iterator[str]:
    if stack.problems:
        yield "cannot be planned"


def _lost(stack: StackReview) -> Iterator[str]:
    for change in stack.changes:
        if change.type in HOLDS and (change.replaced or change.kind == "removed"):
            what = HOLDS[change.type].format(name=change.name)
            guard = ", protected: the engine stops there" if change.protect else ""
            yield f"{'replaces' if change.replaced else 'deletes'} {what}{guard}"


def _refused(stack: StackReview) -> Iterator[str]:
    if any(each.level == "refused" and each.new for each in stack.said):
        yield "breaks a rule or the budget"


def _worse(stack: StackReview) -> Iterator[str]:
    if stack.model and stack.model.worse:
        yield "has a worse model"


def _dearer(stack: StackReview) -> Iterator[str]:
    before, more = stack.cost.before, stack.cost.more
    if before and more > JUMP * before:
        yield f"costs {more / before:.0%} more"


def _remade(stack: StackReview) -> Iterator[str]:
    count = sum(_in_passing(change) for change in stack.changes)
    if count:
        yield f"replaces {count} resource{'s' * (count != 1)} without data"


def _in_passing(change: Change) -> bool:
    return change.replaced and change.type not in HOLDS
