"""Terraform with the AWS provider: create, plan without difference, change, plan, destroy.

`STRONGROOM_TERRAFORM` names a directory with the configuration of `terraform/`, already initialised.
"""

import base64
import datetime
import json
import os
import re
import secrets
import subprocess

import boto3
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

import strongroom

ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]
DIRECTORY = os.environ["STRONGROOM_TERRAFORM"]
#: What `plan -detailed-exitcode` says of a configuration that is as it should be, and of one that is not.
SAME, DIFFERENT = 0, 2
#: When imported material ends. The service takes no date that is more than a year away.
ENDS = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=300)

#: Usages of the specs that the provider may know, by the beginning of their names. SM2 is China's.
USAGES = {
    "SYMMETRIC_DEFAULT": ["ENCRYPT_DECRYPT"],
    "RSA_": ["ENCRYPT_DECRYPT", "SIGN_VERIFY"],
    "ECC_NIST_P": ["SIGN_VERIFY", "KEY_AGREEMENT"],
    "ECC_NIST_EDWARDS": ["SIGN_VERIFY"],
    "ECC_SECG_": ["SIGN_VERIFY"],
    "HMAC_": ["GENERATE_VERIFY_MAC"],
    "ML_DSA_": ["SIGN_VERIFY"],
    "ML_KEM_": ["KEY_AGREEMENT"],
    "SM2": [],
}


def terraform(*arguments, expected=SAME):
    """Output of a command of Terraform that ends with the code that is expected."""
    done = subprocess.run(
        ["terraform", *arguments], cwd=DIRECTORY, capture_output=True, text=True, timeout=1200,
        check=False, env=os.environ | {"AWS_ENDPOINT_URL": ENDPOINT, "TF_IN_AUTOMATION": "1"},
    )  # fmt: skip
    said = done.stderr or done.stdout
    assert done.returncode == expected, f"terraform {arguments[0]}: {done.returncode}\n{said}"
    return done.stdout


def variables(revision, kinds, material):
    """Writes what Terraform reads by itself; the same values for every command of a revision."""
    values = {"revision": revision, "kinds": kinds, "material": material, "valid_to": f"{ENDS:%FT%TZ}"}
    with open(os.path.join(DIRECTORY, "test.auto.tfvars.json"), "w", encoding="utf-8") as file:
        json.dump(values, file)


def plan():
    return terraform("plan", "-input=false", "-no-color", "-detailed-exitcode")


def apply(*arguments):
    return terraform("apply", "-input=false", "-no-color", "-auto-approve", *arguments)


def outputs():
    shown = json.loads(terraform("output", "-json"))
    return {name: output["value"] for name, output in shown.items()}


def known_kinds():
    """Every spec and usage, by what the provider says of a spec that it does not know."""
    variables(1, ["NONE SIGN_VERIFY"], "")
    refused = terraform("plan", "-input=false", "-json", expected=1)
    said = re.search(r'"summary":"expected customer_master_key_spec to be one of (.*?), got NONE"', refused)
    assert said, refused
    specs = re.findall(r"[A-Z][A-Z0-9_]+", said[1])
    assert len(specs) >= 13, specs
    kinds = []
    for spec in specs:
        [usages] = [usages for prefix, usages in USAGES.items() if spec.startswith(prefix)]
        kinds += [f"{spec} {usage}" for usage in usages]
    return kinds


def service(name, **options):
    return boto3.client(name, endpoint_url=ENDPOINT, **options)


@pytest.fixture(scope="module")
def iam():
    return service("iam")


@pytest.fixture(scope="module")
def west():
    """The Region of the replicas."""
    return service("kms", region_name="eu-west-1")


def test_create_plan_change_plan_destroy(kms, iam, west):
    kinds = known_kinds()
    material = base64.b64encode(secrets.token_bytes(32)).decode()
    variables(1, kinds, material)
    apply()
    plan()
    created = outputs()
    what_is_there(kms, iam, west, created, kinds)
    cryptography(kms, west, created)

    variables(2, kinds, material)
    apply()
    plan()
    changed = outputs()
    for kept in ("keys", "kinds"):
        assert changed[kept] == created[kept], "made anew instead of changed"
    assert not set(changed["grants"].values()) & set(created["grants"].values())
    what_has_changed(kms, iam, west, changed)

    noticed(kms, changed)
    terraform("destroy", "-input=false", "-no-color", "-auto-approve")
    what_is_gone(kms, iam, west, changed)


