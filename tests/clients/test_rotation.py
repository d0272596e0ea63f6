"""Rotation: by schedule, as Terraform sets it up, and on demand."""

import datetime

import pytest

from strongroom import refused


def test_a_schedule(kms, symmetric):
    key = {"KeyId": symmetric["KeyId"]}
    status = kms.get_key_rotation_status(**key)
    assert (status["KeyId"], status["KeyRotationEnabled"]) == (symmetric["Arn"], False)
    assert "RotationPeriodInDays" not in status and "NextRotationDate" not in status

    for period in (365, 90):
        kms.enable_key_rotation(**key, **({} if period == 365 else {"RotationPeriodInDays": period}))
        status = kms.get_key_rotation_status(**key)
        assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, period)
        ahead = status["NextRotationDate"] - datetime.datetime.now(datetime.timezone.utc)
        assert abs(ahead - datetime.timedelta(days=period)) < datetime.timedelta(minutes=5)
    kms.disable_key_rotation(**key)
    assert kms.get_key_rotation_status(**key)["KeyRotationEnabled"] is False


@pytest.mark.parametrize("period", [89, 2561])
def test_periods_have_limits(raw, symmetric, period):
    with refused("ValidationException"):
        raw.enable_key_rotation(KeyId=symmetric["KeyId"], RotationPeriodInDays=period)


def test_on_demand(kms, symmetric):
    key = {"KeyId": symmetric["KeyId"]}
    before = kms.encrypt(**key, Plaintext=b"before")
    first = symmetric["CurrentKeyMaterialId"]
    assert kms.rotate_key_on_demand(**key)["KeyId"] == symmetric["Arn"]
    second = kms.describe_key(**key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert second != first
    after = kms.encrypt(**key, Plaintext=b"after")
    for answer, text, material in ((before, b"before", first), (after, b"after", second)):
        plain = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])
        assert (plain["Plaintext"], plain["KeyMaterialId"]) == (text, material)

    moved = kms.re_encrypt(CiphertextBlob=before["CiphertextBlob"], DestinationKeyId=key["KeyId"])
    assert (moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]) == (first, second)
    (rotation,) = kms.list_key_rotations(**key)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialId"]) == ("ON_DEMAND", second)
    pages = kms.get_paginator("list_key_rotations").paginate(
        **key, IncludeKeyMaterial="ALL_KEY_MATERIAL", PaginationConfig={"PageSize": 1}
    )
    listed = [entry for page in pages for entry in page["Rotations"]]
    assert [entry["KeyMaterialId"] for entry in listed] == [first, second]
    assert [entry["KeyMaterialState"] for entry in listed] == ["NON_CURRENT", "CURRENT"]


def test_other_keys_do_not_rotate(kms, mac, signing):
    for key in (mac, signing):
        for call in (kms.enable_key_rotation, kms.rotate_key_on_demand):
            with refused("UnsupportedOperationException"):
                call(KeyId=key["KeyId"])
        kms.disable_key_rotation(KeyId=key["KeyId"])
        status = kms.get_key_rotation_status(KeyId=key["KeyId"])
        assert (status["KeyId"], status["KeyRotationEnabled"]) == (key["Arn"], False)
        assert kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"] == []


def test_the_names_of_policies(kms, symmetric):
    assert kms.list_key_policies(KeyId=symmetric["KeyId"])["PolicyNames"] == ["default"]
