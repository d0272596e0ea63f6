"""Answers that AWS is on record with: codes, texts, and which of two faults of a request is told."""

import json
import os
import uuid

import boto3
import pytest

import operations
import strongroom
from strongroom import refused

ACCOUNT = "arn:aws:iam::000000000000:root"


def make(kms, spec, usage, **more):
    """The metadata of a new key."""
    return kms.create_key(KeySpec=spec, KeyUsage=usage, **more)["KeyMetadata"]


@pytest.fixture
def iam():
    """A client of IAM."""
    return boto3.client("iam", endpoint_url=os.environ["AWS_ENDPOINT_URL_KMS"])


@pytest.mark.parametrize(
    "spec, usage",
    [
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
        ("HMAC_384", "GENERATE_VERIFY_MAC"),
        ("ML_DSA_44", "SIGN_VERIFY"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    ],
)
def test_keys_of_every_kind(kms, spec, usage):
    key = make(kms, spec, usage)
    assert key["CustomerMasterKeySpec"] == spec
    status = kms.get_key_rotation_status(KeyId=key["KeyId"])
    assert (status["KeyId"], status["KeyRotationEnabled"]) == (key["Arn"], False)
    kms.disable_key(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is False
    if usage != "GENERATE_VERIFY_MAC":
        assert kms.get_public_key(KeyId=key["KeyId"])["CustomerMasterKeySpec"] == spec
    # The state comes before the spec.
    with refused("DisabledException", f"{key['Arn']} is disabled."):
        kms.rotate_key_on_demand(KeyId=key["KeyId"])


def test_the_wrong_key(kms, symmetric, mac):
    blob = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    other = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=other["KeyId"])
    text = "The key ID in the request does not identify a CMK that can perform this operation."
    for key in (mac["KeyId"], other["KeyId"]):
        with refused("IncorrectKeyException", text):
            kms.decrypt(CiphertextBlob=blob, KeyId=key)
        with refused("IncorrectKeyException", text):
            kms.re_encrypt(
                CiphertextBlob=blob, SourceKeyId=key, DestinationKeyId=symmetric["KeyId"]
            )
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=b"x", KeyId=key)


