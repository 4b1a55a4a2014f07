"""What we ask of the kube-prometheus-stack chart, where that is not what it does by itself."""

from dataclasses import dataclass

import pulumi

from stacks.addon_values import Values, resources
from stacks.config import MonitoringConfig
from stacks.names import ALERTMANAGER, MONITORING_RELEASE
from stacks.pods import ZONE

# The label of the ConfigMaps that Grafana takes its dashboards from.
DASHBOARD_LABEL = {"grafana_dashboard": "1"}
# The disk also holds what is not yet in a block: https://prometheus.io/docs/prometheus/latest/storage/#right-sizing-retention-size
SIZE_SHARE = 0.8
# What nobody asks about is not collected: kube-state-metrics may then not list it either, secrets least of all.
COLLECTORS = [
    *("namespaces", "nodes", "persistentvolumes", "persistentvolumeclaims", "resourcequotas"),
    *("deployments", "statefulsets", "daemonsets", "replicasets", "cronjobs", "jobs", "pods"),
    *("horizontalpodautoscalers", "poddisruptionbudgets"),
]
# Whose answer is a new model; and for how long GitHub may be out of reach until an alert says so, which is this as well.
RETRAINED, RETRAIN_INTERVAL, RETRAIN_AGAIN = "ChurnDrift|ChurnModelOld", "1h", "3d"
# The Secret of the monitoring namespace with the token that GitHub takes, and where it is mounted.
TOKEN_SECRET, TOKEN_FILE = "github-token", "token"
TOKEN_FOLDER = f"/etc/{TOKEN_SECRET}"
GITHUB_API = "https://api.github.com"
# Of parts that are not scraped, as below, or not there.
SILENT_RULES = ("etcd", "kubeControllerManager", "kubeProxy", "kubeSchedulerAlerting", "kubeSchedulerRecording", "windows")


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Where alerts are sent."""

    arn: pulumi.Input[str]
    region: str


def chart_values(
    config: MonitoringConfig, storage_class: pulumi.Input[str], topic: Topic | None, *, cert_manager: bool
) -> Values:
    """The values. Without a topic alerts are only shown; without cert-manager a job of the chart makes the certificate."""
    return {
        # Other names are made from it: the services are monitoring-prometheus, monitoring-alertmanager and so on.
        "fullnameOverride": MONITORING_RELEASE,
        "prometheus": _prometheus(config, storage_class),
        "alertmanager": _alertmanager(config, storage_class, topic),
        "grafana": _grafana(),
        "prometheusOperator": _operator(cert_manager=cert_manager),
        "kube-state-metrics": {"collectors": COLLECTORS, "resources": resources("50m", "128Mi")},
        "prometheus-node-exporter": {
            # It needs the host's network and files, which the monitoring namespace forbids.
            "namespaceOverride": "kube-system",
            "resources": resources("50m", "64Mi"),
        },
        "defaultRules": {
            "rules": dict.fromkeys(SILENT_RULES, False),
            # stacks/alerts.py has our own, with our runbook.
            "disabled": {"KubeHpaMaxedOut": True},
        },
        # On EKS they are out of reach, on kind they listen to their own host alone.
        **{part: {"enabled": False} for part in ("kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler")},
    }


def alert_routes(topic: Topic | None, retrain_repository: str) -> Values:
    """Alertmanager's configuration: what somebody has to act on goes to the topic, and to the workflow if a new model helps."""
    routes: list[Values] = []
    receivers: list[Values] = [{"name": "nobody"}]
    if retrain_repository:
        own: Values = {"receiver": "retrain", "matchers": [f'alertname =~ "{RETRAINED}"'], "continue": True}
        # One model answers both alerts.
        own |= {"group_by": ["namespace"], "group_interval": RETRAIN_INTERVAL, "repeat_interval": RETRAIN_AGAIN}
        routes.append(own)
        receivers.append({"name": "retrain", "webhook_configs": [_dispatch(retrain_repository)]})
    if topic:
        routes.append({"receiver": "topic", "matchers": ['severity =~ "critical|warning"']})
        sns: Values = {"topic_arn": topic.arn, "sigv4": {"region": topic.region}, "send_resolved": True}
        receivers.append({"name": "topic", "sns_configs": [sns]})
    route: Values = {
        "receiver": "nobody",
        "group_by": ["alertname", "namespace"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "12h",
        "routes": routes,
    }
    return {"route": route, "receivers": receivers}


def _dispatch(repository: str) -> Values:
    """https://docs.github.com/en/rest/repos/repos#create-a-repository-dispatch-event"""
    return {
        "url": f"{GITHUB_API}/repos/{repository}/dispatches",
        "http_config": {"authorization": {"credentials_file": f"{TOKEN_FOLDER}/{TOKEN_FILE}"}},
        "payload": {"event_type": "retrain"},
        "send_resolved": False,
    }


def _prometheus(config: MonitoringConfig, storage_class: pulumi.Input[str]) -> Values:
    return {
        "podDisruptionBudget": {"enabled": config.replicas > 1},
        "prometheusSpec": {
            "retention": f"{config.retention_days}d",
            "retentionSize": f"{int(config.storage_gib * 1024 * SIZE_SHARE)}MB",
            "replicas": config.replicas,
            "podAntiAffinityTopologyKey": ZONE,
            "resources": resources("200m", f"{config.memory_mib}Mi"),
            "storageSpec": _volume(storage_class, config.storage_gib),
            # Without it, only what carries the release's label is scraped and evaluated.
            **{f"{kind}SelectorNilUsesHelmValues": False for kind in ("rule", "serviceMonitor", "podMonitor")},
        },
    }


def _alertmanager(config: MonitoringConfig, storage_class: pulumi.Input[str], topic: Topic | None) -> Values:
    # Without the Secret it tells everybody else all the same, and alerts of the chart say that one receiver cannot be reached.
    token = {"name": TOKEN_SECRET, "secret": {"secretName": TOKEN_SECRET, "optional": True}}
    mounted = {"name": TOKEN_SECRET, "mountPath": TOKEN_FOLDER, "readOnly": True}
    files: Values = {"volumes": [token], "volumeMounts": [mounted]} if config.retrain_repository else {}
    return {
        # Pod identity knows it by this name.
        "serviceAccount": {"name": ALERTMANAGER},
        "config": alert_routes(topic, config.retrain_repository),
        "podDisruptionBudget": {"enabled": config.replicas > 1},
        "alertmanagerSpec": {
            "replicas": config.replicas,
            "podAntiAffinityTopologyKey": ZONE,
            "resources": resources("20m", "64Mi"),
            # Silences, and what has been sent already.
            "storage": _volume(storage_class, 1),
            **files,
        },
    }


def _grafana() -> Values:
    """Everybody who reaches it may look, and nobody can sign in: it needs no password, and its address is the cluster's."""
    return {
        "env": {"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true"},
        "grafana.ini": {
            "auth": {"disable_login_form": True},
            "auth.anonymous": {"enabled": True, "org_role": "Viewer"},
            "auth.basic": {"enabled": False},
            # It has no way out of the cluster, and waits long for what it cannot reach.
            "analytics": {"reporting_enabled": False, "check_for_updates": False, "check_for_plugin_updates": False},
            "news": {"news_feed_enabled": False},
            "plugins": {"preinstall_disabled": True},
        },
        "rbac": {"namespaced": True},
        "sidecar": {
            "resources": resources("20m", "128Mi"),
            # Dashboards are found by looking at the folder, data sources before the start: reloading would need an administrator.
            "dashboards": {"searchNamespace": None, "resource": "configmap", "skipReload": True},
            "datasources": {"searchNamespace": None, "resource": "configmap", "skipReload": True, "initDatasources": True},
        },
        "resources": resources("100m", "256Mi"),
        "testFramework": {"enabled": False},
    }


def _operator(*, cert_manager: bool) -> Values:
    job = {"resources": resources("20m", "64Mi")}
    return {
        "resources": resources("100m", "256Mi"),
        "prometheusConfigReloader": {"resources": resources("10m", "64Mi")},
        "admissionWebhooks": {"certManager": {"enabled": True}} if cert_manager else {"patch": job},
    }


def _volume(storage_class: pulumi.Input[str], gib: int) -> Values:
    requested: Values = {"requests": {"storage": f"{gib}Gi"}}
    claim: Values = {"storageClassName": storage_class, "accessModes": ["ReadWriteOnce"], "resources": requested}
    return {"volumeClaimTemplate": {"spec": claim}}
