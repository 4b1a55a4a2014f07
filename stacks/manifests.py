"""The Kubernetes objects of a plan as files, for kubectl and whatever else reads manifests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stacks.names import NAMESPACE
from stacks.record import CHART, Plan
from stacks.values import PlanError


def manifests(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of ours with the name of its file; what charts bring is in the charts."""
    for each in plan.resources:
        if each.type.startswith("kubernetes:") and each.type != CHART:
            yield file_name(each.inputs), each.inputs


def file_name(manifest: dict[str, Any]) -> str:
    """`deployment-inference.yaml`; what is in another namespace than ours names it as well."""
    metadata = manifest["metadata"]
    namespace = metadata.get("namespace", NAMESPACE)
    place = [] if namespace == NAMESPACE else [namespace]
    return "-".join([manifest["kind"].lower(), *place, metadata["name"]]) + ".yaml"


def write(plan: Plan, folder: Path) -> int:
    """Write a file for each object and return how many there are. Raises PlanError."""
    texts: dict[str, str] = {}
    for name, manifest in manifests(plan):
        if name in texts:
            raise PlanError(f"two objects of stack {plan.stack} would be {name}; give one of them another name")
        texts[name] = yaml.safe_dump(manifest, sort_keys=True, width=130)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            # Renamed when complete, so that nobody who reads along sees half of one.
            unfinished = folder / f".{name}"
            unfinished.write_text(text)
            unfinished.replace(folder / name)
    except OSError as exc:
        raise PlanError(f"--manifests {folder} cannot be written: {exc.strerror}; give a folder that can be") from exc
    return len(texts)
