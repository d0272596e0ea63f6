"""Other services at the same endpoint: those that are here in part, and those that are not."""

import os

import pytest

from identities import ACCOUNT, client, document, message, refusal

REGION = os.environ["AWS_REGION"]


def test_keys_are_found_by_their_tags(name):
    kms, tagging = client("kms"), client("resourcegroupstaggingapi")
    made = [
        kms.create_key(Tags=[{"TagKey": name, "TagValue": value}])["KeyMetadata"]["Arn"]
        for value in ["a", "b", "b"]
    ]

    def found(*values, size=50):
        pages = tagging.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": name, "Values": list(values)}],
            ResourceTypeFilters=["kms:key"],
            PaginationConfig={"PageSize": size},
        )
        return [one for page in pages for one in page["ResourceTagMappingList"]]

    assert sorted(one["ResourceARN"] for one in found(size=1)) == sorted(made)
    assert [one["ResourceARN"] for one in found("a")] == made[:1]
    assert found("a")[0]["Tags"] == [{"Key": name, "Value": "a"}]
    assert sorted(one["ResourceARN"] for one in found("b")) == sorted(made[1:])
    kms.untag_resource(KeyId=made[0], TagKeys=[name])
    assert found("a") == []
    listed = tagging.get_resources(ResourceARNList=made)["ResourceTagMappingList"]
    assert sorted(one["ResourceARN"] for one in listed) == sorted(made[1:])
    refused = refusal(tagging.get_resources, PaginationToken="x")
    assert refused == ("InvalidParameterException", 400)


def test_policies_decide_who_finds_keys_and_regions(name):
    iam = client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    tagging, ec2 = client("resourcegroupstaggingapi", key), client("ec2", key)
    assert refusal(tagging.get_resources) == ("AccessDeniedException", 400)
    assert refusal(ec2.describe_regions) == ("UnauthorizedOperation", 403)
    text = document(Action=["tag:GetResources", "ec2:DescribeRegions"], Resource="*")
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    tagging.get_resources()
    ec2.describe_regions()
    wrong = key | {"SecretAccessKey": "x" * 40}
    assert refusal(client("ec2", wrong).describe_regions) == ("AuthFailure", 401)


def test_the_regions_that_are_served():
    ec2 = client("ec2")
    regions = ec2.describe_regions(AllRegions=True)["Regions"]
    assert [region["RegionName"] for region in regions] == [REGION]
    wanted = [{"Name": "region-name", "Values": ["*-none-*"]}]
    assert ec2.describe_regions(Filters=wanted)["Regions"] == []
    assert refusal(ec2.describe_instances) == ("InvalidAction", 400)


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"),
    [
        ("secretsmanager", "list_secrets", {}, ("UnknownOperationException", 400)),
        ("dynamodb", "list_tables", {}, ("UnknownOperationException", 400)),
        ("sns", "list_topics", {}, ("InvalidAction", 400)),
        ("lambda", "list_functions", {}, ("UnknownOperationException", 404)),
        ("s3", "list_buckets", {}, ("NotImplemented", 501)),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, ("NotImplemented", 501)),
        ("route53", "list_hosted_zones", {}, ("InvalidAction", 400)),
        ("cloudwatch", "list_metrics", {}, None),
        # Of those whose clients speak nothing but CBOR.
        ("eventbridgev2", "list_event_buses", {}, ("UnknownOperationException", 400)),
        ("organizations", "describe_organization", {}, ("UnknownOperationException", 400)),
    ],
)
def test_what_is_not_here_says_so(service, operation, parameters, expected):
    """In the form that the client of the service reads, which is how its text is seen."""
    call = getattr(client(service), operation)
    if expected:
        assert refusal(call, **parameters) == expected
    text = message(call, **parameters)
    assert "is not here. This endpoint serves kms, iam and sts" in text
    assert ACCOUNT not in text
