"""Helm releases of pinned charts."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s

from stacks.pins import Chart

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
