"""Aliases."""

import pytest

from strongroom import invalid, pages, refused


def test_life_of_an_alias(kms, symmetric, alias):
    other = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["Arn"])
    [made] = kms.list_aliases(KeyId=symmetric["KeyId"])["Aliases"]
    assert made["AliasName"] == alias
    assert made["AliasArn"] == symmetric["Arn"].rsplit(":", 1)[0] + ":" + alias
    assert made["TargetKeyId"] == symmetric["KeyId"]
    blob = kms.encrypt(KeyId=alias, Plaintext=b"x")["CiphertextBlob"]

    kms.update_alias(AliasName=alias, TargetKeyId=other["KeyId"])
    assert kms.list_aliases(KeyId=symmetric["KeyId"])["Aliases"] == []
    [moved] = kms.list_aliases(KeyId=other["Arn"])["Aliases"]
    assert moved["TargetKeyId"] == other["KeyId"]
    assert moved["CreationDate"] == made["CreationDate"]
    assert moved["LastUpdatedDate"] >= made["LastUpdatedDate"]
    assert kms.describe_key(KeyId=alias)["KeyMetadata"] == other
    assert kms.decrypt(CiphertextBlob=blob)["KeyId"] == symmetric["Arn"]
    with refused("IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=alias)

    kms.delete_alias(AliasName=alias)
    with refused("NotFoundException", f"Alias {made['AliasArn']} is not found."):
        kms.encrypt(KeyId=alias, Plaintext=b"x")
    with refused("NotFoundException"):
        kms.delete_alias(AliasName=alias)
    with refused("NotFoundException"):
        kms.update_alias(AliasName=alias, TargetKeyId=other["KeyId"])


def test_a_name_is_taken_once(kms, symmetric, alias):
    other = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    for target in (symmetric["KeyId"], other["KeyId"]):
        with refused("AlreadyExistsException"):
            kms.create_alias(AliasName=alias, TargetKeyId=target)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"] == symmetric


@pytest.mark.parametrize("name", ["name", "", "alias/sp ace", "alias/ü", "alias/" + "x" * 251])
def test_names_refused(raw, symmetric, name):
    with refused("ValidationException"):
        raw.create_alias(AliasName=name, TargetKeyId=symmetric["KeyId"])


def test_an_alias_has_a_name(kms, symmetric):
    with refused("InvalidAliasNameException"):
        kms.create_alias(AliasName="alias/", TargetKeyId=symmetric["KeyId"])


def test_the_longest_name(kms, symmetric):
    name = "alias/" + symmetric["KeyId"] + "x" * 214
    assert len(name) == 256
    kms.create_alias(AliasName=name, TargetKeyId=symmetric["KeyId"])
    assert kms.describe_key(KeyId=name)["KeyMetadata"] == symmetric


def test_names_of_aws_are_reserved(kms, symmetric):
    with refused("NotAuthorizedException"):
        kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=symmetric["KeyId"])
    with refused("NotAuthorizedException"):
        kms.update_alias(AliasName="alias/aws/s3", TargetKeyId=symmetric["KeyId"])
    with refused("NotAuthorizedException"):
        kms.delete_alias(AliasName="alias/aws/s3")


def test_a_target_is_a_key(kms, symmetric, alias):
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    with refused("ValidationException"):
        kms.create_alias(AliasName=alias + "/2", TargetKeyId=alias)
    with refused("NotFoundException"):
        kms.create_alias(
            AliasName=alias + "/2", TargetKeyId="00000000-0000-0000-0000-000000000007"
        )


def test_an_alias_does_not_change_its_kind_of_key(kms, symmetric, signing, mac, alias):
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    for target in (signing, mac):
        with refused("ValidationException"):
            kms.update_alias(AliasName=alias, TargetKeyId=target["KeyId"])


def test_an_alias_cannot_move_to_a_key_pending_deletion(kms, symmetric, alias):
    other = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    kms.schedule_key_deletion(KeyId=other["KeyId"])
    with refused("KMSInvalidStateException", f"{other['Arn']} is pending deletion."):
        kms.update_alias(AliasName=alias, TargetKeyId=other["KeyId"])
    kms.schedule_key_deletion(KeyId=symmetric["KeyId"])
    kms.delete_alias(AliasName=alias)


def test_fifty_to_a_key_in_pages(kms, symmetric, alias):
    names = [f"{alias}/{number:02}" for number in range(50)]
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=symmetric["KeyId"])
    with refused("LimitExceededException"):
        kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    listed = [
        entry["AliasName"]
        for page in pages(kms.list_aliases, "Aliases", KeyId=symmetric["KeyId"], Limit=7)
        for entry in page
    ]
    assert sorted(listed) == names
    everything = [
        entry["AliasName"]
        for page in pages(kms.list_aliases, "Aliases", Limit=33)
        for entry in page
    ]
    assert set(names) <= set(everything)
    assert len(everything) == len(set(everything))


def test_listed_aliases_have_their_target(kms, symmetric, alias):
    kms.create_alias(AliasName=alias, TargetKeyId=symmetric["KeyId"])
    listed = [
        entry for page in pages(kms.list_aliases, "Aliases", Limit=100) for entry in page
    ]
    reserved = {
        entry["AliasName"] for entry in listed if entry["AliasName"].startswith("alias/aws/")
    }
    assert {"alias/aws/ebs", "alias/aws/s3", "alias/aws/secretsmanager"} <= reserved
    for entry in listed:
        complete = {"CreationDate", "LastUpdatedDate", "TargetKeyId"} <= entry.keys()
        assert complete or entry["AliasName"] in reserved, entry


def test_bad_listings(kms, raw):
    for limit in (0, 101, 1001):
        with refused("ValidationException"):
            raw.list_aliases(Limit=limit)
    with refused("InvalidMarkerException"):
        kms.list_aliases(Marker="nonsense")
    with refused("NotFoundException"):
        kms.list_aliases(KeyId="00000000-0000-0000-0000-000000000007")
    with refused("ValidationException", invalid("aliasName", "not be null")):
        raw.delete_alias()
