"""The life of a P-256 key: signatures verified by an independent library, and what is refused."""

import hashlib
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from strongroom import invalid, key_forms, refused

ECDSA = "ECDSA_SHA_256"


def public_key(kms, key):
    """The key's public half in the independent library's form."""
    answer = kms.get_public_key(KeyId=key["KeyId"])
    assert answer["KeyId"] == key["Arn"]
    assert answer["KeySpec"] == answer["CustomerMasterKeySpec"] == "ECC_NIST_P256"
    assert answer["KeyUsage"] == "SIGN_VERIFY"
    assert answer["SigningAlgorithms"] == [ECDSA]
    loaded = serialization.load_der_public_key(answer["PublicKey"])
    assert isinstance(loaded.curve, ec.SECP256R1)
    return loaded


@pytest.mark.parametrize("size", [1, 63, 64, 65, 4096])
def test_a_raw_message(kms, signing, size):
    message = os.urandom(size)
    answer = kms.sign(KeyId=signing["KeyId"], Message=message, SigningAlgorithm=ECDSA)
    assert answer["KeyId"] == signing["Arn"]
    assert answer["SigningAlgorithm"] == ECDSA
    public_key(kms, signing).verify(answer["Signature"], message, ec.ECDSA(hashes.SHA256()))
    verified = kms.verify(
        KeyId=signing["KeyId"],
        Message=message,
        Signature=answer["Signature"],
        SigningAlgorithm=ECDSA,
    )
    assert verified["SignatureValid"] is True
    assert verified["KeyId"] == signing["Arn"]


def test_a_digest_is_the_same_as_its_message(kms, signing):
    message = os.urandom(100_000)
    digest = hashlib.sha256(message).digest()
    signature = kms.sign(
        KeyId=signing["KeyId"], Message=digest, MessageType="DIGEST", SigningAlgorithm=ECDSA
    )["Signature"]
    prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    public_key(kms, signing).verify(signature, digest, prehashed)
    public_key(kms, signing).verify(signature, message, ec.ECDSA(hashes.SHA256()))
    # Signed as the message itself, the digest is hashed once more.
    with pytest.raises(InvalidSignature):
        public_key(kms, signing).verify(signature, digest, ec.ECDSA(hashes.SHA256()))
    short = message[:4096]
    raw = kms.sign(KeyId=signing["KeyId"], Message=short, SigningAlgorithm=ECDSA)["Signature"]
    assert kms.verify(
        KeyId=signing["KeyId"],
        Message=hashlib.sha256(short).digest(),
        MessageType="DIGEST",
        Signature=raw,
        SigningAlgorithm=ECDSA,
    )["SignatureValid"]


def test_all_four_forms_of_the_key_id(kms, signing, alias):
    for form in key_forms(kms, signing, alias):
        signature = kms.sign(KeyId=form, Message=b"form", SigningAlgorithm=ECDSA)["Signature"]
        answer = kms.verify(
            KeyId=form, Message=b"form", Signature=signature, SigningAlgorithm=ECDSA
        )
        assert answer["KeyId"] == signing["Arn"]
        assert kms.get_public_key(KeyId=form)["KeyId"] == signing["Arn"]


def test_the_public_key_never_changes(kms, signing):
    first = kms.get_public_key(KeyId=signing["KeyId"])["PublicKey"]
    assert len(first) == 91
    assert kms.get_public_key(KeyId=signing["KeyId"])["PublicKey"] == first


def test_a_bad_signature_is_an_error_never_false(kms, signing):
    good = kms.sign(KeyId=signing["KeyId"], Message=b"message", SigningAlgorithm=ECDSA)
    signature = good["Signature"]
    other = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    r, s = utils.decode_dss_signature(signature)
    flipped = signature[:-1] + bytes([signature[-1] ^ 1])
    zero = utils.encode_dss_signature(0, s)
    swapped = utils.encode_dss_signature(s, r)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    too_large = utils.encode_dss_signature(r, order)
    for key, message, wrong in (
        (signing["KeyId"], b"Message", signature),
        (other["KeyId"], b"message", signature),
        *(
            (signing["KeyId"], b"message", wrong)
            for wrong in (
                flipped, zero, swapped, too_large, signature[:-1], signature + b"\0", b"\0", b"x" * 64
            )
        ),
    ):  # fmt: skip
        with refused("KMSInvalidSignatureException"):
            kms.verify(KeyId=key, Message=message, Signature=wrong, SigningAlgorithm=ECDSA)


@pytest.mark.parametrize("size", [0, 4097])
def test_message_limits(raw, signing, size):
    with refused("ValidationException", invalid("message")):
        raw.sign(KeyId=signing["KeyId"], Message=bytes(size), SigningAlgorithm=ECDSA)


@pytest.mark.parametrize("size", [1, 31, 33, 48, 64])
def test_a_digest_has_the_length_of_the_hash(kms, signing, size):
    parameters = {"Message": bytes(size), "MessageType": "DIGEST", "SigningAlgorithm": ECDSA}
    with refused("ValidationException"):
        kms.sign(KeyId=signing["KeyId"], **parameters)
    with refused("ValidationException"):
        kms.verify(KeyId=signing["KeyId"], Signature=b"x" * 70, **parameters)


def test_the_algorithm_has_to_fit_the_key(kms, raw, signing):
    for algorithm in ("ECDSA_SHA_384", "RSASSA_PSS_SHA_256"):
        with refused("InvalidKeyUsageException"):
            kms.sign(KeyId=signing["KeyId"], Message=b"x", SigningAlgorithm=algorithm)
    with refused("ValidationException", invalid("signingAlgorithm", "satisfy enum value set: [")):
        raw.sign(KeyId=signing["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_1")
    with refused("ValidationException", invalid("signingAlgorithm", "not be null")):
        raw.sign(KeyId=signing["KeyId"], Message=b"x")


def test_wrong_kind_of_key(kms, symmetric, mac):
    for key in (symmetric["KeyId"], mac["KeyId"]):
        with refused("InvalidKeyUsageException"):
            kms.sign(KeyId=key, Message=b"x", SigningAlgorithm=ECDSA)
        with refused("InvalidKeyUsageException"):
            kms.verify(KeyId=key, Message=b"x", Signature=b"x" * 70, SigningAlgorithm=ECDSA)
        with refused("UnsupportedOperationException"):
            kms.get_public_key(KeyId=key)


def test_a_disabled_key_neither_signs_nor_verifies(kms, signing):
    key = signing["KeyId"]
    signature = kms.sign(KeyId=key, Message=b"x", SigningAlgorithm=ECDSA)["Signature"]
    check = {"Message": b"x", "Signature": signature, "SigningAlgorithm": ECDSA}
    kms.disable_key(KeyId=key)
    disabled = f"{signing['Arn']} is disabled."
    with refused("DisabledException", disabled):
        kms.sign(KeyId=key, Message=b"x", SigningAlgorithm=ECDSA)
    with refused("DisabledException", disabled):
        kms.verify(KeyId=key, **check)
    assert kms.get_public_key(KeyId=key)["KeyId"] == signing["Arn"]
    kms.enable_key(KeyId=key)
    assert kms.verify(KeyId=key, **check)["SignatureValid"]


def test_dry_run(kms, signing):
    with refused("DryRunOperationException"):
        kms.sign(KeyId=signing["KeyId"], Message=b"x", SigningAlgorithm=ECDSA, DryRun=True)