def what_is_there(kms, iam, west, made, kinds):
    assert made["account"] == "000000000000"
    assert made["regions"] == ["us-east-1", ["eu-west-1", "us-east-1"]]
    assert sorted(made["kinds"]) == sorted(kinds)
    for kind, arn in made["kinds"].items():
        spec, usage = kind.split()
        metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
        assert (metadata["KeySpec"], metadata["KeyUsage"]) == (spec, usage)
        assert metadata["Description"] == f"{kind}, revision 1" and metadata["Enabled"]
        assert tags(kms, arn) == {"Owner": "terraform", "Revision": "1"}
        alias = f"alias/terraform/{spec}/{usage}"
        assert kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"] == arn
    keys = made["keys"]
    rotation = kms.get_key_rotation_status(KeyId=keys["main"])
    assert rotation["KeyRotationEnabled"] and rotation["RotationPeriodInDays"] == 100
    states = {name: client(kms, west, arn).describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] for name, arn in keys.items()}
    assert states.pop("pending") == "PendingImport" and set(states.values()) == {"Enabled"}
    for key in ("main", "with_policy"):
        assert statement(kms, keys[key], "Deploy")["Action"] in (["kms:Encrypt", "kms:Decrypt"], ["kms:Decrypt", "kms:Encrypt"])
    grants = {grant["GrantId"]: grant for grant in kms.list_grants(KeyId=keys["main"])["Grants"]}
    equals, subset = grants[made["grants"]["equals"]], grants[made["grants"]["subset"]]
    pairs = {"stage": "test", "part": "one"}
    assert equals["Constraints"].get("EncryptionContextEquals") == pairs and not equals["Constraints"].get("EncryptionContextSubset")
    assert subset["Constraints"].get("EncryptionContextSubset") == {"stage": "test"} and not subset["Constraints"].get("EncryptionContextEquals")
    assert equals["Name"] == "equals-1" and len(grants) == 2

    read = made["read"]
    assert read["alias"] == keys["main"] and read["main"] == "Enabled"
    assert read["main_spec"] == "SYMMETRIC_DEFAULT" and read["replicas"] == ["eu-west-1"]
    assert read["imported"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    user, role = iam.get_user(UserName="ana")["User"], iam.get_role(RoleName="deploy")["Role"]
    assert (read["user"], read["role"], read["issuer"]) == (user["UserId"], role["RoleId"], role["RoleId"])
    assert read["user_tags"] == read["role_tags"] == read["policy_tags"] == {"Owner": "terraform", "Revision": "1"}
    assert read["boundary"] == read["by_name"] == "arn:aws:iam::000000000000:policy/boundaries/most"
    assert json.loads(read["policy"])["Statement"]
    assert read["members"] == read["users"] == ["ana"] and read["roles"] == ["deploy"]
    assert read["access_keys"] == ["Active"] and read["may"] == {"kms:Decrypt": True, "kms:Sign": False}
    assert (user["Path"], role["Path"], role["MaxSessionDuration"]) == ("/team/", "/team/", 3600)


def cryptography(kms, west, made):
    """What Terraform has made is of use, and what it has read is right."""
    assert made["opened"] == {"resource": "of the resource", "data": "of the data source"}
    for spec, check in {
        "ECC_NIST_P256": lambda key, data, signature: key.verify(signature, data, ec.ECDSA(hashes.SHA256())),
        "RSA_2048": lambda key, data, signature: key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256()),
    }.items():  # fmt: skip
        kind = f"{spec} SIGN_VERIFY"
        algorithm = "ECDSA_SHA_256" if spec.startswith("ECC") else "RSASSA_PKCS1_V1_5_SHA_256"
        signed = kms.sign(KeyId=made["kinds"][kind], Message=b"terraform", SigningAlgorithm=algorithm)
        public = serialization.load_pem_public_key(made["public_keys"][kind].encode())
        check(public, b"terraform", signed["Signature"])
    keys = made["keys"]
    # The same material in both Regions: made there, and imported into both.
    for here, there in [(keys["primary"], keys["replica"]), (keys["imported"], keys["elsewhere"])]:
        blob = kms.encrypt(KeyId=here, Plaintext=b"moved")["CiphertextBlob"]
        assert west.decrypt(KeyId=there, CiphertextBlob=blob)["Plaintext"] == b"moved"
    # The access key is the user's, and what it may do is what the policies say.
    key = {"aws_access_key_id": made["access_key"]["id"], "aws_secret_access_key": made["access_key"]["secret"]}
    assert service("sts", **key).get_caller_identity()["Arn"].endswith(":user/team/ana")
    ana = service("kms", **key)
    context = {"stage": "test"}
    blob = kms.encrypt(KeyId=keys["with_policy"], Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    assert ana.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"x"
    with strongroom.refused("AccessDeniedException"):
        ana.describe_key(KeyId=keys["with_policy"])


def what_has_changed(kms, iam, west, made):
    keys, read = made["keys"], made["read"]
    for kind, arn in made["kinds"].items():
        metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
        assert metadata["Description"] == f"{kind}, revision 2"
        assert metadata["Enabled"] == (kind != "HMAC_256 GENERATE_VERIFY_MAC")
        assert tags(kms, arn) == {"Owner": "terraform", "Revision": "2"}
    assert kms.get_key_rotation_status(KeyId=keys["main"])["RotationPeriodInDays"] == 200
    assert kms.describe_key(KeyId="alias/terraform/main")["KeyMetadata"]["Arn"] == keys["with_policy"]
    assert statement(kms, keys["main"], "Deploy")["Action"] == "kms:Decrypt"
    replica = west.describe_key(KeyId=keys["replica"])["KeyMetadata"]
    assert not replica["Enabled"] and replica["Description"] == "replica, revision 2"
    imported = kms.describe_key(KeyId=keys["imported"])["KeyMetadata"]
    assert imported["ExpirationModel"] == "KEY_MATERIAL_EXPIRES" and imported["ValidTo"] == ENDS
    names = {grant["Name"] for grant in kms.list_grants(KeyId=keys["main"])["Grants"]}
    assert names == {"equals-2", "subset-2"}

    assert not read["boundary"] and read["user_tags"]["Revision"] == "2"
    assert read["members"] == ["ana", "berta"] and read["access_keys"] == ["Inactive"]
    versions = iam.list_policy_versions(PolicyArn="arn:aws:iam::000000000000:policy/use")["Versions"]
    assert {version["VersionId"]: version["IsDefaultVersion"] for version in versions} == {"v1": False, "v2": True}
    role = iam.get_role(RoleName="deploy")["Role"]
    assert role["MaxSessionDuration"] == 7200 and role["Description"] == "deploys, revision 2"
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith("policy/boundaries/most")
    assert "sts:TagSession" in role["AssumeRolePolicyDocument"]["Statement"][0]["Action"]
    [group] = iam.list_groups_for_user(UserName="berta")["Groups"][:1]
    assert {group["GroupName"] for group in iam.list_groups_for_user(UserName="berta")["Groups"]} == {"team", "second-renamed"}


def noticed(kms, made):
    """What somebody else changes is a difference, and mended."""
    arn = made["keys"]["main"]
    kms.update_key_description(KeyId=arn, Description="by hand")
    kms.disable_key(KeyId=arn)
    said = terraform("plan", "-input=false", "-no-color", "-detailed-exitcode", expected=DIFFERENT)
    assert "by hand" in said and "1 to change, 0 to destroy" in said, said
    apply("-target=aws_kms_key.main")
    metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
    assert metadata["Enabled"] and metadata["Description"] == "what the rest of this uses"


def what_is_gone(kms, iam, west, made):
    for arn in [*made["kinds"].values(), *made["keys"].values()]:
        metadata = client(kms, west, arn).describe_key(KeyId=arn)["KeyMetadata"]
        assert metadata["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"), (arn, metadata)
    main = kms.describe_key(KeyId=made["keys"]["main"])["KeyMetadata"]
    assert 7.5 < (main["DeletionDate"] - main["CreationDate"]).total_seconds() / 86400 < 8.5
    own = [alias for page in kms.get_paginator("list_aliases").paginate() for alias in page["Aliases"]]
    assert not [alias for alias in own if not alias["AliasName"].startswith("alias/aws/")]
    assert not kms.list_grants(KeyId=made["keys"]["main"])["Grants"]
    assert not iam.list_users()["Users"] and not iam.list_roles()["Roles"]
    assert not iam.list_groups()["Groups"] and not iam.list_policies(Scope="Local")["Policies"]


def client(kms, west, arn):
    return west if ":eu-west-1:" in arn else kms


def tags(kms, arn):
    return {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=arn)["Tags"]}


def statement(kms, arn, sid):
    policy = json.loads(kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
    [found] = [statement for statement in policy["Statement"] if statement.get("Sid") == sid]
    return found
