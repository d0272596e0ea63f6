"""Identities: IAM and STS by boto3 and the AWS CLI, and a profile that assumes a role.

Run twice on one data directory, with a restart of the daemon in between: what the first run leaves
in `KEPT` is what the second begins with.
"""

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from identities import ACCOUNT, ENDPOINT, client, document, message, refusal, trust

DATA = pathlib.Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).parent
#: What the run before a restart has made, with secrets of nobody.
KEPT = DATA / "kept-by-test-iam.json"
#: Where the daemon keeps things.
KEEPS = ["store.redb", "audit"]


def make_account():
    """A new account, by Strongroom's own API: its id and the access key of its root."""
    body = "Action=CreateAccount&Version=2026-11-26"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    request = AWSRequest("POST", ENDPOINT, headers, body)
    credentials = boto3.Session().get_credentials()
    SigV4Auth(credentials, "strongroom", os.environ["AWS_REGION"]).add_auth(request)
    made = urllib.request.Request(ENDPOINT, body.encode(), dict(request.headers), method="POST")
    with urllib.request.urlopen(made, timeout=600) as answer:
        result = json.load(answer)["CreateAccountResponse"]["CreateAccountResult"]
    return result["Account"]["Id"], result["AccessKey"]


def aws(*arguments, **environment):
    """The parsed output of `aws …`, with IAM and STS at this endpoint."""
    tool = os.path.join(os.path.dirname(sys.executable), "aws")
    variables = {"AWS_ENDPOINT_URL_IAM": ENDPOINT, "AWS_ENDPOINT_URL_STS": ENDPOINT}
    command = [sys.executable, tool, "--output", "json", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | variables | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def on_disk(secret):
    """Files of the daemon that have `secret` in them."""
    files = [file for name in KEEPS for file in [DATA / name, *DATA.glob(f"{name}/*")]]
    files = [file for file in files if file.is_file()]
    assert len(files) >= 2
    return [file.name for file in files if secret.encode() in file.read_bytes()]


def test_what_was_made_before_the_restart(iam):
    if not KEPT.exists():
        name = "kept"
        user = iam.create_user(UserName=name, Path="/team/")["User"]
        key = iam.create_access_key(UserName=name)["AccessKey"]
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(user["Arn"]))["Role"]
        sts = client("sts", key)
        session = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="kept")["Credentials"]
        KEPT.write_text(json.dumps({"key": key, "session": session}, default=str))
    kept = json.loads(KEPT.read_text())
    sts = client("sts", kept["key"])
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/kept"
    identity = client("sts", kept["session"]).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/kept/kept"
    for secret in [kept["key"]["SecretAccessKey"], kept["session"]["SecretAccessKey"],
                   kept["session"]["SessionToken"]]:  # fmt: skip
        assert on_disk(secret) == []
    assert on_disk(kept["key"]["AccessKeyId"]), "the id, which is no secret, is there"


