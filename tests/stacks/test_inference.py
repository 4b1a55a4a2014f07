from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.__main__ import KEEP_ALIVE_SECONDS
from app.access import TokenHashes, read_access
from app.events import MAX_WAITING_BYTES
from app.main import WAIT_SHARE
from app.release import AlertLimits, decode_release, encode_release, sealed
from app.settings import Settings
from stacks.balancer import DEREGISTRATION_SECONDS, IDLE_TIMEOUT_SECONDS
from stacks.checks import MOST_HASHES
from stacks.config import InferenceConfig
from stacks.inference import Inference, InferenceArgs
from stacks.inference_pod import GRACE_SECONDS, KILL_AFTER_SECONDS, RELEASE_BYTES_MAX
from stacks.live import Live
from stacks.reading import ConfigError
from stacks.sizing import size
from tests.releases import make_release
from tests.stacks.conftest import Engine
from tests.stacks.test_sizing import CONFIG

IMAGE = "registry.example/churn@sha256:" + "1" * 64
CALLERS = ("10.30.0.0/16",)


def live(reason: str = "first", **changes: Any) -> Live:
    release = sealed(make_release(stack="dev", reason=reason, **changes))
    return Live(release=release, text=encode_release(release).decode(), image=IMAGE)


def declare(engine: Engine, config: InferenceConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    """The inputs of what runs the pods, after declaring the whole service."""
    given = {
        "namespace": "churn",
        "live": live(),
        "image": IMAGE,
        "bundles": "s3://artifacts/bundles",
        "events": "s3://lake/events",
    }
    args = InferenceArgs(**{"sizing": size(config, 3, "c6i.large"), "inbound_cidrs": CALLERS, **given, **changes})
    engine.run(lambda: Inference("inference", args))
    kinds = ("Rollout", "Deployment")
    [found] = [each.inputs for each in engine.plan.resources if each.inputs.get("kind") in kinds]
    return found


def pod(found: dict[str, Any]) -> dict[str, Any]:
    return found["spec"]["template"]["spec"]


def app_of(found: dict[str, Any]) -> dict[str, Any]:
    [container] = pod(found)["containers"]
    return container


ALL_AT_ONCE = msgspec.structs.replace(CONFIG, canary_weights_percent=())


def test_without_canary_weights_it_is_a_deployment_and_with_them_a_rollout_of_the_very_same_pod(engine: Engine):
    deployment, rollout = declare(engine, ALL_AT_ONCE), declare(engine)
    assert (deployment["kind"], rollout["kind"]) == ("Deployment", "Rollout")
    for found, revision in ((deployment, "pod-template-hash"), (rollout, "rollouts-pod-template-hash")):
        spread = pod(found).pop("topologySpreadConstraints")
        assert {each["topologyKey"]: each["matchLabelKeys"] for each in spread}["topology.kubernetes.io/zone"] == [revision]
    assert deployment["spec"]["template"] == rollout["spec"]["template"]


@pytest.mark.parametrize("config", [ALL_AT_ONCE, CONFIG], ids=["deployment", "rollout"])
def test_it_starts_with_the_fewest_replicas_and_then_leaves_their_number_to_the_autoscaler(
    engine: Engine, config: InferenceConfig
):
    found = declare(engine, config)
    assert found["spec"]["replicas"] == 3
    [resource] = [each for each in engine.plan.resources if each.inputs == found]
    assert resource.ignores == ("spec.replicas",)


def test_the_pods_environment_is_settings_that_the_app_reads(engine: Engine):
    environ = {each["name"]: each["value"] for each in app_of(declare(engine))["env"]}
    settings = Settings.load(environ)
    assert (settings.host, settings.port, settings.metrics_port) == (str(IPv4Address(0)), 8080, 9090)
    assert (settings.bundles, settings.events) == ("s3://artifacts/bundles", "s3://lake/events")


def test_the_pods_read_the_release_as_its_file_is(engine: Engine):
    given = live()
    found = declare(engine, live=given)
    text = found["spec"]["template"]["metadata"]["annotations"]["churn/release"]
    assert decode_release(text.encode(), "annotation") == given.release
    [release] = [each for each in pod(found)["volumes"] if each["name"] == "release"]
    [item] = release["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['churn/release']"
    [mount] = [each for each in app_of(found)["volumeMounts"] if each["name"] == "release"]
    environ = {each["name"]: each["value"] for each in app_of(found)["env"]}
    assert Settings.load(environ).release == Path(mount["mountPath"]) / item["path"]


TOKENS = TokenHashes(predict=["1" * 64, "2" * 64], operate=["1" * 64])
WITH_TOKENS = msgspec.structs.replace(CONFIG, token_hashes=TOKENS)


def annotations(found: dict[str, Any]) -> dict[str, str]:
    return found["spec"]["template"]["metadata"]["annotations"]


def settings(found: dict[str, Any]) -> Settings:
    return Settings.load({each["name"]: each["value"] for each in app_of(found)["env"]})


def test_the_pods_read_whom_they_may_answer(engine: Engine, tmp_path: Path):
    found = declare(engine, WITH_TOKENS)
    written = tmp_path / "tokens.json"
    written.write_text(annotations(found)["churn/tokens"])
    assert read_access(written)
    assert msgspec.json.decode(written.read_bytes(), type=TokenHashes) == TOKENS
    [release] = [each for each in pod(found)["volumes"] if each["name"] == "release"]
    fields = {each["path"]: each["fieldRef"]["fieldPath"] for each in release["downwardAPI"]["items"]}
    [mount] = [each for each in app_of(found)["volumeMounts"] if each["name"] == "release"]
    read = {Path(mount["mountPath"]) / name: field for name, field in fields.items()}
    assert read == {
        settings(found).release: "metadata.annotations['churn/release']",
        settings(found).tokens: "metadata.annotations['churn/tokens']",
    }


def test_where_no_client_has_a_token_nobody_is_answered_and_without_the_list_everybody(engine: Engine):
    found = declare(engine, msgspec.structs.replace(CONFIG, token_hashes=TokenHashes()))
    assert settings(found).tokens
    assert annotations(found)["churn/tokens"] == '{"predict":[],"feedback":[],"operate":[]}'
    found = declare(engine)
    assert settings(found).tokens is None
    assert "churn/tokens" not in annotations(found)


def test_another_hash_is_another_pod_template(engine: Engine):
    one_less = msgspec.structs.replace(WITH_TOKENS, token_hashes=msgspec.structs.replace(TOKENS, predict=["2" * 64]))
    before, after = declare(engine, WITH_TOKENS), declare(engine, one_less)
    assert before["spec"]["template"] != after["spec"]["template"]


def test_as_many_hashes_as_there_may_be_fit_beside_the_largest_release():
    most = TokenHashes(predict=["1" * 64] * MOST_HASHES)
    # https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go
    assert RELEASE_BYTES_MAX + len(msgspec.json.encode(most)) < 250 * 1024


def test_another_release_is_another_pod_template(engine: Engine):
    before, after = declare(engine, live=live("first")), declare(engine, live=live("second"))
    assert before["spec"]["template"] != after["spec"]["template"]


def test_a_release_that_no_annotation_holds_is_refused(engine: Engine):
    with pytest.raises(ConfigError, match="bytes; give one of 245,760 at most"):
        declare(engine, live=live("x" * RELEASE_BYTES_MAX))


def test_the_pod_is_hardened(engine: Engine):
    found = declare(engine)
    context, whole = app_of(found)["securityContext"], pod(found)["securityContext"]
    assert (whole["runAsNonRoot"], whole["runAsUser"], whole["seccompProfile"]) == (True, 10001, {"type": "RuntimeDefault"})
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert (pod(found)["automountServiceAccountToken"], pod(found)["enableServiceLinks"]) == (False, False)
    assert app_of(found)["resources"]["requests"] == {"cpu": "750m", "memory": "256Mi"}


def test_the_disk_holds_what_waits_for_a_store_that_is_down(engine: Engine):
    [tmp] = [each for each in pod(declare(engine))["volumes"] if each["name"] == "tmp"]
    assert int(tmp["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30 > MAX_WAITING_BYTES


def test_a_process_that_is_not_ready_is_asked_no_more_but_not_started_again(engine: Engine):
    probes = {kind: app_of(declare(engine))[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_a_pod_is_given_the_time_that_its_process_takes_to_leave(engine: Engine):
    found = declare(engine)
    assert Settings.load({each["name"]: each["value"] for each in app_of(found)["env"]}).grace_seconds == GRACE_SECONDS
    assert pod(found)["terminationGracePeriodSeconds"] == KILL_AFTER_SECONDS > GRACE_SECONDS
    # Long enough for the balancer to see two failed checks, or the controller to take the target out.
    assert WAIT_SHARE * GRACE_SECONDS >= 15


def test_connections_are_kept_for_longer_than_the_balancer_keeps_them():
    assert IDLE_TIMEOUT_SECONDS < KEEP_ALIVE_SECONDS


def test_nodes_that_are_kept_for_it_are_asked_for_and_only_where_there_are_some(engine: Engine):
    kept = pod(declare(engine, nodes="inference"))
    assert kept["nodeSelector"] == {"churn/nodes": "inference"}
    assert kept["tolerations"] == [{"key": "churn/nodes", "value": "inference", "effect": "NoSchedule"}]
    assert not {"nodeSelector", "tolerations"} & pod(declare(engine)).keys()


def test_a_volume_is_mounted_where_there_is_one(engine: Engine):
    found = declare(engine, claim_name="churn", bundles="file:///var/churn/bundles", events="file:///var/churn/events")
    [claim] = [each["persistentVolumeClaim"] for each in pod(found)["volumes"] if "persistentVolumeClaim" in each]
    assert claim == {"claimName": "churn"}
    assert "/var/churn" in [each["mountPath"] for each in app_of(found)["volumeMounts"]]
    assert not [each for each in pod(declare(engine))["volumes"] if "persistentVolumeClaim" in each]


def test_a_canary_takes_its_shares_of_the_traffic_by_the_balancer(engine: Engine):
    config = msgspec.structs.replace(CONFIG, canary_weights_percent=(10, 25, 50, 100))
    canary = declare(engine, config)["spec"]["strategy"]["canary"]
    assert [each["setWeight"] for each in canary["steps"] if "setWeight" in each] == [10, 25, 50]
    judges = {ref["templateName"] for each in canary["steps"] for ref in each.get("analysis", {}).get("templates", [])}
    assert judges == {engine.one("AnalysisTemplate", "inference-analysis")["metadata"]["name"]}
    root = canary["trafficRouting"]["alb"]["rootService"]
    [rule] = engine.one("Ingress", "inference")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": root, "port": {"name": "use-annotation"}}
    services = {each["metadata"]["name"] for each in engine.inputs("Service")}
    assert services == {root, *canary["pingPong"].values()}


def test_a_canary_is_judged_by_the_limits_of_its_own_release(engine: Engine):
    declare(engine, live=live(alert_limits=AlertLimits(drift_index_max=0.7)))
    declared = engine.one("AnalysisTemplate", "inference-analysis")["spec"]["metrics"]
    assert {each["name"]: each["failureCondition"] for each in declared}["score-shift"].endswith("> 0.7")


def test_the_way_back_takes_no_steps(engine: Engine):
    restoring = sealed(make_release(stack="dev", rollback_of="a" * 64))
    back = Live(release=restoring, text=encode_release(restoring).decode(), image=IMAGE)
    assert "steps" not in declare(engine, live=back)["spec"]["strategy"]["canary"]


def test_the_selectors_that_argo_rollouts_narrows_are_left_to_it(engine: Engine):
    declare(engine)
    ignored = {each.inputs["metadata"]["name"]: each.ignores for each in engine.resources("Service")}
    assert ignored == dict.fromkeys(("inference", "inference-ping", "inference-pong"), ("spec.selector",))


def test_without_a_canary_nobody_else_moves_the_selector(engine: Engine):
    declare(engine, ALL_AT_ONCE)
    assert [each.ignores for each in engine.resources("Service")] == [()]


def test_callers_within_the_cluster_get_no_canary(engine: Engine):
    canary = declare(engine)["spec"]["strategy"]["canary"]
    assert canary["stableService"] == engine.one("Ingress", "inference")["metadata"]["name"] == "inference"


def test_old_pods_outlive_the_balancers_farewell(engine: Engine):
    assert declare(engine)["spec"]["strategy"]["canary"]["scaleDownDelaySeconds"] > DEREGISTRATION_SECONDS


def test_the_balancer_is_internal_and_called_from_the_vpc_alone(engine: Engine):
    declare(engine, ALL_AT_ONCE)
    ingress = engine.one("Ingress", "inference")
    said = {key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()}
    assert (said["scheme"], said["inbound-cidrs"], said["healthcheck-path"]) == ("internal", *CALLERS, "/readyz")
    assert said["listen-ports"] == '[{"HTTP": 80}]'
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] == {"name": "http"}


def test_with_a_name_the_balancer_speaks_tls_only(engine: Engine):
    declare(engine, msgspec.structs.replace(CONFIG, host="churn.example.com"))
    ingress = engine.one("Ingress", "inference")
    said = ingress["metadata"]["annotations"]
    assert said["alb.ingress.kubernetes.io/listen-ports"] == '[{"HTTPS": 443}]'
    assert "TLS13" in said["alb.ingress.kubernetes.io/ssl-policy"]
    assert ingress["spec"]["rules"][0]["host"] == "churn.example.com"


@pytest.mark.parametrize(
    ("config", "inbound_cidrs"),
    [(msgspec.structs.replace(ALL_AT_ONCE, ingress="none"), CALLERS), (ALL_AT_ONCE, ())],
    ids=["not asked for", "nowhere to stand"],
)
def test_there_is_a_way_in_only_where_it_is_asked_for_and_possible(
    engine: Engine, config: InferenceConfig, inbound_cidrs: tuple[str, ...]
):
    declare(engine, config, inbound_cidrs=inbound_cidrs)
    assert not engine.resources("Ingress")


def test_a_drain_takes_no_more_replicas_than_the_objective_spares(engine: Engine):
    declare(engine)
    budget = engine.one("PodDisruptionBudget", "inference")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == {"matchLabels": {"app.kubernetes.io/name": "inference", "app.kubernetes.io/part-of": "churn"}}


@pytest.mark.parametrize("config", [ALL_AT_ONCE, CONFIG], ids=["deployment", "rollout"])
def test_selectors_find_the_pods_and_every_object_is_named_in_our_namespace(engine: Engine, config: InferenceConfig):
    found = declare(engine, config)
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert all(service["spec"]["selector"].items() <= labels.items() for service in engine.inputs("Service"))
    objects = [each.inputs for each in engine.plan.resources if each.type.startswith("kubernetes:")]
    assert {each["metadata"]["namespace"] for each in objects} == {"churn"}
    assert all(each["metadata"]["name"] for each in objects)


def test_no_map_is_empty_as_an_empty_one_is_a_change_at_every_preview(engine: Engine):
    def empty(value: Any) -> bool:
        if not isinstance(value, dict | list):
            return False
        return not value or any(map(empty, value.values() if isinstance(value, dict) else value))

    assert not empty(declare(engine))
    assert not any(empty(each.inputs) for each in engine.plan.resources if each.inputs.get("kind") == "ScaledObject")
