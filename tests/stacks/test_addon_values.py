from typing import Any, cast

import pytest

from stacks.addon_values import OTHER_ROUTERS, Place, Values, autoscaler, balancer, keda, log_shipping, rollouts

PLACE = Place(cluster_name="churn-test", region="eu-west-1", vpc_id="vpc", subnet_ids=["one", "two"], tags={"stack": "test"})


def at(values: Values, path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = cast("dict[str, Any]", found)[key]
    return found


def sections(text: str) -> list[dict[str, str]]:
    """The settings of every section in Fluent Bit's classic form."""
    blocks = [block.splitlines()[1:] for block in text.split("[")[1:] if "\n" in block]
    return [dict(line.strip().split(maxsplit=1) for line in block) for block in blocks if block]


def test_no_ingress_can_open_a_balancer_to_the_internet():
    assert at(balancer(PLACE), "ingressClassParams.spec") == {"scheme": "internal", "subnets": {"ids": ["one", "two"]}}


def test_balancers_send_to_pods_and_carry_the_stacks_tags():
    assert at(balancer(PLACE), "defaultTargetType") == "ip"
    assert at(balancer(PLACE), "defaultTags") == {"stack": "test"}


def test_no_service_waits_for_the_balancers_controller():
    assert at(balancer(PLACE), "enableServiceMutatorWebhook") is False


def test_the_autoscaler_looks_for_this_cluster_and_can_empty_nodes_of_our_pods():
    values = autoscaler(PLACE)
    assert at(values, "autoDiscovery.clusterName") == "churn-test"
    assert at(values, "extraArgs")["skip-nodes-with-local-storage"] is False


def test_keda_scales_rollouts_and_reads_nobody_elses_secrets():
    assert at(keda(), "rbac.scaledRefKinds") == [{"apiGroup": "argoproj.io", "kind": "rollouts"}]
    assert all(at(keda(), f"permissions.{part}.restrict.secret") is True for part in ("operator", "metricServer"))


def test_a_canary_moves_on_once_the_balancer_has_its_pods():
    values = rollouts("eu-west-1")
    assert at(values, "controller.awsVerifyTargetGroup") is True
    assert at(values, "providerRBAC.providers") == dict.fromkeys(OTHER_ROUTERS, False)


@pytest.mark.parametrize(
    ("values", "count", "budget"),
    [
        (autoscaler(PLACE), "replicaCount", None),
        (balancer(PLACE), "replicaCount", "podDisruptionBudget.maxUnavailable"),
        (keda(), "operator.replicaCount", "podDisruptionBudget.operator.maxUnavailable"),
        (keda(), "metricsServer.replicaCount", "podDisruptionBudget.metricServer.maxUnavailable"),
        (rollouts("eu-west-1"), "controller.replicas", "controller.pdb.maxUnavailable"),
    ],
    ids=["autoscaler, whose chart has a budget", "balancer", "keda", "keda's metrics", "rollouts"],
)
def test_a_controller_survives_the_loss_of_a_node(values: Values, count: str, budget: str | None):
    assert at(values, count) == 2
    assert budget is None or at(values, budget) == 1


def test_a_log_line_goes_to_the_group_as_it_was_printed_in_a_stream_of_its_container():
    config = at(log_shipping("/group", "eu-west-1"), "config")
    [output] = sections(config["outputs"].replace("['", "<").replace("']", ">"))
    assert (output["log_group_name"], output["log_key"], output["auto_create_group"]) == ("/group", "log", "Off")
    assert "$kubernetes<container_name>" in output["log_stream_template"]
    [names] = sections(config["filters"])
    assert (names["Annotations"], names["Labels"]) == ("Off", "Off")


def test_logs_are_taken_from_every_node_whatever_it_is_kept_for():
    assert at(log_shipping("/group", "eu-west-1"), "tolerations") == [{"operator": "Exists"}]