def test_users(iam, name):
    before = time.time()
    made = iam.create_user(UserName=name, Path="/a/b/")["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/a/b/{name}"
    assert made["UserId"].startswith("AIDA") and len(made["UserId"]) == 20
    assert before - 1 <= made["CreateDate"].timestamp() <= time.time()
    assert iam.get_user(UserName=name)["User"] == made
    assert refusal(iam.create_user, UserName=name.upper()) == ("EntityAlreadyExists", 409)
    pages = iam.get_paginator("list_users").paginate(
        PathPrefix="/a/", PaginationConfig={"PageSize": 1}
    )
    assert [user for page in pages for user in page["Users"]] == [made]
    iam.delete_user(UserName=name)
    assert refusal(iam.get_user, UserName=name) == ("NoSuchEntity", 404)
    assert refusal(iam.list_instance_profiles) == ("InvalidAction", 400)
    assert refusal(client("sts").get_federation_token, Name=name) == ("InvalidAction", 400)


def test_an_access_key_counts_until_it_is_disabled(iam, user):
    key, name = user["Key"], user["UserName"]
    assert key["AccessKeyId"].startswith("AKIA") and len(key["SecretAccessKey"]) == 40
    sts = client("sts", key)
    expected = {"Account": ACCOUNT, "Arn": user["Arn"], "UserId": user["UserId"]}
    identity = sts.get_caller_identity()
    assert {member: identity[member] for member in expected} == expected
    named = {"UserName": name, "AccessKeyId": key["AccessKeyId"]}
    iam.update_access_key(**named, Status="Inactive")
    assert refusal(sts.get_caller_identity) == ("InvalidClientTokenId", 403)
    assert refusal(client("kms", key).list_keys) == ("UnrecognizedClientException", 400)
    listed = iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
    assert [key["Status"] for key in listed] == ["Inactive"]
    iam.update_access_key(**named, Status="Active")
    assert sts.get_caller_identity()["Arn"] == user["Arn"]
    assert refusal(iam.delete_user, UserName=name) == ("DeleteConflict", 409)
    iam.delete_access_key(**named)
    assert refusal(sts.get_caller_identity) == ("InvalidClientTokenId", 403)
    assert on_disk(key["SecretAccessKey"]) == []
    iam.delete_user(UserName=name)


def test_wrong_signatures(user):
    wrong = user["Key"] | {"SecretAccessKey": "x" * 40}
    assert refusal(client("sts", wrong).get_caller_identity) == ("SignatureDoesNotMatch", 403)
    unknown = wrong | {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}
    assert refusal(client("iam", unknown).list_users) == ("InvalidClientTokenId", 403)


def test_a_user_is_denied_everything_else(user):
    key = user["Key"]
    assert refusal(client("iam", key).list_users) == ("AccessDenied", 403)
    text = message(client("kms", key).list_keys)
    assert text == (
        f"User: {user['Arn']} is not authorized to perform: kms:ListKeys because no identity-based "
        "policy allows the kms:ListKeys action"
    )
    assert refusal(client("kms", key).create_key) == ("AccessDeniedException", 400)


def test_a_user_uses_keys_by_policies(iam, user, name):
    root, kms = client("kms"), client("kms", user["Key"])
    key = root.create_key()["KeyMetadata"]
    use = {"KeyId": key["KeyId"], "Plaintext": b"x"}
    assert message(kms.encrypt, **use) == (
        f"User: {user['Arn']} is not authorized to perform: kms:Encrypt on resource: {key['Arn']} "
        "because no identity-based policy allows the kms:Encrypt action"
    )
    only = {"StringEquals": {"kms:EncryptionContext:user": "${aws:username}"}}
    text = document(Action=["kms:Encrypt", "kms:Decrypt"], Resource=key["Arn"], Condition=only)
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=text)
    own = {"user": user["UserName"]}
    blob = kms.encrypt(**use, EncryptionContext=own)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=own)["Plaintext"] == b"x"
    assert refusal(kms.encrypt, **use) == ("AccessDeniedException", 400)
    other = root.create_key()["KeyMetadata"]["KeyId"]
    denied = refusal(kms.encrypt, KeyId=other, Plaintext=b"x", EncryptionContext=own)
    assert denied == ("AccessDeniedException", 400)
    iam.delete_user_policy(UserName=user["UserName"], PolicyName="p")
    assert refusal(kms.encrypt, **use, EncryptionContext=own) == ("AccessDeniedException", 400)

    # By the key's policy, then by a grant.
    of_root = {
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"
    }  # fmt: skip
    named = of_root | {"Principal": {"AWS": user["Arn"]}, "Action": "kms:Encrypt"}
    for statements, allowed in [([of_root, named], True), ([of_root], False)]:
        text = json.dumps({"Version": "2012-10-17", "Statement": statements})
        root.put_key_policy(KeyId=key["KeyId"], Policy=text)
        if allowed:
            kms.encrypt(**use)
        else:
            assert refusal(kms.encrypt, **use) == ("AccessDeniedException", 400)
    grant = root.create_grant(
        KeyId=key["KeyId"], GranteePrincipal=user["Arn"], Operations=["Encrypt", "RetireGrant"]
    )
    kms.encrypt(**use)
    kms.retire_grant(KeyId=key["Arn"], GrantId=grant["GrantId"])
    assert refusal(kms.encrypt, **use) == ("AccessDeniedException", 400)
    nobody = of_root | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody-{name}"}}
    text = json.dumps({"Version": "2012-10-17", "Statement": [of_root, nobody]})
    refused = refusal(root.put_key_policy, KeyId=key["KeyId"], Policy=text)
    assert refused == ("MalformedPolicyDocumentException", 400)


