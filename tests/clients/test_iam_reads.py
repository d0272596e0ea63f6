"""What programs ask of IAM and STS beside making identities: by boto3 and the AWS CLI."""

import base64
import csv
import io
import json
import time

from identities import ACCOUNT, client, document, refusal, trust

RED = [{"Key": "team", "Value": "red"}]


def clear(iam, user):
    """Deletes a user as Ansible's iam_user does: whatever it may have is asked for first."""
    name = {"UserName": user}
    assert refusal(iam.get_login_profile, **name) == ("NoSuchEntity", 404)
    for key in iam.list_access_keys(**name)["AccessKeyMetadata"]:
        iam.delete_access_key(**name, AccessKeyId=key["AccessKeyId"])
    for call, member in [
        (iam.list_signing_certificates, "Certificates"),
        (iam.list_ssh_public_keys, "SSHPublicKeys"),
        (iam.list_service_specific_credentials, "ServiceSpecificCredentials"),
        (iam.list_mfa_devices, "MFADevices"),
    ]:
        assert call(**name)[member] == []
    for policy in iam.list_attached_user_policies(**name)["AttachedPolicies"]:
        iam.detach_user_policy(**name, PolicyArn=policy["PolicyArn"])
    for policy in iam.list_user_policies(**name)["PolicyNames"]:
        iam.delete_user_policy(**name, PolicyName=policy)
    for group in iam.list_groups_for_user(**name)["Groups"]:
        iam.remove_user_from_group(**name, GroupName=group["GroupName"])
    iam.delete_user(**name)


def test_a_user_is_deleted_with_all_it_has(iam, user, name):
    policy = iam.create_policy(
        PolicyName=name, PolicyDocument=document(Action="kms:*", Resource="*")
    )["Policy"]
    iam.attach_user_policy(UserName=name, PolicyArn=policy["Arn"])
    iam.put_user_policy(
        UserName=name, PolicyName="p", PolicyDocument=document(Action="kms:*", Resource="*")
    )
    iam.create_group(GroupName=name)
    iam.add_user_to_group(GroupName=name, UserName=name)
    clear(iam, name)
    assert refusal(iam.get_user, UserName=name) == ("NoSuchEntity", 404)
    iam.delete_group(GroupName=name)
    iam.delete_policy(PolicyArn=policy["Arn"])


def test_what_cannot_be_here(iam):
    assert iam.list_account_aliases()["AccountAliases"] == []
    assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    assert iam.list_server_certificates()["ServerCertificateMetadataList"] == []
    assert iam.list_saml_providers()["SAMLProviderList"] == []
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert iam.list_mfa_devices()["MFADevices"] == []
    assert refusal(iam.get_account_password_policy) == ("NoSuchEntity", 404)


def test_tags(iam, name):
    kinds = [
        ("user", iam.create_user, {"UserName": name}, {"UserName": name}),
        (
            "role",
            iam.create_role,
            {"RoleName": name, "AssumeRolePolicyDocument": trust(ACCOUNT)},
            {"RoleName": name},
        ),
        (
            "policy",
            iam.create_policy,
            {"PolicyName": name, "PolicyDocument": document(Action="kms:*", Resource="*")},
            {"PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/{name}"},
        ),
    ]
    for kind, create, parameters, own in kinds:
        made = create(**parameters, Tags=RED)[kind.capitalize()]
        assert made["Tags"] == RED
        assert getattr(iam, f"get_{kind}")(**own)[kind.capitalize()]["Tags"] == RED
        cost = {"Key": "cost", "Value": ""}
        getattr(iam, f"tag_{kind}")(**own, Tags=[cost])
        pages = iam.get_paginator(f"list_{kind}_tags").paginate(
            **own, PaginationConfig={"PageSize": 1}
        )
        assert [tag for page in pages for tag in page["Tags"]] == [cost, *RED]
        getattr(iam, f"untag_{kind}")(**own, TagKeys=["team", "cost"])
        assert getattr(iam, f"list_{kind}_tags")(**own)["Tags"] == []
        many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
        getattr(iam, f"tag_{kind}")(**own, Tags=many)
        one_more = getattr(iam, f"tag_{kind}")
        assert refusal(one_more, **own, Tags=RED) == ("LimitExceeded", 409)
        reserved = [{"Key": "aws:x", "Value": ""}]
        assert refusal(one_more, **own, Tags=reserved) == ("InvalidInput", 400)
        getattr(iam, f"delete_{kind}")(**own)


