"""Kubernetes' own kinds against the schemas that Kubernetes publishes; tests/cluster has a server judge all of them."""

import kubernetes_validate
import pytest

from stacks.manifests import manifests
from stacks.pins import KUBERNETES
from stacks.record import Plan

CUSTOM = ("argoproj.io", "keda.sh", "monitoring.coreos.com", "secrets-store.csi.x-k8s.io")


def test_every_object_keeps_to_the_schema_of_the_clusters_version(everywhere: Plan):
    known = [each for _, each in manifests(everywhere) if each["apiVersion"].partition("/")[0] not in CUSTOM]
    assert len(known) > 20
    for each in known:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_a_misspelt_field_does_not_keep_to_it(everywhere: Plan):
    [claim, *_] = [each for _, each in manifests(everywhere) if each["kind"] == "NetworkPolicy"]
    with pytest.raises(kubernetes_validate.ValidationError, match="policyTypo"):
        kubernetes_validate.validate({**claim, "spec": {**claim["spec"], "policyTypo": []}}, KUBERNETES, strict=True)