def test_dry_runs_look(kms, symmetric, signing, mac):
    sealed = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    sign = {"KeyId": signing["KeyId"], "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(**sign)["Signature"]
    authenticate = {"KeyId": mac["KeyId"], "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    tag = kms.generate_mac(**authenticate)["Mac"]
    for call, parameters, member, good, code in (
        (kms.decrypt, {}, "CiphertextBlob", sealed, "InvalidCiphertextException"),
        (kms.verify, sign, "Signature", signature, "KMSInvalidSignatureException"),
        (kms.verify_mac, authenticate, "Mac", tag, "KMSInvalidMacException"),
    ):
        bad = good[:-1] + bytes([good[-1] ^ 1])
        with refused("DryRunOperationException"):
            call(**parameters, **{member: good}, DryRun=True)
        with refused(code):
            call(**parameters, **{member: bad}, DryRun=True)


def test_tags(kms, raw):
    def tagged(*pairs):
        return [{"TagKey": key, "TagValue": value} for key, value in pairs]

    for tags, text in (
        (tagged(("a", "1"), ("a", "2")), "Duplicate tag keys"),
        (tagged(("AWS:a", "1")), "Tags beginning with aws: are reserved"),
        (tagged(*((str(number), "") for number in range(51))), "Too many tags"),
    ):
        with refused("TagException", text):
            kms.create_key(Tags=tags)
    key = "k" * 129
    text = (
        f"1 validation error detected: Value '{key}' at 'tags.1.member.tagKey' failed to satisfy "
        "constraint: Member must have length less than or equal to 128"
    )
    with refused("ValidationException", text):
        raw.create_key(Tags=tagged((key, "")))


def test_aliases(kms, symmetric, alias):
    key = symmetric["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    for call in (kms.enable_key_rotation, kms.get_key_policy, kms.list_grants, kms.disable_key):
        with refused(
            "InvalidArnException", "Key Aliases are not supported for this operation."
        ):
            call(KeyId=alias)
    with refused("InvalidArnException", "Key Aliases are not supported for this operation."):
        kms.create_grant(KeyId=alias, GranteePrincipal=ACCOUNT, Operations=["Encrypt"])
    colon = f"{alias}:1"
    with refused("ValidationException", f"{colon} contains invalid characters for an alias"):
        kms.create_alias(AliasName=colon, TargetKeyId=key)


def test_grants(kms, symmetric, mac):
    key = symmetric["KeyId"]
    for constraints in ({"EncryptionContextEquals": {}}, {"EncryptionContextSubset": {}}):
        made = kms.create_grant(
            KeyId=key, GranteePrincipal=ACCOUNT, Operations=["Encrypt"], Constraints=constraints
        )
        (entry,) = kms.list_grants(KeyId=key, GrantId=made["GrantId"])["Grants"]
        assert "Constraints" not in entry
    with refused(
        "ValidationException", "Grants must not contain only the CreateGrant operation."
    ):
        kms.create_grant(KeyId=key, GranteePrincipal=ACCOUNT, Operations=["CreateGrant"])
    text = (
        "Operations [Encrypt] are not supported when creating a grant for a symmetric KMS key with "
        "key usage GENERATE_VERIFY_MAC. Valid operations are [CreateGrant, RetireGrant, "
        "DescribeKey, GenerateMac, VerifyMac]"
    )
    with refused("ValidationException", text):
        kms.create_grant(KeyId=mac["KeyId"], GranteePrincipal=ACCOUNT, Operations=["Encrypt"])


def test_messages(kms, signing):
    for message, kind, text in (
        (
            bytes(64),
            "EXTERNAL_MU",
            "Message type EXTERNAL_MU is incompatible with key spec ECC_NIST_P256.",
        ),
        (bytes(31), "DIGEST", "Digest is invalid length for algorithm ECDSA_SHA_256."),
    ):
        with refused("ValidationException", text):
            kms.sign(
                KeyId=signing["KeyId"],
                Message=message,
                MessageType=kind,
                SigningAlgorithm="ECDSA_SHA_256",
            )


def test_replicas(kms):
    key = kms.create_key(MultiRegion=True)["KeyMetadata"]
    here = kms.meta.region_name
    with refused(
        "ValidationException",
        f"{here} cannot have a replica because it contains the primary.",
    ):
        kms.replicate_key(KeyId=key["KeyId"], ReplicaRegion=here)
    with refused(
        "ValidationException",
        f"{key['KeyId']} does not have a replica key in the specified Region.",
    ):
        kms.update_primary_region(KeyId=key["KeyId"], PrimaryRegion="eu-north-1")
    kms.update_primary_region(KeyId=key["KeyId"], PrimaryRegion=here)


def test_imports(kms):
    key = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    with refused(
        "UnsupportedOperationException",
        f"{key['Arn']} origin is EXTERNAL which is not valid for this operation.",
    ):
        kms.enable_key_rotation(KeyId=key["KeyId"])
    kms.import_key_material(**operations.wrapped(kms, key, os.urandom(32)))
    with refused(
        "IncorrectKeyMaterialException",
        "Imported key material does not have the expected identifier (ID).",
    ):
        kms.import_key_material(**operations.wrapped(kms, key, os.urandom(32)))
    with refused(
        "KMSInvalidStateException",
        f"No available key material pending rotation for the key: {key['Arn']}.",
    ):
        kms.rotate_key_on_demand(KeyId=key["KeyId"])
    with refused("InvalidCiphertextException"):
        kms.import_key_material(**operations.wrapped(kms, key, os.urandom(16)))


def test_roles_that_are_no_more(kms, iam):
    name = f"gone-{uuid.uuid4().hex[:12]}"
    arn = strongroom.role(name)
    unique = iam.get_role(RoleName=name)["Role"]["RoleId"]
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "kms:Encrypt", "Resource": "*"},
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    key = kms.create_key(Policy=json.dumps(policy))["KeyMetadata"]["KeyId"]
    made = kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Encrypt"])

    def seen():
        text = kms.get_key_policy(KeyId=key)["Policy"]
        (entry,) = kms.list_grants(KeyId=key, GrantId=made["GrantId"])["Grants"]
        return json.loads(text)["Statement"][1]["Principal"]["AWS"], entry["GranteePrincipal"]

    assert seen() == (arn, arn)
    iam.delete_role(RoleName=name)
    assert unique.startswith("AROA") and seen() == (unique, unique)
    with refused("InvalidArnException", f"ARN does not refer to a valid principal: {arn}"):
        kms.list_grants(KeyId=key, GranteePrincipal=arn)
    strongroom.role(name)
    assert seen() == (unique, unique)
    assert kms.list_grants(KeyId=key, GranteePrincipal=arn)["Grants"] == []