def test_conditions_are_about_the_request(iam, user, name):
    root, kms = client("kms"), client("kms", user["Key"])
    alias, red = f"alias/{name}", [{"TagKey": "team", "TagValue": "red"}]

    def allow(action, **condition):
        return {"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition}

    plain = {"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "aws:RequestTag/team": "red"}}
    statements = [
        allow("kms:CreateKey", **plain),
        allow("kms:TagResource", **{"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}),
        allow("kms:Encrypt", **{"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}),
        allow("kms:ScheduleKeyDeletion", NumericGreaterThanEquals={
            "kms:ScheduleKeyDeletionPendingWindowInDays": 30,
            "kms:TrailingDaysWithoutKeyUsage": 0}),
    ]  # fmt: skip
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=text)
    denied = ("AccessDeniedException", 400)
    assert refusal(kms.create_key) == denied
    signing = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    assert refusal(kms.create_key, Tags=red, **signing) == denied
    other = {"TagKey": "cost", "TagValue": "1"}
    assert refusal(kms.create_key, Tags=[*red, other]) == denied
    key = kms.create_key(Tags=red)["KeyMetadata"]["KeyId"]
    use = {"KeyId": key, "Plaintext": b"x"}
    assert refusal(kms.encrypt, **use) == denied
    root.create_alias(AliasName=alias, TargetKeyId=key)
    kms.encrypt(**use)
    root.delete_alias(AliasName=alias)
    assert refusal(kms.encrypt, **use) == denied
    assert refusal(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=7) == denied
    kms.schedule_key_deletion(KeyId=key)


def test_policies(iam, user, name):
    user = user["UserName"]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(ACCOUNT))
    text = document(Action="kms:*", Resource="*")
    for kind, holder in [("user", {"UserName": user}), ("role", {"RoleName": name})]:
        put, get, delete = (getattr(iam, f"{verb}_{kind}_policy") for verb in ["put", "get", "delete"])
        policies = getattr(iam, f"list_{kind}_policies")
        put(**holder, PolicyName="p", PolicyDocument=text)
        # botocore reads documents of IAM.
        assert get(**holder, PolicyName="p")["PolicyDocument"] == json.loads(text)
        assert policies(**holder)["PolicyNames"] == ["p"]
        malformed = {**holder, "PolicyName": "q", "PolicyDocument": '{"Version":"2012-10-17"}'}
        assert refusal(put, **malformed) == ("MalformedPolicyDocument", 400)
        delete(**holder, PolicyName="p")
        assert policies(**holder)["PolicyNames"] == []
    iam.delete_role(RoleName=name)


def test_groups(iam, user, name):
    made = iam.create_group(GroupName=name)["Group"]
    member = {"GroupName": name, "UserName": user["UserName"]}
    iam.add_user_to_group(**member)
    found = iam.get_group(GroupName=name)
    assert (found["Group"], [found["UserName"] for found in found["Users"]]) == (
        made,
        [user["UserName"]],
    )
    assert iam.list_groups_for_user(UserName=user["UserName"])["Groups"] == [made]
    text = document(Action="kms:*", Resource="*")
    iam.put_group_policy(GroupName=name, PolicyName="p", PolicyDocument=text)
    assert iam.list_group_policies(GroupName=name)["PolicyNames"] == ["p"]
    assert refusal(iam.delete_group, GroupName=name) == ("DeleteConflict", 409)
    iam.remove_user_from_group(**member)
    iam.delete_group_policy(GroupName=name, PolicyName="p")
    iam.delete_group(GroupName=name)
    assert refusal(iam.get_group, GroupName=name) == ("NoSuchEntity", 404)


def test_boundaries(iam, user, name):
    text = document(Action="kms:*", Resource="*")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
    iam.put_user_permissions_boundary(UserName=user["UserName"], PermissionsBoundary=arn)
    boundary = iam.get_user(UserName=user["UserName"])["User"]["PermissionsBoundary"]
    assert boundary["PermissionsBoundaryArn"] == arn
    assert refusal(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    iam.delete_user_permissions_boundary(UserName=user["UserName"])
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == json.loads(text)
    assert arn in [policy["Arn"] for policy in iam.list_policies(Scope="Local")["Policies"]]
    iam.delete_policy(PolicyArn=arn)


def test_attached_policies(iam, user, name):
    """They count for keys, in the version that is the default."""
    kms, key = client("kms", user["Key"]), client("kms").create_key()["KeyMetadata"]["KeyId"]
    use = {"KeyId": key, "Plaintext": b"x"}
    denied = ("AccessDeniedException", 400)
    text = document(Action="kms:Encrypt", Resource="*")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
    own = {"UserName": user["UserName"], "PolicyArn": arn}
    assert refusal(kms.encrypt, **use) == denied
    iam.attach_user_policy(**own)
    kms.encrypt(**use)
    listed = iam.list_attached_user_policies(UserName=user["UserName"])["AttachedPolicies"]
    assert listed == [{"PolicyName": name, "PolicyArn": arn}]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert refusal(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    iam.detach_user_policy(**own)
    assert refusal(kms.encrypt, **use) == denied
    assert refusal(iam.detach_user_policy, **own) == ("NoSuchEntity", 404)

    iam.create_group(GroupName=name)
    iam.attach_group_policy(GroupName=name, PolicyArn=arn)
    iam.add_user_to_group(GroupName=name, UserName=user["UserName"])
    kms.encrypt(**use)
    other = document(Action="kms:Decrypt", Resource="*")
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=other, SetAsDefault=True)
    assert made["PolicyVersion"]["VersionId"] == "v2"
    assert refusal(kms.encrypt, **use) == denied
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    kms.encrypt(**use)
    found = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]
    assert (found["Document"], found["IsDefaultVersion"]) == (json.loads(other), False)
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert sorted(version["VersionId"] for version in versions) == ["v1", "v2"]
    iam.remove_user_from_group(GroupName=name, UserName=user["UserName"])
    assert refusal(kms.encrypt, **use) == denied
    assert refusal(iam.delete_group, GroupName=name) == ("DeleteConflict", 409)
    iam.detach_group_policy(GroupName=name, PolicyArn=arn)
    iam.delete_group(GroupName=name)

    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(user["Arn"]))["Role"]
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    wanted = {"RoleArn": role["Arn"], "RoleSessionName": "s1"}
    sts = client("sts", user["Key"])
    client("kms", sts.assume_role(**wanted)["Credentials"]).encrypt(**use)
    narrow = sts.assume_role(**wanted, Policy=document(Action="kms:List*", Resource="*"))
    assert refusal(client("kms", narrow["Credentials"]).encrypt, **use) == denied
    assert refusal(iam.delete_role, RoleName=name) == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    iam.delete_role(RoleName=name)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)


def test_a_delegated_administrator(iam, user, name):
    """It makes users and gives them what their boundary has at most."""
    admin = client("iam", user["Key"])
    text = document(Action="kms:*", Resource="*")
    bound = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]
    path = f"/{name}/"
    text = document(
        Action=["iam:CreateUser", "iam:PutUserPolicy", "iam:CreateAccessKey"],
        Resource=f"arn:aws:iam::{ACCOUNT}:user{path}*",
        Condition={"StringEqualsIfExists": {"iam:PermissionsBoundary": bound}},
    )
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=text)
    text = json.dumps({"Version": "2012-10-17", "Statement": [
        *json.loads(text)["Statement"],
        {"Effect": "Deny", "Action": ["iam:CreateUser", "iam:PutUserPolicy"], "Resource": "*",
         "Condition": {"StringNotEquals": {"iam:PermissionsBoundary": bound}}},
    ]})  # fmt: skip
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=text)
    made = {"UserName": f"{name}-x", "Path": path}
    denied = ("AccessDenied", 403)
    assert refusal(admin.create_user, **made) == denied
    assert refusal(admin.create_user, UserName=f"{name}-x", PermissionsBoundary=bound) == denied
    admin.create_user(**made, PermissionsBoundary=bound)
    policy = {
        "UserName": f"{name}-x",
        "PolicyName": "p",
        "PolicyDocument": document(Action="*", Resource="*"),
    }
    admin.put_user_policy(**policy)
    key = admin.create_access_key(UserName=f"{name}-x")["AccessKey"]
    client("kms", key).list_keys()
    assert refusal(client("iam", key).list_users) == denied
    assert refusal(admin.put_user_policy, **{**policy, "UserName": user["UserName"]}) == denied
    assert refusal(admin.delete_user_permissions_boundary, UserName=f"{name}-x") == denied
    iam.delete_user_permissions_boundary(UserName=f"{name}-x")
    assert refusal(admin.put_user_policy, **policy) == denied


