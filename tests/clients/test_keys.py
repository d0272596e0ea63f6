"""Keys as resources: creation, description, states, deletion, listing, identifiers."""

import datetime
import uuid

import pytest

from strongroom import invalid, pages, refused

ABSENT = str(uuid.UUID(int=7))
SPECS = {
    "SYMMETRIC_DEFAULT": ("ENCRYPT_DECRYPT", "EncryptionAlgorithms", ["SYMMETRIC_DEFAULT"]),
    "ECC_NIST_P256": ("SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
    "HMAC_256": ("GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_256"]),
}


@pytest.mark.parametrize("spec", SPECS)
def test_metadata_of_a_new_key(kms, spec):
    usage, list_name, algorithms = SPECS[spec]
    before = datetime.datetime.now(datetime.timezone.utc)
    created = kms.create_key(
        KeySpec=spec, KeyUsage=usage, Description="Ein Schlüssel", Tags=[tag("a", "b")]
    )["KeyMetadata"]
    assert created["KeyId"] == str(uuid.UUID(created["KeyId"]))
    account, region = created["AWSAccountId"], kms.meta.region_name
    assert created["Arn"] == f"arn:aws:kms:{region}:{account}:key/{created['KeyId']}"
    after = datetime.datetime.now(datetime.timezone.utc)
    assert before - datetime.timedelta(seconds=1) <= created["CreationDate"] <= after
    assert created["Description"] == "Ein Schlüssel"
    assert created["Enabled"] is True
    assert created["KeyState"] == "Enabled"
    assert created["KeyUsage"] == usage
    assert created["KeySpec"] == created["CustomerMasterKeySpec"] == spec
    assert created["Origin"] == "AWS_KMS"
    assert created["KeyManager"] == "CUSTOMER"
    assert created["MultiRegion"] is False
    assert created[list_name] == algorithms
    assert kms.describe_key(KeyId=created["KeyId"])["KeyMetadata"] == created


def tag(key, value):
    """A tag in the form of the API."""
    return {"TagKey": key, "TagValue": value}


