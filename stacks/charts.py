"""What others wrote for the cluster, in its pinned version: Helm releases of charts, and add-ons that EKS manages."""

import json
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from stacks.pins import Chart, addon_version
from stacks.tags import component_tags

READY_WITHIN_SECONDS = 600


def release(
    name: str,
    chart: Chart,
    *,
    release_name: str,
    namespace: pulumi.Input[str],
    values: Mapping[str, object],
    opts: pulumi.ResourceOptions,
) -> k8s.helm.v3.Release:
    """The chart's release, called `release_name` in the cluster; what does not become ready is rolled back."""
    return k8s.helm.v3.Release(
        name,
        name=release_name,
        namespace=namespace,
        chart=chart.name,
        version=chart.version,
        repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=chart.repository),
        values=values,
        atomic=True,
        timeout=READY_WITHIN_SECONDS,
        max_history=5,
        opts=opts,
    )


def managed(
    component: str,
    addon: str,
    *,
    cluster_name: pulumi.Input[str],
    values: Mapping[str, object] | None = None,
    namespace: str | None = None,
    opts: pulumi.ResourceOptions,
) -> aws.eks.Addon:
    """The add-on as a part of `component`, with values of ours where it has some."""
    name = f"{component}-{addon}"
    return aws.eks.Addon(
        name,
        cluster_name=cluster_name,
        addon_name=addon,
        addon_version=addon_version(addon),
        configuration_values=None if values is None else json.dumps(values),
        namespace_config=None if namespace is None else {"namespace": namespace},
        # What is written here is what runs, whoever changed it by hand.
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        tags=component_tags(component, name),
        opts=opts,
    )