def test_users_look_after_their_own_keys(iam, user, name):
    me = client("iam", user["Key"])
    assert refusal(me.create_access_key) == ("AccessDenied", 403)
    own = f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"
    text = document(Action=["iam:*AccessKey*", "iam:GetUser"], Resource=own)
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=text)
    assert me.get_user()["User"]["Arn"] == user["Arn"]
    made = me.create_access_key()["AccessKey"]
    assert made["UserName"] == user["UserName"]
    assert len(me.list_access_keys()["AccessKeyMetadata"]) == 2
    me.delete_access_key(AccessKeyId=made["AccessKeyId"])
    iam.create_user(UserName=name + "-x")
    assert refusal(me.create_access_key, UserName=name + "-x") == ("AccessDenied", 403)


def test_a_role_of_another_account(iam, user, name):
    account, root = make_account()
    theirs = client("iam", root)
    text = document(
        Principal={"AWS": user["Arn"]}, Action="sts:AssumeRole",
        Condition={"StringEquals": {"sts:ExternalId": "contract/7"}},
    )  # fmt: skip
    role = theirs.create_role(RoleName=name, AssumeRolePolicyDocument=text)["Role"]["Arn"]
    assert role.startswith(f"arn:aws:iam::{account}:")
    sts, denied = client("sts", user["Key"]), ("AccessDenied", 403)
    wanted = {"RoleArn": role, "RoleSessionName": "s1", "ExternalId": "contract/7"}
    assert refusal(sts.assume_role, **wanted) == denied, "the user's account has a say"
    allow = document(Action="sts:AssumeRole", Resource=role)
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=allow)
    assert refusal(sts.assume_role, **{**wanted, "ExternalId": "contract/8"}) == denied
    assert refusal(sts.assume_role, RoleArn=role, RoleSessionName="s1") == denied
    session = sts.assume_role(**wanted)["Credentials"]
    identity = client("sts", session).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{account}:assumed-role/{name}/s1"
    delegated = document(Principal={"AWS": ACCOUNT}, Action="sts:AssumeRole")
    theirs.update_assume_role_policy(RoleName=name, PolicyDocument=delegated)
    assert sts.assume_role(RoleArn=role, RoleSessionName="s1")["Credentials"]
    iam.delete_user_policy(UserName=user["UserName"], PolicyName="p")
    assert refusal(sts.assume_role, **wanted) == denied


