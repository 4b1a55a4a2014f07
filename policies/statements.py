"""IAM policy documents, read one statement at a time."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from policies.declared import Node, Unknown


def statements(policy: Node) -> Iterator[Node]:
    """The statements of a document, a single one included."""
    listed = policy.document["Statement"]
    return iter([listed] if isinstance(listed.value, dict) else listed)


def allowing(policy: Node) -> Iterator[Node]:
    """The statements that let somebody do something: whatever does not say that it denies."""
    return (each for each in statements(policy) if each["Effect"].known != "Deny")


def everywhere(statement: Node) -> bool:
    """Whether it is about every resource there is; a reference is one resource."""
    resource = statement["Resource"]
    listed = [each.value for each in resource] if isinstance(resource.value, list) else [resource.value]
    return any(
        not isinstance(each, Unknown) and (each is None or re.fullmatch(r"[*:]+|arn:aws:[\w*-]+:[^:]*:[^:]*:\*", str(each)))
        for each in listed
    )


def kinds(statement: Node) -> bool:
    """Whether it is about everything of some kind, `arn:aws:kms:eu-west-1:...:key/*`; in S3 that is a part of one bucket."""
    resource = statement["Resource"]
    listed = [each.value for each in resource] if isinstance(resource.value, list) else [resource.value]
    return any(isinstance(each, str) and re.search(r"^arn:aws:(?!s3:)[^/]*[/:][a-zA-Z-]*/?\*$", each) for each in listed)


def sid(statement: Node) -> str:
    """How messages call it."""
    return statement["Sid"].text or statement.place


def matches(patterns: tuple[str, ...], action: str) -> bool:
    """Whether one of the patterns covers the action, as IAM compares them."""
    return any(fnmatchcase(action.lower(), each.lower()) for each in patterns)
