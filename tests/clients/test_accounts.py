"""Keys that another account uses, by boto3, and what both accounts find in the audit log."""

import json
import os
import urllib.parse
import uuid

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from test_iam import ACCOUNT, DATA, ENDPOINT, client, document, message, refusal, trust

UNIFORM = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this "
    "region, or you are not allowed to access."
)


def create_account():
    """A new account, and the access key of its root: an operation of Strongroom's own."""
    body = urllib.parse.urlencode({"Action": "CreateAccount", "Version": "2026-11-26"})
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"
    }  # fmt: skip
    request = AWSRequest("POST", ENDPOINT, headers=headers, data=body)
    credentials = boto3.Session().get_credentials()
    SigV4Auth(credentials, "strongroom", os.environ["AWS_REGION"]).add_auth(request)
    response = URLLib3Session().send(request.prepare())
    assert response.status_code == 200, response.text
    made = json.loads(response.text)["CreateAccountResponse"]["CreateAccountResult"]
    return made["Account"]["Id"], made["AccessKey"]


class Other:
    """An account with a user and a role, which the user may assume."""

    def __init__(self):
        self.account, self.root = create_account()
        self.iam = client("iam", self.root)
        self.user = self.iam.create_user(UserName="eve")["User"]["Arn"]
        self.key = self.iam.create_access_key(UserName="eve")["AccessKey"]
        policy = trust(self.user)
        role = self.iam.create_role(RoleName="ops", AssumeRolePolicyDocument=policy)["Role"]
        self.role, self.role_id = role["Arn"], role["RoleId"]
        sts = client("sts", self.key)
        session = sts.assume_role(RoleArn=self.role, RoleSessionName="work")["Credentials"]
        self.clients = {
            "user": client("kms", self.key),
            "role": client("kms", session),
            "root": client("kms", self.root),
        }

    def let_them(self, action):
        """Gives user and role an identity policy."""
        text = document(Action=action, Resource="*")
        self.iam.put_user_policy(UserName="eve", PolicyName="p", PolicyDocument=text)
        self.iam.put_role_policy(RoleName="ops", PolicyName="p", PolicyDocument=text)

    def who_may(self, call, **parameters):
        """Those for whom the call does not end in `AccessDeniedException`."""
        may = set()
        for name, kms in self.clients.items():
            try:
                getattr(kms, call)(**parameters)
                may.add(name)
            except kms.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDeniedException"
        return may


@pytest.fixture
def other():
    return Other()


def shared_key(kms, *statements):
    """A key with statements beside the one of its account."""
    own = {"Principal": {"AWS": ACCOUNT}, "Action": "kms:*"}
    statements = [{"Effect": "Allow", "Resource": "*", **one} for one in [own, *statements]]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return kms.create_key(Policy=text)["KeyMetadata"]["Arn"]


def denied(arn, action):
    return (
        f"User: {arn} is not authorized to perform: kms:{action} on this resource because the "
        "resource does not exist in this Region, no resource-based policies allow access, or a "
        "resource-based policy explicitly denies access"
    )


def test_both_accounts_have_to_allow(kms, other):
    everyone = {"StringEquals": {"kms:CallerAccount": other.account}}
    for principal, condition, allowed in [
        (other.user, {}, {"user"}),
        (other.role, {}, {"role"}),
        (other.account, {}, {"user", "role", "root"}),
        ("*", everyone, {"user", "role", "root"}),
    ]:
        statement = {"Principal": {"AWS": principal}, "Action": "kms:Encrypt"}
        key = shared_key(kms, statement | {"Condition": condition})
        encrypt = {"KeyId": key, "Plaintext": b"x"}
        other.let_them("kms:Decrypt")
        assert other.who_may("encrypt", **encrypt) == allowed & {"root"}
        other.let_them("kms:*")
        assert other.who_may("encrypt", **encrypt) == allowed
        assert other.who_may("describe_key", KeyId=key) == set()


def test_a_closed_key_and_a_missing_one(kms, other, alias):
    other.let_them("kms:*")
    key = shared_key(kms)
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    start = key.rsplit(":", 1)[0]
    names = [key, f"{start}:key/{uuid.uuid4()}", f"{start}:{alias}", f"{start}:{alias}-none",
             f"{start}:alias/aws/s3"]  # fmt: skip
    kms_of_user = other.clients["user"]
    for name in names:
        assert message(kms_of_user.describe_key, KeyId=name) == denied(other.user, "DescribeKey")
        text = message(kms_of_user.encrypt, KeyId=name, Plaintext=b"x")
        assert text == denied(other.user, "Encrypt")
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert message(kms_of_user.decrypt, CiphertextBlob=blob) == UNIFORM


