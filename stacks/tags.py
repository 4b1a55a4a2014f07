"""The tags that say what a resource belongs to."""

from stacks.config import StackConfig


def stack_tags(project: str, config: StackConfig) -> dict[str, str]:
    """What everything in a stack carries; the provider's default tags."""
    return {
        "project": project,
        "stack": config.stack,
        "owner": config.churn.owner,
        "cost-centre": config.churn.cost_centre,
    }


def component_tags(component: str, name: str) -> dict[str, str]:
    """What one resource of a component carries beside them; `Name` is what the AWS console shows."""
    return {"component": component, "Name": name}
