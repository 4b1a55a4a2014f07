"""What a `destroy` may not take along."""

import pulumi


def keep(parent: pulumi.Resource, *, protected: bool) -> pulumi.ResourceOptions:
    """Options of a child that holds data: protected, the engine refuses to delete it, and forgets rather than deletes it."""
    return pulumi.ResourceOptions(parent=parent, protect=protected, retain_on_delete=protected)
