"""The life of an HMAC key."""

import os

import pytest

from strongroom import invalid, key_forms, refused

HMAC = "HMAC_SHA_256"


@pytest.mark.parametrize("size", [1, 63, 64, 65, 4096])
def test_round_trip(kms, mac, size):
    message = os.urandom(size)
    answer = kms.generate_mac(KeyId=mac["KeyId"], Message=message, MacAlgorithm=HMAC)
    assert answer["KeyId"] == mac["Arn"]
    assert answer["MacAlgorithm"] == HMAC
    assert len(answer["Mac"]) == 32
    verified = kms.verify_mac(
        KeyId=mac["KeyId"], Message=message, MacAlgorithm=HMAC, Mac=answer["Mac"]
    )
    assert verified["MacValid"] is True
    assert verified["KeyId"] == mac["Arn"]


def test_a_mac_is_a_function_of_key_and_message(kms, mac):
    other = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]

    def tag(key, message):
        return kms.generate_mac(KeyId=key["KeyId"], Message=message, MacAlgorithm=HMAC)["Mac"]

    assert tag(mac, b"m") == tag(mac, b"m")
    assert len({tag(mac, b"m"), tag(mac, b"n"), tag(other, b"m")}) == 3


def test_all_four_forms_of_the_key_id(kms, mac, alias):
    for form in key_forms(kms, mac, alias):
        tag = kms.generate_mac(KeyId=form, Message=b"form", MacAlgorithm=HMAC)["Mac"]
        answer = kms.verify_mac(KeyId=form, Message=b"form", MacAlgorithm=HMAC, Mac=tag)
        assert answer["KeyId"] == mac["Arn"]


def test_a_bad_mac_is_an_error_never_false(kms, mac):
    tag = kms.generate_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm=HMAC)["Mac"]
    flipped = bytes([tag[0] ^ 0x80]) + tag[1:]
    for message, wrong in (
        (b"n", tag), (b"m", flipped), (b"m", tag[:-1]), (b"m", tag[:1]), (b"m", tag + b"\0"),
        (b"m", bytes(32)),
    ):  # fmt: skip
        with refused("KMSInvalidMacException"):
            kms.verify_mac(KeyId=mac["KeyId"], Message=message, MacAlgorithm=HMAC, Mac=wrong)


def test_limits(raw, mac):
    for size in (0, 4097):
        with refused("ValidationException", invalid("message")):
            raw.generate_mac(KeyId=mac["KeyId"], Message=bytes(size), MacAlgorithm=HMAC)
    for size in (0, 6145):
        with refused("ValidationException", invalid("mac")):
            raw.verify_mac(
                KeyId=mac["KeyId"], Message=b"m", MacAlgorithm=HMAC, Mac=bytes(size)
            )


def test_the_algorithm_has_to_fit_the_key(kms, raw, mac):
    with refused("InvalidKeyUsageException"):
        kms.generate_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm="HMAC_SHA_512")
    with refused("InvalidKeyUsageException"):
        kms.verify_mac(
            KeyId=mac["KeyId"], Message=b"m", MacAlgorithm="HMAC_SHA_512", Mac=bytes(64)
        )
    with refused("ValidationException", invalid("macAlgorithm", "satisfy enum value set: [")):
        raw.generate_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm="HMAC_MD5")


def test_wrong_kind_of_key(kms, symmetric, signing):
    for key in (symmetric["KeyId"], signing["KeyId"]):
        with refused("InvalidKeyUsageException"):
            kms.generate_mac(KeyId=key, Message=b"m", MacAlgorithm=HMAC)
        with refused("InvalidKeyUsageException"):
            kms.verify_mac(KeyId=key, Message=b"m", MacAlgorithm=HMAC, Mac=bytes(32))


def test_a_disabled_key(kms, mac):
    kms.disable_key(KeyId=mac["KeyId"])
    disabled = f"{mac['Arn']} is disabled."
    with refused("DisabledException", disabled):
        kms.generate_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm=HMAC)
    with refused("DisabledException", disabled):
        kms.verify_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm=HMAC, Mac=bytes(32))


def test_dry_run(kms, mac):
    with refused("DryRunOperationException"):
        kms.generate_mac(KeyId=mac["KeyId"], Message=b"m", MacAlgorithm=HMAC, DryRun=True)
