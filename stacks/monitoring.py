"""Prometheus, Alertmanager and Grafana; what they watch of ours, whom they tell and what they show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from stacks.alerts import rule_groups
from stacks.canary import REVISION
from stacks.chart_values import DASHBOARD_LABEL, Topic, chart_values
from stacks.charts import release
from stacks.config import InferenceConfig, MonitoringConfig
from stacks.dashboards import model_dashboard, service_dashboard
from stacks.documents import Document
from stacks.grants import allow
from stacks.identity import PodIdentity, PodIdentityArgs
from stacks.names import ALERTMANAGER, INFERENCE, METRICS_PORT, MONITORING_NAMESPACE, MONITORING_RELEASE, ROLLOUTS_NAMESPACE
from stacks.pins import chart

OPERATOR_API = "monitoring.coreos.com/v1"
# https://argo-rollouts.readthedocs.io/en/stable/features/controller-metrics/
ROLLOUTS_LABELS, ROLLOUTS_PORT = {"app.kubernetes.io/name": "argo-rollouts"}, 8090


@dataclass(frozen=True, kw_only=True)
class Notify:
    """The topic that people read, the key that it is encrypted with, and the cluster whose Alertmanager may write to it."""

    topic_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    region: str
    # Known only once the cluster stands.
    cluster_name: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What runs on the stack and what is promised of it; nothing is sent to anybody without `notify`."""

    config: MonitoringConfig
    objective: InferenceConfig
    # Its own namespace, and that of our workloads.
    namespace: pulumi.Input[str]
    workloads_namespace: pulumi.Input[str]
    storage_class: pulumi.Input[str]
    # Whether there is a release to serve, and an MLflow server: nobody is told that what was never there is missing.
    serving: bool
    tracking: bool
    cert_manager: bool
    notify: Notify | None = None
    # What has to be there before, such as cert-manager.
    after: Sequence[pulumi.Resource] = ()


class Monitoring(pulumi.ComponentResource):
    """The chart's release, and our rules, dashboards and targets for it."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:monitoring:Monitoring", name, None, opts)
        notify = args.notify
        identity = [self._identity(name, notify)] if notify else []
        topic = Topic(arn=notify.topic_arn, region=notify.region) if notify else None
        stack = release(
            f"{name}-stack",
            chart("kube-prometheus-stack"),
            release_name=MONITORING_RELEASE,
            namespace=args.namespace,
            values=chart_values(args.config, args.storage_class, topic, cert_manager=args.cert_manager),
            # A pod gets its identity when it starts.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*args.after, *identity]),
        )
        # Its kinds come with the chart.
        later = pulumi.ResourceOptions(parent=self, depends_on=[stack])
        groups = rule_groups(args.objective, serving=args.serving, tracking=args.tracking)
        if groups:
            self._custom(f"{name}-rules", "PrometheusRule", args.namespace, "churn", {"groups": groups}, later)
        if args.serving:
            # A canary's pods are told from the stable ones.
            inference = pod_monitor(INFERENCE.labels, METRICS_PORT) | {"podTargetLabels": [REVISION]}
            self._custom(f"{name}-inference", "PodMonitor", args.workloads_namespace, INFERENCE.name, inference, later)
            self._dashboard(f"{name}-service", args.namespace, service_dashboard(args.objective), later)
            self._dashboard(f"{name}-model", args.namespace, model_dashboard(), later)
        if args.serving and args.objective.canary_weights_percent:
            rollouts = pod_monitor(ROLLOUTS_LABELS, ROLLOUTS_PORT) | {"namespaceSelector": {"matchNames": [ROLLOUTS_NAMESPACE]}}
            self._custom(f"{name}-rollouts", "PodMonitor", args.namespace, "argo-rollouts", rollouts, later)
        self.register_outputs({})

    def _identity(self, name: str, notify: Notify) -> PodIdentity:
        return PodIdentity(
            f"{name}-alertmanager",
            PodIdentityArgs(
                cluster_name=notify.cluster_name,
                namespace=MONITORING_NAMESPACE,
                service_account=ALERTMANAGER,
                statements=pulumi.Output.all(notify.topic_arn, notify.key_arn).apply(lambda known: publish(*known)),
            ),
            pulumi.ResourceOptions(parent=self),
        )

    @staticmethod
    def _custom(
        name: str,
        kind: str,
        namespace: pulumi.Input[str],
        object_name: str,
        spec: dict[str, object],
        opts: pulumi.ResourceOptions,
    ) -> None:
        metadata = k8s.meta.v1.ObjectMetaArgs(name=object_name, namespace=namespace)
        k8s.apiextensions.CustomResource(name, api_version=OPERATOR_API, kind=kind, metadata=metadata, spec=spec, opts=opts)

    @staticmethod
    def _dashboard(name: str, namespace: pulumi.Input[str], shown: dict[str, object], opts: pulumi.ResourceOptions) -> None:
        uid = str(shown["uid"])
        k8s.core.v1.ConfigMap(
            name,
            metadata=k8s.meta.v1.ObjectMetaArgs(name=f"dashboard-{uid}", namespace=namespace, labels=DASHBOARD_LABEL),
            data={f"{uid}.json": json.dumps(shown, sort_keys=True)},
            opts=opts,
        )


def pod_monitor(labels: dict[str, str], port: int) -> dict[str, object]:
    """What is scraped: the port of these pods. A label of theirs wins over Prometheus' own, such as `namespace` of a rollout."""
    return {
        "selector": {"matchLabels": labels},
        "podMetricsEndpoints": [{"portNumber": port, "path": "/metrics", "interval": "15s", "honorLabels": True}],
    }


def publish(topic_arn: str, key_arn: str) -> list[Document]:
    """Statements that let Alertmanager write to the topic, which SNS encrypts in its name."""
    # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    # The key is for whatever writes to the topic, and not for whatever else it keeps.
    through = {"StringLike": {"kms:ViaService": "sns.*.amazonaws.com"}}
    return [
        allow("Publish", ["sns:Publish"], [topic_arn]),
        allow("Encrypt", ["kms:Decrypt", "kms:GenerateDataKey"], [key_arn], through),
    ]
