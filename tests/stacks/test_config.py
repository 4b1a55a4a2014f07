import json
from hashlib import sha256
from ipaddress import IPv4Network
from itertools import combinations

import pytest

from app.access import TokenHashes
from policies.config import load
from policies.pack import RULES
from policies.pods import Clients
from stacks.config import KEYS, read, stacks
from stacks.plan import values_of
from stacks.reading import ConfigError


def problems(**changes: str | None) -> list[str]:
    """What is wrong with prod's values after changes, `network__vpcCidr`; None takes a key out."""
    values = values_of("prod") | {name.replace("__", ":"): value for name, value in changes.items() if value is not None}
    for name in (name for name, value in changes.items() if value is None):
        del values[name.replace("__", ":")]
    with pytest.raises(ConfigError) as caught:
        read("prod", values)
    return list(caught.value.problems)


@pytest.mark.parametrize("stack", stacks())
def test_the_values_of_every_stack_are_good(stack: str):
    assert read(stack, values_of(stack)).stack == stack


def test_no_two_stacks_overlap_and_each_reserves_the_others():
    networks = [config.aws.network for stack in stacks() if (config := read(stack, values_of(stack))).aws]
    for one, other in combinations(networks, 2):
        assert not one.vpc_cidr.overlaps(other.vpc_cidr)
        assert other.vpc_cidr in one.reserved_cidrs
        assert one.vpc_cidr in other.reserved_cidrs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network__vpcCidr": "10.30.0.0/24"}, ["network:vpcCidr is 10.30.0.0/24", "/16 to /20, such as 10.20.0.0/16"]),
        ({"network__vpcCidr": "10.0.0.0/8", "network__reservedCidrs": "[]"}, ["network:vpcCidr is 10.0.0.0/8", "/16 to /20"]),
        ({"network__vpcCidr": "52.0.0.0/16"}, ["52.0.0.0/16", "public"]),
        ({"network__vpcCidr": "10.30.1.0/16"}, ["has host bits set", "10.20.0.0/16"]),
        ({"network__vpcCidr": "10.20.16.0/20"}, ["overlaps 10.20.0.0/16", "such as 10.0.0.0/20"]),
        (
            {"network__vpcCidr": "10.20.0.0/16", "network__reservedCidrs": '["10.0.0.0/8"]'},
            ["overlaps 10.0.0.0/8", "fewer reserved"],
        ),
        ({"network__zones": '["eu-west-1a", "eu-west-1b", "us-east-1c"]'}, ["us-east-1c", "give eu-west-1c"]),
        ({"network__zones": '["eu-west-1a", "eu-west-1b", "eu-west-1b"]'}, ["eu-west-1b more than once"]),
        ({"network__zones": '["eu-west-1a", "eu-west-1b"]'}, ["has 2", "database:multiZone", "give 3"]),
        ({"network__zones": '["eu-west-1a"]', "database__multiZone": "false"}, ["has 1", "give 2"]),
        ({"network__zones": "eu-west-1a"}, ["network:zones is eu-west-1a: no list", "such as [\"eu-west-1a\""]),
        ({"network__zones": '["eu-west-1z"]'}, ["expected text of another form - at $[0]", "such as [\"eu-west-1a\""]),
        ({"network__nat": "two"}, ["network:nat is two", "give one of: one, per-zone"]),
        ({"network__interfaceEndpoints": '["s4"]'}, ["network:interfaceEndpoints", "'s4'", "such as [\"ecr.api\""]),
        ({"database__majorVersion": "99"}, ["database:majorVersion is 99", "such as 17"]),
        ({"database__instanceClass": "db.t4g.mikro"}, ["db.t4g.mikro", "such as db.t4g.micro"]),
        ({"database__storageGib": "50 GiB"}, ["is 50 GiB", "the number alone", "such as 20"]),
        ({"database__storageGib": "5"}, ["is 5", ">= 20"]),
        ({"database__storageMaxGib": "54"}, ["is 54", "give 55 or more"]),
        ({"database__storageGib": None, "database__storage": "50"}, ["no unit; give database:storageGib", "is missing"]),
        ({"network__natt": "one"}, ["network:natt is one", "give network:nat"]),
        ({"colour__of": "blue"}, ["colour:of is blue", "take it out"]),
        ({"churn__owner": None}, ["churn:owner is missing", "such as retention-team"]),
        ({"churn__owner": ""}, ["churn:owner is empty"]),
        ({"account__region": "cn-north-1"}, ["account:region is cn-north-1", "such as eu-west-1"]),
        ({"account__alertEmails": '["nobody"]'}, ["account:alertEmails", 'such as ["team@example.com"]']),
        ({"churn__platform": "azure"}, ["churn:platform is azure", "give one of: aws, kubeconfig"]),
        ({"cluster__systemInstanceType": "m6i.huge"}, ["cluster:systemInstanceType is m6i.huge", "such as m"]),
        ({"cluster__systemNodesMax": "2"}, ["cluster:systemNodesMax is 2", "give 3 or more"]),
        ({"cluster__publicAccessCidrs": '["0.0.0.0/0"]'}, ["names 0.0.0.0/0", "such as 203.0.113.7/32"]),
        ({"cluster__adminRoles": "[]"}, ["cluster:adminRoles is empty", "such as churn-operator"]),
        ({"cluster__viewerRoles": '["churn-operator"]'}, ["name churn-operator more than once", "in one of them"]),
        ({"cluster__version": "1.34"}, ["cluster:version is 1.34", "stacks/pins.py", "give 1.35"]),
        ({"cluster__systemInstanceType": "m7g.large"}, ["name m7g.large", "is Arm", "such as m6i.large"]),
        ({"cluster__trainingInstanceTypes": '["m6i.xlarge", "c6gn.xlarge"]'}, ["name c6gn.xlarge", "such as m6i.large"]),
        ({"inference__canaryWeightsPercent": "[50, 10]"}, ["is [50, 10]", "such as [10, 25, 50, 100]"]),
        ({"inference__ingress": "none"}, ["inference:ingress is none", "give internal"]),
        ({"inference__peakRequests": "5"}, ["inference:peakRequests is 5", "give inference:peakRequestsPerSecond"]),
        ({"storage__protected": "perhaps"}, ["storage:protected is perhaps", "such as true"]),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_what_was_found_and_what_to_give(changes: dict[str, str | None], said: list[str]):
    found = " | ".join(problems(**changes))
    assert all(each in found for each in said), found