def test_the_deprecated_name_of_the_spec(kms):
    created = kms.create_key(CustomerMasterKeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    assert created["KeyMetadata"]["KeySpec"] == "HMAC_256"


@pytest.mark.parametrize(
    "parameters",
    [
        {"KeySpec": "ECC_NIST_P256"},
        {"KeySpec": "HMAC_256"},
        {"KeySpec": "HMAC_256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "HMAC_256", "CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "RSA_1024", "KeyUsage": "SIGN_VERIFY"},
        {"Description": "x" * 8193},
        {"Origin": "ELSEWHERE"},
        {"KeyUsage": "EVERYTHING"},
    ],
    ids=str,
)  # fmt: skip
def test_creation_refused(raw, parameters):
    with refused("ValidationException"):
        raw.create_key(**parameters)


def test_what_aws_has_in_china_alone(kms):
    with refused("UnsupportedOperationException"):
        kms.create_key(KeySpec="SM2", KeyUsage="SIGN_VERIFY")


def test_there_are_no_custom_key_stores(kms):
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
    for call, parameters in (
        (kms.describe_custom_key_stores, {"CustomKeyStoreName": "x"}),
        (kms.connect_custom_key_store, {"CustomKeyStoreId": "cks-1"}),
        (kms.disconnect_custom_key_store, {"CustomKeyStoreId": "cks-1"}),
        (kms.delete_custom_key_store, {"CustomKeyStoreId": "cks-1"}),
        (kms.update_custom_key_store, {"CustomKeyStoreId": "cks-1"}),
        (kms.create_key, {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": "cks-1"}),
        (kms.generate_random, {"NumberOfBytes": 1, "CustomKeyStoreId": "cks-1"}),
    ):
        with refused("CustomKeyStoreNotFoundException"):
            call(**parameters)
    with refused("CloudHsmClusterNotFoundException"):
        kms.create_custom_key_store(
            CustomKeyStoreName="x", CloudHsmClusterId="cluster-1a23b4cdefg", KeyStorePassword="password"
        )


def test_last_usage(kms, symmetric):
    key = symmetric["KeyId"]
    before = kms.get_key_last_usage(KeyId=key)
    assert before["KeyLastUsage"] == {}
    assert before["TrackingStartDate"] == before["KeyCreationDate"] == symmetric["CreationDate"]
    made = kms.encrypt(KeyId=key, Plaintext=b"x")
    usage = kms.get_key_last_usage(KeyId=symmetric["Arn"])["KeyLastUsage"]
    assert usage["Operation"] == "Encrypt"
    assert usage["KmsRequestId"] == made["ResponseMetadata"]["RequestId"]
    assert usage["Timestamp"] >= symmetric["CreationDate"]


def test_disable_and_enable(kms, symmetric):
    key, disabled = symmetric["KeyId"], f"{symmetric['Arn']} is disabled."
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for _ in range(2):  # idempotent
        kms.disable_key(KeyId=key)
        metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
        assert (metadata["KeyState"], metadata["Enabled"]) == ("Disabled", False)
    for call, parameters in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_256"}),
        (kms.generate_data_key_without_plaintext, {"KeyId": key, "KeySpec": "AES_256"}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key}),
    ):
        with refused("DisabledException", disabled):
            call(**parameters)
    for _ in range(2):
        kms.enable_key(KeyId=key)
        assert kms.describe_key(KeyId=key)["KeyMetadata"] == symmetric
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_deletion_and_its_cancellation(kms, symmetric, alias):
    key, arn = symmetric["KeyId"], symmetric["Arn"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refused("KMSInvalidStateException", f"{arn} is not pending deletion."):
        kms.cancel_key_deletion(KeyId=key)

    scheduled = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert scheduled["KeyId"] == arn
    assert scheduled["KeyState"] == "PendingDeletion"
    assert scheduled["PendingWindowInDays"] == 7
    in_days = scheduled["DeletionDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=6, hours=23) < in_days <= datetime.timedelta(days=7)
    metadata = kms.describe_key(KeyId=alias)["KeyMetadata"]
    assert metadata["DeletionDate"] == scheduled["DeletionDate"]
    assert metadata["Enabled"] is False

    pending = f"{arn} is pending deletion."
    other = f"{alias}/2"
    for call, parameters in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.enable_key, {"KeyId": key}),
        (kms.disable_key, {"KeyId": key}),
        (kms.schedule_key_deletion, {"KeyId": key}),
        (kms.update_key_description, {"KeyId": key, "Description": "x"}),
        (kms.tag_resource, {"KeyId": key, "Tags": [tag("a", "b")]}),
        (kms.untag_resource, {"KeyId": key, "TagKeys": ["a"]}),
        (kms.create_alias, {"AliasName": other, "TargetKeyId": key}),
    ):
        with refused("KMSInvalidStateException", pending):
            call(**parameters)
    assert kms.get_key_policy(KeyId=key)["PolicyName"] == "default"
    assert kms.list_resource_tags(KeyId=key)["Tags"] == []
    assert [entry["AliasName"] for entry in kms.list_aliases(KeyId=key)["Aliases"]] == [alias]

    assert kms.cancel_key_deletion(KeyId=key)["KeyId"] == arn
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert metadata["KeyState"] == "Disabled"
    assert "DeletionDate" not in metadata
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_the_default_waiting_period(kms, symmetric):
    scheduled = kms.schedule_key_deletion(KeyId=symmetric["KeyId"])
    assert scheduled["PendingWindowInDays"] == 30


@pytest.mark.parametrize("days", [0, 1, 6, 31, 366])
def test_limits_of_the_waiting_period(raw, symmetric, days):
    with refused("ValidationException"):
        raw.schedule_key_deletion(KeyId=symmetric["KeyId"], PendingWindowInDays=days)
    assert raw.describe_key(KeyId=symmetric["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_description(kms, raw, symmetric):
    for description in ("x" * 8192, "", "neu: ä"):
        kms.update_key_description(KeyId=symmetric["Arn"], Description=description)
        metadata = kms.describe_key(KeyId=symmetric["KeyId"])["KeyMetadata"]
        assert metadata["Description"] == description
    with refused("ValidationException", invalid("description")):
        raw.update_key_description(KeyId=symmetric["KeyId"], Description="x" * 8193)
    with refused("ValidationException", invalid("description", "not be null")):
        raw.update_key_description(KeyId=symmetric["KeyId"])


def test_listing_in_pages(kms):
    made = {kms.create_key()["KeyMetadata"]["Arn"] for _ in range(7)}
    listed = []
    for page in pages(kms.list_keys, "Keys", Limit=3):
        assert len(page) <= 3
        listed += page
    arns = [entry["KeyArn"] for entry in listed]
    assert len(arns) == len(set(arns))
    assert made <= set(arns)
    assert all(entry["KeyArn"].endswith("key/" + entry["KeyId"]) for entry in listed)
    by_sdk = kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
    assert [entry["KeyArn"] for entry in by_sdk.search("Keys[]")] == arns


def test_a_page_is_stable_while_keys_are_made(kms):
    for _ in range(4):
        kms.create_key()
    first = kms.list_keys(Limit=2)
    kms.create_key()
    rest = [
        entry["KeyArn"]
        for page in pages(kms.list_keys, "Keys", Limit=1000)
        for entry in page
    ]
    after = kms.list_keys(Limit=1000, Marker=first["NextMarker"])["Keys"]
    assert {entry["KeyArn"] for entry in first["Keys"] + after} <= set(rest)
    assert not {entry["KeyArn"] for entry in first["Keys"]} & {e["KeyArn"] for e in after}


def test_bad_pages(kms, raw):
    for limit in (0, 1001):
        with refused("ValidationException", invalid("limit")):
            raw.list_keys(Limit=limit)
    for marker in ("nonsense", "AAAA", "ÿ"):
        with refused("InvalidMarkerException"):
            kms.list_keys(Marker=marker)
    aliases = kms.list_aliases(Limit=1)
    if aliases["Truncated"]:
        with refused("InvalidMarkerException"):
            kms.list_keys(Marker=aliases["NextMarker"])


def test_identifiers_that_name_nothing(kms, symmetric):
    arn = symmetric["Arn"]
    prefix = arn.rsplit("/", 1)[0]
    account = symmetric["AWSAccountId"]
    with refused("NotFoundException", f"Key '{prefix}/{ABSENT}' does not exist"):
        kms.describe_key(KeyId=ABSENT)
    with refused("NotFoundException", f"Key '{prefix}/{ABSENT}' does not exist"):
        kms.encrypt(KeyId=f"{prefix}/{ABSENT}", Plaintext=b"x")
    with refused("NotFoundException", "Invalid keyId 'nonsense'"):
        kms.describe_key(KeyId="nonsense")
    elsewhere = arn.replace(kms.meta.region_name, "eu-central-1")
    with refused("NotFoundException", "Invalid arn eu-central-1"):
        kms.describe_key(KeyId=elsewhere)
    alias_arn = f"{prefix.rsplit(':', 1)[0]}:alias/absent"
    for form in ("alias/absent", alias_arn):
        with refused("NotFoundException", f"Alias {alias_arn} is not found."):
            kms.encrypt(KeyId=form, Plaintext=b"x")
    for broken in ("arn:", "arn:aws:kms", f"arn:aws:kms:us-east-1:{account}:keys/{ABSENT}"):
        with refused("InvalidArnException"):
            kms.describe_key(KeyId=broken)


def test_a_key_of_another_account_is_not_told_apart_from_none(kms, symmetric):
    foreign = symmetric["Arn"].replace(symmetric["AWSAccountId"], "123456789012")
    with refused("AccessDeniedException"):
        kms.encrypt(KeyId=foreign, Plaintext=b"x")
    with refused("AccessDeniedException"):
        kms.describe_key(KeyId=foreign)


def test_forms_that_only_cryptographic_operations_take(kms, symmetric, alias):
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    for call in (kms.disable_key, kms.enable_key, kms.get_key_policy, kms.list_resource_tags):
        call(KeyId=symmetric["Arn"])
        with refused("InvalidArnException", "Key Aliases are not supported for this operation."):
            call(KeyId=alias)


def test_key_id_limits(raw):
    with refused("ValidationException", invalid("keyId", "not be null")):
        raw.describe_key()
    for key in ("", "x" * 2049):
        with refused("ValidationException", invalid("keyId")):
            raw.describe_key(KeyId=key)


def test_two_constraints_are_counted(raw):
    with refused("ValidationException") as error:
        raw.encrypt(KeyId="", Plaintext=b"")
    assert error["Message"].startswith("2 validation errors detected: ")
