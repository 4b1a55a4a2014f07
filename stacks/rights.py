"""Actions of AWS by what a deployment needs them for."""

# Services of which the program declares what it needs; by prefix where every kind of the service is one of its own.
# Neither keys nor secrets: what they keep is not for whoever deploys.
MANAGED = (
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteTags",
    "codebuild:*Project",
    "codebuild:*Webhook",
    "codeconnections:*Connection",
    "codeconnections:TagResource",
    "ec2:*",
    "ecr:*LifecyclePolicy",
    "ecr:*Repository",
    "ecr:PutImage*Configuration",
    "ecr:TagResource",
    "eks:*",
    # Flow logs: https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-iam.html
    "logs:*LogDelivery",
    "logs:*LogGroup",
    "logs:*RetentionPolicy",
    "logs:*KmsKey",
    "logs:TagResource",
    "rds:*",
    "sns:*",
)
# Of a key everything but its use, and giving a service of AWS the use of it for what it keeps.
KEYS = (
    "kms:CreateAlias",
    "kms:CreateKey",
    "kms:DeleteAlias",
    "kms:EnableKeyRotation",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
BUCKETS = (
    "s3:CreateBucket",
    "s3:DeleteBucket*",
    "s3:PutBucket*",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
)
# Questions about settings; none of them answers with what is kept.
QUESTIONS = (
    "autoscaling:Describe*",
    "budgets:ListTagsForResource",
    "budgets:ViewBudget",
    "codebuild:BatchGetProjects",
    "codeconnections:GetConnection",
    "codeconnections:ListTagsForResource",
    "ec2:Describe*",
    "ecr:DescribeRepositories",
    "ecr:GetLifecyclePolicy",
    "ecr:ListTagsForResource",
    "eks:Describe*",
    "eks:List*",
    "iam:Get*",
    "iam:List*",
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:List*",
    "logs:DescribeLogGroups",
    "logs:ListTags*",
    "rds:Describe*",
    "rds:ListTagsForResource",
    "s3:GetAccelerateConfiguration",
    "s3:GetBucket*",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",
    "s3:ListTagsForResource",
    "secretsmanager:DescribeSecret",
    "sns:Get*Attributes",
    "sns:List*",
)
# The services that a role of the program is for, and the roles that AWS keeps for its own.
ROLES_FOR = ("codebuild.amazonaws.com", "ec2.amazonaws.com", "eks.amazonaws.com", "pods.eks.amazonaws.com")
LINKED_FOR = ("autoscaling", "eks", "eks-nodegroup", "elasticloadbalancing", "rds", "spot")
# The components of the program that have roles, which are named after them.
ROLE_OWNERS = ("addons", "cluster", "monitoring", "roles", "runner")
# AWS's own policies that those roles get: with another one, a role could become an administrator's.
EKS_POLICIES = [
    f"arn:aws:iam::aws:policy/{each}"
    for each in ("AmazonEC2ContainerRegistryPullOnly", "AmazonEKS*", "service-role/AmazonEBSCSIDriverPolicy")
]
# What changes a role or an identity provider, by the beginnings of its names.
CHANGES = ("Add", "Attach", "Create", "Delete", "Detach", "Put", "Remove", "Tag", "Untag", "Update")
