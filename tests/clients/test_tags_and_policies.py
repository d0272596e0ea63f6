"""Tags and key policies."""

import json
import re

import pytest

from strongroom import pages, refused


def tags(**pairs):
    """Tags in the form of the API."""
    return [{"TagKey": key, "TagValue": value} for key, value in pairs.items()]


def read(kms, key, **page):
    """A key's tags as a dictionary."""
    found = {}
    for page in pages(kms.list_resource_tags, "Tags", KeyId=key, **page):
        found.update({tag["TagKey"]: tag["TagValue"] for tag in page})
    return found


def test_life_of_tags(kms):
    key = kms.create_key(Tags=tags(a="1", b="2"))["KeyMetadata"]["KeyId"]
    assert read(kms, key) == {"a": "1", "b": "2"}
    kms.tag_resource(KeyId=key, Tags=tags(b="", c="ä b+=._:/@-"))
    assert read(kms, key) == {"a": "1", "b": "", "c": "ä b+=._:/@-"}
    kms.untag_resource(KeyId=key, TagKeys=["a", "unknown"])
    assert read(kms, key) == {"b": "", "c": "ä b+=._:/@-"}


def test_fifty_to_a_key_in_pages(kms, symmetric):
    key = symmetric["KeyId"]
    fifty = {f"key{number:02}": str(number) for number in range(50)}
    kms.tag_resource(KeyId=key, Tags=tags(**fifty))
    assert read(kms, key, Limit=7) == fifty
    with refused("TagException", "Too many tags"):
        kms.tag_resource(KeyId=key, Tags=tags(one_more=""))
    kms.tag_resource(KeyId=key, Tags=tags(key00="changed"))
    assert read(kms, key) == {**fifty, "key00": "changed"}


@pytest.mark.parametrize(
    "bad",
    [
        [{"TagKey": "twice", "TagValue": "1"}, {"TagKey": "twice", "TagValue": "2"}],
        tags(**{"aws:mine": "x"}),
        tags(**{"AWS:mine": "x"}),
    ],
    ids=["twice", "reserved", "reserved in upper case"],
)
def test_bad_tags(kms, symmetric, bad):
    with refused("TagException"):
        kms.tag_resource(KeyId=symmetric["KeyId"], Tags=bad)
    with refused("TagException"):
        kms.create_key(Tags=bad)
    assert read(kms, symmetric["KeyId"]) == {}


@pytest.mark.parametrize("bad", [tags(**{"": "x"}), tags(**{"k" * 129: ""}), tags(k="v" * 257)])
def test_tags_of_a_wrong_length(raw, symmetric, bad):
    with refused("ValidationException", re.compile(r"at 'tags\.1\.member\.tag(Key|Value)' failed")):
        raw.tag_resource(KeyId=symmetric["KeyId"], Tags=bad)


def test_bad_listings_of_tags(kms, raw, symmetric):
    for limit in (0, 51, 1001):
        with refused("ValidationException"):
            raw.list_resource_tags(KeyId=symmetric["KeyId"], Limit=limit)
    with refused("InvalidMarkerException"):
        kms.list_resource_tags(KeyId=symmetric["KeyId"], Marker="nonsense")


def test_the_default_policy(kms, symmetric):
    answer = kms.get_key_policy(KeyId=symmetric["KeyId"])
    assert answer["PolicyName"] == "default"
    [statement] = json.loads(answer["Policy"])["Statement"]
    root = f"arn:aws:iam::{symmetric['AWSAccountId']}:root"
    assert statement["Effect"] == "Allow"
    assert statement["Principal"] == {"AWS": root}
    assert statement["Action"] == "kms:*"
    assert statement["Resource"] == "*"


def policy_of(key, **changes):
    """The default policy, with members of its statement replaced."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{key['AWSAccountId']}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **changes}]})


def test_a_policy_is_kept_as_it_was_put(kms, symmetric):
    policy = policy_of(symmetric, Sid="mine")
    kms.put_key_policy(KeyId=symmetric["KeyId"], PolicyName="default", Policy=policy)
    answer = kms.get_key_policy(KeyId=symmetric["KeyId"], PolicyName="default")
    assert json.loads(answer["Policy"]) == json.loads(policy)
    kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")
    made = kms.create_key(Policy=policy)["KeyMetadata"]
    assert json.loads(kms.get_key_policy(KeyId=made["KeyId"])["Policy"]) == json.loads(policy)


@pytest.mark.parametrize("bad", ["", "{", "[]", "{}", '{"Version":"2012-10-17"}', '"x"', "null"])
def test_policies_that_are_none(raw, symmetric, bad):
    wanted = "MalformedPolicyDocumentException" if bad else "ValidationException"
    with refused(wanted):
        raw.put_key_policy(KeyId=symmetric["KeyId"], Policy=bad)
    with refused(wanted):
        raw.create_key(Policy=bad)


@pytest.mark.parametrize(
    "changes",
    [
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Effect": "Deny"},
        {"Effect": "Perhaps"},
        {"Action": "kms:Decrypt"},
    ],
    ids=str,
)
def test_a_policy_may_not_lock_its_author_out(kms, symmetric, changes):
    with refused("MalformedPolicyDocumentException"):
        kms.put_key_policy(KeyId=symmetric["KeyId"], Policy=policy_of(symmetric, **changes))
    kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")


def test_a_policy_that_is_too_long(kms, symmetric):
    policy = policy_of(symmetric, Sid="x" * 32768)
    with refused("LimitExceededException"):
        kms.put_key_policy(KeyId=symmetric["KeyId"], Policy=policy)


def test_only_the_default_policy_can_be_named(kms, symmetric):
    with refused("NotFoundException"):
        kms.get_key_policy(KeyId=symmetric["KeyId"], PolicyName="other")