def test_a_user_made_again_is_another_one(iam, user):
    name, root = user["UserName"], client("kms")
    key = root.create_key()["KeyMetadata"]["KeyId"]
    use = {"KeyId": key, "Plaintext": b"x"}
    grant = {"KeyId": key, "GranteePrincipal": user["Arn"], "Operations": ["Encrypt"]}
    root.create_grant(**grant)
    client("kms", user["Key"]).encrypt(**use)
    iam.delete_access_key(UserName=name, AccessKeyId=user["Key"]["AccessKeyId"])
    iam.delete_user(UserName=name)
    assert refusal(root.create_grant, **grant) == ("InvalidArnException", 400)
    iam.create_user(UserName=name)
    again = client("kms", iam.create_access_key(UserName=name)["AccessKey"])
    assert refusal(again.encrypt, **use) == ("AccessDeniedException", 400)
    root.create_grant(**grant)
    again.encrypt(**use)


def test_roles_and_their_sessions(iam, user, name):
    role = iam.create_role(
        RoleName=name, Path="/x/", AssumeRolePolicyDocument=trust(user["Arn"]),
        MaxSessionDuration=7200, Description="for <tests> & \"more\"",
    )["Role"]  # fmt: skip
    assert role["AssumeRolePolicyDocument"] == json.loads(trust(user["Arn"]))
    assert iam.get_role(RoleName=name)["Role"] == {**role, "RoleLastUsed": {}}
    sts = client("sts", user["Key"])
    wanted = {"RoleArn": role["Arn"], "RoleSessionName": "s1"}
    before = time.time()
    answer = sts.assume_role(**wanted, DurationSeconds=7200)
    after = time.time()
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/s1"
    assert answer["AssumedRoleUser"]["Arn"] == arn
    session = answer["Credentials"]
    assert before + 7199 <= session["Expiration"].timestamp() <= after + 7200
    me = client("sts", session)
    assert me.get_caller_identity()["Arn"] == arn
    assert me.get_caller_identity()["UserId"] == f"{role['RoleId']}:s1"
    assert refusal(client("kms", session).list_keys) == ("AccessDeniedException", 400)
    allow = document(Action="kms:ListKeys", Resource="*")
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow)
    assert client("kms", session).list_keys()["ResponseMetadata"]["HTTPStatusCode"] == 200
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    assert refusal(me.get_session_token) == ("AccessDenied", 403)

    stolen = {member: value for member, value in session.items() if member != "SessionToken"}
    assert refusal(client("sts", stolen).get_caller_identity) == ("InvalidClientTokenId", 403)
    changed = session | {"SessionToken": session["SessionToken"][:-8] + "AAAAAAA="}
    assert refusal(client("sts", changed).get_caller_identity) == ("InvalidClientTokenId", 403)
    assert refusal(sts.assume_role, **wanted, DurationSeconds=7201) == ("ValidationError", 400)
    tags = [{"Key": "a", "Value": "b"}]
    assert refusal(sts.assume_role, **wanted, Tags=tags) == ("AccessDenied", 403)  # sts:TagSession
    assert refusal(client("sts").assume_role, **wanted) == ("AccessDenied", 403)

    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust(ACCOUNT))
    assert refusal(sts.assume_role, **wanted) == ("AccessDenied", 403)
    allow = document(Action="sts:AssumeRole", Resource=role["Arn"])
    iam.put_user_policy(UserName=user["UserName"], PolicyName="p", PolicyDocument=allow)
    assert sts.assume_role(**wanted)["Credentials"]
    iam.delete_role(RoleName=name)
    assert refusal(me.get_caller_identity) == ("InvalidClientTokenId", 403)
    assert refusal(sts.assume_role, **wanted) == ("AccessDenied", 403)