def test_ciphertexts_and_aliases(kms, other, alias):
    other.let_them("kms:*")
    statement = {"Principal": {"AWS": other.account}, "Action": "kms:*"}
    key = shared_key(kms, statement)
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    arn = f"{key.rsplit(':', 1)[0]}:{alias}"
    user = other.clients["user"]
    metadata = user.describe_key(KeyId=arn)["KeyMetadata"]
    assert (metadata["Arn"], metadata["AWSAccountId"]) == (key, ACCOUNT)
    blob = user.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    answer = user.decrypt(CiphertextBlob=blob)
    assert (answer["Plaintext"], answer["KeyId"]) == (b"x", key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    own = user.create_key()["KeyMetadata"]["Arn"]
    moved = user.re_encrypt(CiphertextBlob=blob, DestinationKeyId=own)
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key, own)
    assert message(kms.decrypt, CiphertextBlob=moved["CiphertextBlob"]) == UNIFORM
    assert [entry["KeyArn"] for entry in user.list_keys()["Keys"]] == [own]
    for call, parameters in [
        ("disable_key", {}),
        ("schedule_key_deletion", {}),
        ("get_key_policy", {"PolicyName": "default"}),
        ("list_resource_tags", {}),
        ("list_key_rotations", {}),
        ("create_alias", {"AliasName": alias}),
    ]:
        named = {"TargetKeyId" if call == "create_alias" else "KeyId": key}
        assert refusal(getattr(user, call), **named, **parameters) == ("AccessDeniedException", 400)


def test_grants(kms, other):
    key = shared_key(kms)
    encrypt = {"KeyId": key, "Plaintext": b"x"}
    for grantee, allowed in [(other.user, {"user"}), (other.role, {"role"}), (other.account, {"root"})]:
        grant = kms.create_grant(
            KeyId=key, GranteePrincipal=grantee, RetiringPrincipal=other.user,
            Operations=["Encrypt"],
        )  # fmt: skip
        assert other.who_may("encrypt", **encrypt) == allowed
        named = {"KeyId": key, "GrantId": grant["GrantId"]}
        assert message(other.clients["role"].retire_grant, **named) == denied(
            f"arn:aws:sts::{other.account}:assumed-role/ops/work", "RetireGrant"
        )
        other.let_them("kms:ListRetirableGrants")
        listed = other.clients["user"].list_retirable_grants(RetiringPrincipal=other.user)["Grants"]
        assert [(one["KeyId"], one["GrantId"]) for one in listed] == [(key, grant["GrantId"])]
        other.clients["user"].retire_grant(**named)
        assert other.who_may("encrypt", **encrypt) == set()


def records(key):
    """The records of the audit log that name a key."""
    files = sorted(DATA.glob("audit/*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    named = [line["record"] for line in lines if key in json.dumps(line["record"])]
    return [record for record in named if record["eventName"] == "Encrypt"]


def test_a_use_is_recorded_in_both_accounts_and_a_refusal_in_one(kms, other):
    key = shared_key(kms, {"Principal": {"AWS": other.role}, "Action": "kms:Encrypt"})
    other.let_them("kms:*")
    other.clients["role"].encrypt(KeyId=key, Plaintext=b"x")
    refusal(other.clients["user"].encrypt, KeyId=key, Plaintext=b"x")
    copy, used, refused = records(key)
    assert [record["recipientAccountId"] for record in (copy, used, refused)] == [
        ACCOUNT, other.account, other.account,
    ]  # fmt: skip
    assert copy["sharedEventID"] == used["sharedEventID"]
    assert copy["eventID"] != used["eventID"]
    assert copy["userIdentity"] == {
        "type": "AWSAccount",
        "principalId": f"{other.role_id}:work",
        "accountId": other.account,
    }
    assert used["userIdentity"]["type"] == "AssumedRole"
    assert copy["resources"] == used["resources"]
    assert copy["resources"][0]["accountId"] == ACCOUNT
    assert refused["errorCode"] == "AccessDenied" and refused["resources"] == []
    assert "sharedEventID" not in refused
    usage = kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]
    assert usage["CloudTrailEventId"] == copy["eventID"]