def test_every_mistake_is_reported_at_once():
    found = problems(network__vpcCidr="x", database__instanceClass="y", storage__protectd="true", account__region="eu-west-2")
    assert [each.split()[0] for each in found[:3]] == [
        "storage:protectd",
        "network:vpcCidr",
        "database:instanceClass",
    ]
    assert sum("eu-west-2" in each for each in found) == 3


def test_an_unknown_stack_is_told_which_stacks_there_are():
    with pytest.raises(ConfigError, match=r"no Pulumi\.qa\.yaml.*dev, local, prod, staging"):
        read("qa", values_of("qa"))


def test_what_the_engine_reads_itself_is_left_to_it():
    assert read("dev", values_of("dev") | {"pulumi:tags": "{}"}).stack == "dev"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_has_an_example_that_would_do(key):
    example = key.example
    assert key.parse(example) is not None


def test_the_typed_form_has_real_types():
    own = read("dev", values_of("dev")).aws
    assert own
    network = own.network
    assert network.vpc_cidr == IPv4Network("10.10.0.0/16")
    assert list(network.zones) == json.loads(values_of("dev")["network:zones"])
    assert network.nat_zones == network.zones[:1]


def test_a_stack_on_a_kubeconfig_has_no_values_of_aws():
    with pytest.raises(ConfigError, match=r"account:region is eu-west-1, but no such key is read"):
        read("local", values_of("local") | {"account:region": "eu-west-1"})


def test_a_tracking_server_on_a_volume_has_one_replica():
    with pytest.raises(ConfigError, match=r"tracking:replicas is 2 with churn:platform kubeconfig.*give 1"):
        read("local", values_of("local") | {"tracking:replicas": "2"})


def test_alerts_start_a_workflow_only_from_where_github_can_be_reached():
    repository = {"monitoring:retrainRepository": "retention-team/churn"}
    with pytest.raises(
        ConfigError, match=r"retrainRepository is retention-team/churn with churn:platform kubeconfig.*take it out"
    ):
        read("local", values_of("local") | repository)
    assert read("prod", values_of("prod") | repository).monitoring.retrain_repository == "retention-team/churn"


HASH = "1" * 64


@pytest.mark.parametrize(
    ("hashes", "said"),
    [
        ({"predict": ["churn_secret"]}, ["text of another form - at $.predict[0]", 'such as {"predict":["']),
        ({"predikt": [HASH]}, ["unknown field predikt", 'such as {"predict":["']),
        ({"predict": HASH}, ["expected array, got str - at $.predict", 'such as {"predict":["']),
        ({"predict": [HASH, HASH]}, [f"names {HASH} more than once for predict", "give it once"]),
        ({"operate": [sha256().hexdigest()]}, ["for operate, the hash of nothing", "`python -m app.access`"]),
        ({"predict": [f"{i:064x}" for i in range(101)]}, ["has 101 hashes", "give 100 at most"]),
        ("[", ["inference:tokenHashes is [: no map", 'such as {"predict":["']),
    ],
    ids=["a token", "no role", "no list", "twice", "of nothing", "too many", "no map"],
)
def test_hashes_that_let_nobody_or_anybody_in_are_refused(hashes: object, said: list[str]):
    [problem] = problems(inference__tokenHashes=hashes if isinstance(hashes, str) else json.dumps(hashes))
    assert all(part in problem for part in ("inference:tokenHashes ", *said)), problem


def test_a_token_may_have_several_roles_and_a_role_several_tokens():
    given = {"predict": [HASH, "2" * 64], "operate": [HASH]}
    read_hashes = read("dev", values_of("dev") | {"inference:tokenHashes": json.dumps(given)}).inference.token_hashes
    assert read_hashes == TokenHashes(predict=[HASH, "2" * 64], operate=[HASH])


@pytest.mark.parametrize("stack", stacks())
def test_staging_and_prod_ask_for_tokens(stack: str):
    asks = read(stack, values_of(stack)).inference.token_hashes is not None
    wanted = load(stack, RULES)["pod-clients"]
    assert isinstance(wanted, Clients)
    assert asks == wanted.tokens == (stack in ("staging", "prod"))


def test_the_example_of_an_address_that_may_reach_the_control_plane_is_taken():
    assert read("dev", values_of("dev") | {"cluster:publicAccessCidrs": '["203.0.113.7/32"]'}).aws