def test_tags_decide_who_uses_a_key(iam, user, name):
    root, kms = client("kms"), client("kms", user["Key"])
    key = root.create_key(Tags=[{"TagKey": "team", "TagValue": "red"}])["KeyMetadata"]["KeyId"]
    same = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}
    text = document(Action="kms:Encrypt", Resource="*", Condition=same)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    use = {"KeyId": key, "Plaintext": b"x"}
    denied = ("AccessDeniedException", 400)
    assert refusal(kms.encrypt, **use) == denied
    iam.tag_user(UserName=name, Tags=RED)
    kms.encrypt(**use)
    iam.tag_user(UserName=name, Tags=[{"Key": "team", "Value": "blue"}])
    assert refusal(kms.encrypt, **use) == denied
    iam.untag_user(UserName=name, TagKeys=["team"])
    assert refusal(kms.encrypt, **use) == denied


def test_tags_and_managed_policies_of_sessions(iam, user, name):
    both = ["sts:AssumeRole", "sts:TagSession"]
    text = document(Principal={"AWS": user["Arn"]}, Action=both)
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=text)["Role"]["Arn"]
    own = {"StringEquals": {"kms:EncryptionContext:team": "${aws:PrincipalTag/team}"}}
    text = document(Action=["kms:Encrypt", "kms:DescribeKey"], Resource="*")
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=text)
    narrow = document(Action="kms:Encrypt", Resource="*", Condition=own)
    arn = iam.create_policy(PolicyName=name, PolicyDocument=narrow)["Policy"]["Arn"]
    key = client("kms").create_key()["KeyMetadata"]["KeyId"]
    sts = client("sts", user["Key"])
    wanted = {"RoleArn": role, "RoleSessionName": "s1"}
    session = sts.assume_role(
        **wanted, Tags=RED, TransitiveTagKeys=["team"], PolicyArns=[{"arn": arn}]
    )
    assert 0 < session["PackedPolicySize"] <= 100
    kms = client("kms", session["Credentials"])
    use = {"KeyId": key, "Plaintext": b"x"}
    kms.encrypt(**use, EncryptionContext={"team": "red"})
    denied = ("AccessDeniedException", 400)
    assert refusal(kms.encrypt, **use, EncryptionContext={"team": "blue"}) == denied
    assert refusal(kms.describe_key, KeyId=key) == denied
    client("kms", sts.assume_role(**wanted)["Credentials"]).describe_key(KeyId=key)
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust(user["Arn"]))
    assert refusal(sts.assume_role, **wanted, Tags=RED) == ("AccessDenied", 403)
    sts.assume_role(**wanted)


def test_policies_by_their_use(iam, user, name):
    text = document(Action="kms:*", Resource="*")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]

    def listed(**parameters):
        pages = iam.get_paginator("list_policies").paginate(Scope="Local", **parameters)
        return arn in [policy["Arn"] for page in pages for policy in page["Policies"]]

    assert listed() and not listed(OnlyAttached=True)
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    assert listed(OnlyAttached=True) and listed(PolicyUsageFilter="PermissionsPolicy")
    assert not listed(PolicyUsageFilter="PermissionsBoundary")
    found = iam.list_entities_for_policy(PolicyArn=arn)
    assert [entity["UserName"] for entity in found["PolicyUsers"]] == [name]
    assert (found["PolicyGroups"], found["PolicyRoles"]) == ([], [])
    iam.detach_user_policy(UserName=name, PolicyArn=arn)
    assert iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"] == []
    iam.delete_policy(PolicyArn=arn)


def test_account_authorization_details(iam, user, name):
    text = document(Action="kms:*", Resource="*")
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    iam.tag_user(UserName=name, Tags=RED)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(user["Arn"]))
    pages = iam.get_paginator("get_account_authorization_details").paginate(
        PaginationConfig={"PageSize": 2}
    )
    details = pages.build_full_result()
    found = [detail for detail in details["UserDetailList"] if detail["UserName"] == name]
    # botocore reads documents of IAM.
    assert found[0]["UserPolicyList"] == [{"PolicyName": "p", "PolicyDocument": json.loads(text)}]
    assert found[0]["Tags"] == RED
    roles = iam.get_account_authorization_details(Filter=["Role"])
    assert roles["UserDetailList"] == []
    assert name in [role["RoleName"] for role in roles["RoleDetailList"]]