def test_session_tokens(iam, user):
    session = client("sts", user["Key"]).get_session_token(DurationSeconds=900)["Credentials"]
    assert client("sts", session).get_caller_identity()["Arn"] == user["Arn"]
    iam.delete_access_key(UserName=user["UserName"], AccessKeyId=user["Key"]["AccessKeyId"])
    refused = refusal(client("sts", session).get_caller_identity)
    assert refused == ("InvalidClientTokenId", 403)
    root = client("sts").get_session_token()["Credentials"]
    assert client("kms", root).list_keys()["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refusal(client("iam", root).list_users) == ("AccessDenied", 403)


def test_a_profile_that_assumes_a_role(iam, user, name, tmp_path, monkeypatch):
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(user["Arn"]))["Role"]
    key = user["Key"]
    (tmp_path / "credentials").write_text(textwrap.dedent(f"""\
        [user]
        aws_access_key_id = {key["AccessKeyId"]}
        aws_secret_access_key = {key["SecretAccessKey"]}
        """))
    (tmp_path / "config").write_text(textwrap.dedent(f"""\
        [profile deploy]
        role_arn = {role["Arn"]}
        source_profile = user
        role_session_name = by-profile
        [profile from-environment]
        role_arn = {role["Arn"]}
        credential_source = Environment
        role_session_name = by-environment
        """))
    files = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/"
    found = aws("sts", "get-caller-identity", "--profile", "deploy", **files)
    assert found["Arn"] == arn + "by-profile"
    variables = files | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    found = aws("sts", "get-caller-identity", "--profile", "from-environment", **variables)
    assert found["Arn"] == arn + "by-environment"

    for variable, value in (files | {"AWS_ENDPOINT_URL_STS": ENDPOINT}).items():
        monkeypatch.setenv(variable, value)
    session = boto3.Session(profile_name="deploy")
    assert session.client("sts").get_caller_identity()["Arn"] == arn + "by-profile"
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        session.client("kms").list_keys()
    assert f"User: {arn}by-profile is not authorized" in str(caught.value)


