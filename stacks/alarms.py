"""Where alarms go, and the first of them: that the stack costs more than it may."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.config import AccountConfig
from stacks.documents import Document, policy
from stacks.tags import component_tags

# Of the budget: spent, and what AWS expects to have been spent at the month's end.
THRESHOLDS = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
BUDGETS = "budgets.amazonaws.com"


@dataclass(frozen=True, kw_only=True)
class AlarmsArgs:
    """The budget, who is told, whose account it is, and the key of messages on their way."""

    account: AccountConfig
    account_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]


class Alarms(pulumi.ComponentResource):
    """A topic with subscribers, each of whom confirms by a mail, and a budget that writes to it."""

    # Known only once its policy stands.
    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:alarms:Alarms", name, None, opts)
        child, tags = pulumi.ResourceOptions(parent=self), component_tags("delivery", name)
        # AWS's own key for topics lets no other service write.
        topic = aws.sns.Topic(name, kms_master_key_id=args.key_arn, tags=tags, opts=child)
        policy = aws.sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=pulumi.Output.all(topic.arn, args.account_id).apply(lambda each: json.dumps(topic_policy(each[0], each[1]))),
            opts=child,
        )
        for address in args.account.alert_emails:
            aws.sns.TopicSubscription(f"{name}-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=child)
        self.topic_arn = policy.arn
        self._budget(name, args.account.budget_usd_per_month)
        self.register_outputs({"topic_arn": self.topic_arn})

    def _budget(self, name: str, usd_per_month: int) -> None:
        stack = pulumi.get_stack()
        aws.budgets.Budget(
            name,
            name=f"churn-{stack}",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(usd_per_month),
            limit_unit="USD",
            # What carries the stack's tag. Bills know it once the payer has activated the tag as one for cost allocation.
            # https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:stack${stack}"]}],
            notifications=[
                {
                    "notification_type": kind,
                    "comparison_operator": "GREATER_THAN",
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_sns_topic_arns": [self.topic_arn],
                }
                for kind, percent in THRESHOLDS
            ],
            tags=component_tags("delivery", name),
            opts=pulumi.ResourceOptions(parent=self),
        )


def topic_policy(topic_arn: str, account_id: str) -> Document:
    """Who may write beside those whom the account's own policies name: AWS Budgets, on behalf of this account."""
    # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
    statement = {
        "Sid": "BudgetsWrite",
        "Effect": "Allow",
        "Principal": {"Service": BUDGETS},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {
            "StringEquals": {"aws:SourceAccount": account_id},
            "ArnLike": {"aws:SourceArn": f"arn:aws:budgets::{account_id}:*"},
        },
    }
    return policy(statement)
