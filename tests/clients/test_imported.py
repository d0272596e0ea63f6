"""Key material that was made elsewhere, wrapped as its owner would."""

import datetime
import os

import pytest
from cryptography.hazmat.primitives import hashes, hmac, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from strongroom import patiently, refused


def make(kms, spec, usage):
    """The id of a key without material."""
    made = kms.create_key(KeySpec=spec, KeyUsage=usage, Origin="EXTERNAL")["KeyMetadata"]
    assert (made["KeyState"], made["Enabled"]) == ("PendingImport", False)
    return made["KeyId"]


def wrap(kms, key, material, algorithm=None, wrapping="RSA_2048"):
    """The parameters of an import: private keys are too long, secrets too short for one algorithm."""
    short = len(material) <= 64
    algorithm = algorithm or ("RSAES_OAEP_SHA_256" if short else "RSA_AES_KEY_WRAP_SHA_256")
    given = patiently(
        kms.get_parameters_for_import,
        KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=wrapping,
    )  # fmt: skip
    public = serialization.load_der_public_key(given["PublicKey"])
    assert public.key_size == int(wrapping.removeprefix("RSA_"))
    digest = hashes.SHA1 if algorithm.endswith("_SHA_1") else hashes.SHA256
    oaep = padding.OAEP(mgf=padding.MGF1(digest()), algorithm=digest(), label=None)
    if algorithm.startswith("RSAES"):
        sealed = public.encrypt(material, oaep)
    else:
        kek = os.urandom(32)
        sealed = public.encrypt(kek, oaep) + keywrap.aes_key_wrap_with_padding(kek, material)
    return {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": sealed}


def forever(kms, parameters, **more):
    """Imports without an end."""
    return kms.import_key_material(
        **parameters, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE", **more
    )


def pkcs8(key):
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "algorithm",
    [
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
    ],
)
def test_every_way_to_wrap(kms, algorithm):
    if algorithm.startswith("RSA_AES"):
        key = make(kms, "ECC_NIST_P256", "SIGN_VERIFY")
        private = ec.generate_private_key(ec.SECP256R1())
        forever(kms, wrap(kms, key, pkcs8(private), algorithm))
        public = kms.get_public_key(KeyId=key)["PublicKey"]
        assert serialization.load_der_public_key(public) == private.public_key()
        return
    key = make(kms, "HMAC_256", "GENERATE_VERIFY_MAC")
    secret = os.urandom(32)
    forever(kms, wrap(kms, key, secret, algorithm))
    tag = kms.generate_mac(KeyId=key, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    ours = hmac.HMAC(secret, hashes.SHA256())
    ours.update(b"m")
    assert tag == ours.finalize()


def test_private_keys(kms):
    for spec, generate, signing in (
        ("RSA_2048", lambda: rsa.generate_private_key(65537, 2048), "RSASSA_PSS_SHA_256"),
        ("ECC_NIST_P384", lambda: ec.generate_private_key(ec.SECP384R1()), "ECDSA_SHA_384"),
    ):
        ours, another = generate(), generate()
        key = make(kms, spec, "SIGN_VERIFY")
        forever(kms, wrap(kms, key, pkcs8(ours)))
        public = kms.get_public_key(KeyId=key)["PublicKey"]
        assert serialization.load_der_public_key(public) == ours.public_key()
        signature = kms.sign(KeyId=key, Message=b"m", SigningAlgorithm=signing)["Signature"]
        if spec == "RSA_2048":
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
            ours.public_key().verify(signature, b"m", pss, hashes.SHA256())
        else:
            ours.public_key().verify(signature, b"m", ec.ECDSA(hashes.SHA384()))
        with refused("IncorrectKeyMaterialException"):
            forever(kms, wrap(kms, key, pkcs8(another)))


def test_the_life_of_imported_material(kms):
    key = make(kms, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    material, ends = os.urandom(32), datetime.datetime.now(datetime.timezone.utc)
    ends = ends.replace(microsecond=0) + datetime.timedelta(days=30)
    imported = kms.import_key_material(**wrap(kms, key, material), ValidTo=ends)
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["ValidTo"]) == ("Enabled", ends)
    assert metadata["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"m")["CiphertextBlob"]

    new = wrap(kms, key, os.urandom(32))
    forever(kms, new, ImportType="NEW_KEY_MATERIAL", KeyMaterialDescription="second")
    kms.rotate_key_on_demand(KeyId=key)
    entries = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [entry["KeyMaterialState"] for entry in entries] == ["NON_CURRENT", "CURRENT"]
    assert entries[1]["KeyMaterialDescription"] == "second"
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"

    deleted = kms.delete_imported_key_material(
        KeyId=key, KeyMaterialId=imported["KeyMaterialId"]
    )
    assert deleted["KeyMaterialId"] == imported["KeyMaterialId"]
    with refused("KMSInvalidStateException"):
        kms.encrypt(KeyId=key, Plaintext=b"m")
    forever(kms, wrap(kms, key, material))
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"
    with refused("UnsupportedOperationException"):
        kms.enable_key_rotation(KeyId=key)
