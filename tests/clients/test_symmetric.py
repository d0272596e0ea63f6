"""The life of a symmetric key: encryption, data keys, re-encryption, and what they refuse."""

import os
import uuid

import pytest

from strongroom import invalid, key_forms, refused

ABSENT = str(uuid.UUID(int=7))
CIPHERTEXT_REFERS = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this "
    "region, or you are not allowed to access."
)
CONTEXT = {"Purpose": "test", "ключ": "значение", "empty": ""}


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 4095, 4096])
def test_round_trip(kms, symmetric, size):
    plaintext = os.urandom(size)
    sealed = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=plaintext)
    assert sealed["KeyId"] == symmetric["Arn"]
    assert sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert plaintext not in sealed["CiphertextBlob"] or size == 1
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])
    assert opened["Plaintext"] == plaintext
    assert opened["KeyId"] == symmetric["Arn"]
    assert opened["KeyMaterialId"] == symmetric["CurrentKeyMaterialId"]


def test_equal_plaintexts_give_different_blobs(kms, symmetric):
    blobs = {
        kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"same")["CiphertextBlob"]
        for _ in range(8)
    }
    assert len(blobs) == 8


def test_all_four_forms_of_the_key_id(kms, symmetric, alias):
    for form in key_forms(kms, symmetric, alias):
        blob = kms.encrypt(KeyId=form, Plaintext=b"form")["CiphertextBlob"]
        assert kms.decrypt(KeyId=form, CiphertextBlob=blob)["Plaintext"] == b"form"
        assert kms.describe_key(KeyId=form)["KeyMetadata"] == symmetric
        assert kms.generate_data_key(KeyId=form, KeySpec="AES_128")["KeyId"] == symmetric["Arn"]
        again = kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=form, DestinationKeyId=form)
        assert again["KeyId"] == again["SourceKeyId"] == symmetric["Arn"]


def test_the_encryption_context_is_authenticated(kms, symmetric):
    key = symmetric["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    other_order = dict(reversed(CONTEXT.items()))
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=other_order)
    assert opened["Plaintext"] == b"x"

    moved = {"Purpose": "tes", "t": "", "ключ": "значение", "empty": ""}
    upper = {**CONTEXT, "purpose": CONTEXT["Purpose"]}
    del upper["Purpose"]
    less = {name: value for name, value in CONTEXT.items() if name != "empty"}
    for wrong in ({}, moved, upper, less, {**CONTEXT, "more": "1"}):
        with refused("InvalidCiphertextException") as error:
            kms.decrypt(CiphertextBlob=blob, EncryptionContext=wrong)
        assert not error.get("Message")


def test_an_absent_context_equals_an_empty_one(kms, symmetric):
    blob = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={})["Plaintext"] == b"x"


def test_a_blob_with_any_byte_changed_is_refused(kms, symmetric):
    blob = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x" * 5)["CiphertextBlob"]
    for position in range(len(blob)):
        damaged = bytearray(blob)
        damaged[position] ^= 1 << (position % 8)
        # Damage to the key id makes it the blob of an unknown key: that must look like a
        # forbidden one.
        try:
            kms.decrypt(CiphertextBlob=bytes(damaged))
        except kms.exceptions.InvalidCiphertextException as error:
            assert not error.response["Error"].get("Message")
        except kms.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDeniedException"
            assert error.response["Error"]["Message"] == CIPHERTEXT_REFERS
        else:
            raise AssertionError(f"byte {position} is not authenticated")
    for short in (blob[:-1], blob[:40], blob[:1], blob + b"\0", bytes(126)):
        with refused("InvalidCiphertextException"):
            kms.decrypt(CiphertextBlob=short)