def test_the_summary(iam, name):
    before = iam.get_account_summary()["SummaryMap"]
    iam.create_user(UserName=name)
    after = iam.get_account_summary()["SummaryMap"]
    assert after["Users"] == before["Users"] + 1
    assert (after["MFADevices"], after["AccountAccessKeysPresent"]) == (0, 1)


def test_the_credential_report(iam, user, name):
    client("sts", user["Key"]).get_caller_identity()
    for _ in range(5):
        if iam.generate_credential_report()["State"] == "COMPLETE":
            break
    report = iam.get_credential_report()
    assert report["ReportFormat"] == "text/csv"
    content = report["Content"]
    content = content if isinstance(content, bytes) else base64.b64decode(content)
    rows = {row["user"]: row for row in csv.DictReader(io.StringIO(content.decode()))}
    assert rows["<root_account>"]["arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    own = rows[name]
    assert (own["arn"], own["access_key_1_active"]) == (user["Arn"], "true")
    assert (own["access_key_1_last_used_service"], own["access_key_2_active"]) == ("sts", "false")
    assert (own["mfa_active"], own["password_enabled"]) == ("false", "false")


def test_last_uses(iam, user, name):
    key = user["Key"]["AccessKeyId"]
    unused = iam.get_access_key_last_used(AccessKeyId=key)
    assert unused["UserName"] == name
    assert unused["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    before = time.time()
    client("sts", user["Key"]).get_caller_identity()
    used = iam.get_access_key_last_used(AccessKeyId=key)["AccessKeyLastUsed"]
    assert used["ServiceName"] == "sts"
    assert before - 60 <= used["LastUsedDate"].timestamp() <= time.time()
    job = iam.generate_service_last_accessed_details(Arn=user["Arn"])["JobId"]
    details = iam.get_service_last_accessed_details(JobId=job)
    assert details["JobStatus"] == "COMPLETED"
    services = {one["ServiceNamespace"]: one for one in details["ServicesLastAccessed"]}
    assert services["sts"]["LastAuthenticatedEntity"] == user["Arn"]
    assert services["kms"]["TotalAuthenticatedEntities"] == 0


def test_simulations(iam, user, name):
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    text = document(Action="kms:Encrypt", Resource=key)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    asked = {"ActionNames": ["kms:Encrypt", "kms:Decrypt"], "ResourceArns": [key]}
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=user["Arn"], **asked, PaginationConfig={"PageSize": 1}
    )
    results = [result for page in pages for result in page["EvaluationResults"]]
    assert [result["EvalDecision"] for result in results] == ["allowed", "implicitDeny"]
    assert results[0]["MatchedStatements"][0]["SourcePolicyId"] == "p"
    # What is said is what happens.
    kms = client("kms", user["Key"])
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.decrypt, CiphertextBlob=blob) == ("AccessDeniedException", 400)
    custom = iam.simulate_custom_policy(
        PolicyInputList=[document(Action="kms:*", Resource="*", Condition={
            "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})],
        ActionNames=["kms:Decrypt"],
    )["EvaluationResults"][0]  # fmt: skip
    assert custom["EvalDecision"] == "implicitDeny"
    assert custom["MissingContextValues"] == ["kms:ViaService"]
    custom = iam.simulate_custom_policy(
        PolicyInputList=[document(Action="kms:*", Resource="*", Condition={
            "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})],
        ActionNames=["kms:Decrypt"],
        ContextEntries=[{"ContextKeyName": "kms:ViaService", "ContextKeyType": "string",
                         "ContextKeyValues": ["s3.us-east-1.amazonaws.com"]}],
    )["EvaluationResults"][0]  # fmt: skip
    assert (custom["EvalDecision"], custom["MissingContextValues"]) == ("allowed", [])


def test_users_and_roles_change(iam, user, name):
    iam.update_user(UserName=name, NewUserName=f"{name}-b", NewPath="/b/")
    arn = client("sts", user["Key"]).get_caller_identity()["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:user/b/{name}-b"
    assert refusal(iam.get_user, UserName=name) == ("NoSuchEntity", 404)
    clear(iam, f"{name}-b")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(ACCOUNT), Description="a")
    iam.update_role(RoleName=name, MaxSessionDuration=7200)
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("a", 7200)
    iam.update_role_description(RoleName=name, Description="b")
    assert iam.get_role(RoleName=name)["Role"]["Description"] == "b"
    iam.delete_role(RoleName=name)