def test_the_command_line(name):
    made = aws("iam", "create-user", "--user-name", name)["User"]
    assert aws("iam", "get-user", "--user-name", name)["User"] == made
    key = aws("iam", "create-access-key", "--user-name", name)["AccessKey"]
    text = document(Action="kms:Encrypt", Resource="*")
    policy = ["--user-name", name, "--policy-name", "p"]
    aws("iam", "put-user-policy", *policy, "--policy-document", text)
    found = aws("iam", "get-user-policy", *policy)
    assert found["PolicyDocument"] == json.loads(text)
    aws("iam", "delete-user-policy", *policy)
    role = ["--role-name", name]
    aws("iam", "create-role", *role, "--assume-role-policy-document", trust(made["Arn"]))
    assert name in [role["RoleName"] for role in aws("iam", "list-roles")["Roles"]]
    aws("iam", "delete-role", *role)
    named = ["--user-name", name, "--access-key-id", key["AccessKeyId"]]
    aws("iam", "update-access-key", *named, "--status", "Inactive")
    aws("iam", "delete-access-key", *named)
    aws("iam", "delete-user", "--user-name", name)
    assert aws("sts", "get-caller-identity")["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_requests_are_recorded(user):
    client("sts", user["Key"]).get_caller_identity()
    refusal(client("iam", user["Key"]).create_user, UserName="never")
    lines = [line for file in DATA.glob("audit/*.jsonl") for line in file.read_text().splitlines()]
    records = [json.loads(line).get("record", {}) for line in lines]
    mine = [
        record for record in records
        if record.get("userIdentity", {}).get("userName") == user["UserName"]
    ]  # fmt: skip
    members = ["eventSource", "eventName", "errorCode"]
    assert [[record.get(member) for member in members] for record in mine] == [
        ["sts.amazonaws.com", "GetCallerIdentity", None],
        ["iam.amazonaws.com", "CreateUser", "AccessDenied"],
    ]
    assert mine[0]["userIdentity"]["type"] == "IAMUser"
    assert mine[1]["requestParameters"] == {"userName": "never"}


def test_answers_are_of_the_model():
    """botocore does not look at names and namespaces that other parsers need."""
    bodies = []
    sts = client("sts")
    sts.meta.events.register(
        "after-call", lambda http_response, **_: bodies.append(http_response.text)
    )
    sts.get_caller_identity()
    namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
    assert bodies[0].startswith(f'<GetCallerIdentityResponse xmlns="{namespace}">')
    assert bodies[0].count("<RequestId>") == 1