def test_decrypt_with_another_key(kms, symmetric):
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    with refused("IncorrectKeyException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=other["KeyId"])
    with refused("NotFoundException"):
        kms.decrypt(CiphertextBlob=blob, KeyId=ABSENT)
    with refused("IncorrectKeyException"):
        kms.re_encrypt(
            CiphertextBlob=blob, SourceKeyId=other["KeyId"], DestinationKeyId=symmetric["KeyId"]
        )


@pytest.mark.parametrize("spec, size", [("AES_128", 16), ("AES_256", 32)])
def test_data_keys_by_spec(kms, symmetric, spec, size):
    key = kms.generate_data_key(
        KeyId=symmetric["KeyId"], KeySpec=spec, EncryptionContext=CONTEXT
    )
    assert len(key["Plaintext"]) == size
    assert key["KeyMaterialId"] == symmetric["CurrentKeyMaterialId"]
    opened = kms.decrypt(CiphertextBlob=key["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == key["Plaintext"]


@pytest.mark.parametrize("size", [1, 64, 1024])
def test_data_keys_by_length(kms, symmetric, size):
    key = kms.generate_data_key(KeyId=symmetric["KeyId"], NumberOfBytes=size)
    assert len(key["Plaintext"]) == size
    assert kms.decrypt(CiphertextBlob=key["CiphertextBlob"])["Plaintext"] == key["Plaintext"]


def test_data_keys_without_plaintext(kms, symmetric):
    key = kms.generate_data_key_without_plaintext(
        KeyId=symmetric["KeyId"], NumberOfBytes=48, EncryptionContext=CONTEXT
    )
    assert "Plaintext" not in key
    opened = kms.decrypt(CiphertextBlob=key["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert len(opened["Plaintext"]) == 48


@pytest.mark.parametrize(
    "parameters",
    [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}],
    ids=["neither", "both"],
)
def test_a_data_key_needs_exactly_one_length(kms, symmetric, parameters):
    for call in (kms.generate_data_key, kms.generate_data_key_without_plaintext):
        with refused("ValidationException"):
            call(KeyId=symmetric["KeyId"], **parameters)


def test_re_encrypt(kms, symmetric):
    other = kms.create_key()["KeyMetadata"]
    plaintext = os.urandom(4096)
    blob = kms.encrypt(
        KeyId=symmetric["KeyId"], Plaintext=plaintext, EncryptionContext=CONTEXT
    )["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"moved": "yes"},
    )
    assert moved["SourceKeyId"] == symmetric["Arn"]
    assert moved["KeyId"] == other["Arn"]
    assert moved["SourceKeyMaterialId"] == symmetric["CurrentKeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == other["CurrentKeyMaterialId"]
    opened = kms.decrypt(
        CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"moved": "yes"}
    )
    assert opened["Plaintext"] == plaintext
    assert opened["KeyId"] == other["Arn"]
    with refused("InvalidCiphertextException"):
        kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=other["KeyId"])


@pytest.mark.parametrize("size", [0, 4097])
def test_plaintext_limits(raw, symmetric, size):
    with refused("ValidationException", invalid("plaintext")):
        raw.encrypt(KeyId=symmetric["KeyId"], Plaintext=bytes(size))


def test_ciphertext_limits(raw):
    for size in (0, 6145):
        with refused("ValidationException", invalid("ciphertextBlob")):
            raw.decrypt(CiphertextBlob=bytes(size))


@pytest.mark.parametrize("size", [0, 1025, -1])
def test_data_key_limits(raw, symmetric, size):
    with refused("ValidationException", invalid("numberOfBytes")):
        raw.generate_data_key(KeyId=symmetric["KeyId"], NumberOfBytes=size)


def test_an_enumeration_names_its_values(raw, symmetric):
    with refused("ValidationException", invalid("keySpec", "satisfy enum value set: [")):
        raw.generate_data_key(KeyId=symmetric["KeyId"], KeySpec="AES_512")


@pytest.mark.parametrize("size", [1, 31, 1024])
def test_random(kms, size):
    first = kms.generate_random(NumberOfBytes=size)["Plaintext"]
    assert len(first) == size
    assert size == 1 or first != kms.generate_random(NumberOfBytes=size)["Plaintext"]


def test_random_limits(raw):
    for parameters in ({}, {"NumberOfBytes": 0}, {"NumberOfBytes": 1025}):
        with refused("ValidationException"):
            raw.generate_random(**parameters)


def test_wrong_kind_of_key(kms, signing, mac):
    blob = kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"x")
    for key in (signing["KeyId"], mac["KeyId"]):
        with refused("InvalidKeyUsageException"):
            kms.encrypt(KeyId=key, Plaintext=b"x")
        with refused("InvalidKeyUsageException"):
            kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        with refused("InvalidKeyUsageException"):
            kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
        with refused("InvalidKeyUsageException"):
            kms.re_encrypt(CiphertextBlob=blob["CiphertextBlob"], DestinationKeyId=key)


def test_dry_run_answers_whether_it_would_succeed(kms, symmetric):
    key = symmetric["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for call, parameters in (
        (kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key}),
        (kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_256"}),
        (kms.generate_data_key_without_plaintext, {"KeyId": key, "KeySpec": "AES_256"}),
    ):
        with refused("DryRunOperationException"):
            call(DryRun=True, **parameters)
    kms.disable_key(KeyId=key)
    with refused("DisabledException", f"{symmetric['Arn']} is disabled."):
        kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)
