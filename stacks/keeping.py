"""What a `destroy` may not take along, and what goes after something else."""

from collections.abc import Iterable

import pulumi


def keep(parent: pulumi.Resource, *, protected: bool) -> pulumi.ResourceOptions:
    """Options of a child that holds data: protected, the engine refuses to delete it, and forgets rather than deletes it."""
    return pulumi.ResourceOptions(parent=parent, protect=protected, retain_on_delete=protected)


def known_after(value: pulumi.Output[str], others: Iterable[pulumi.Resource]) -> pulumi.Output[str]:
    """The value, once the others stand: whoever takes it is made after them, and deleted before them."""
    # Their URNs, which a preview knows: it does not show everything as changed where one of them is new.
    return pulumi.Output.all(value, *(each.urn for each in others)).apply(lambda known: str(known[0]))
