"""Every asymmetric key spec, held against an independent library."""

import hashlib
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from strongroom import patiently, refused

HASHES = {"1": hashes.SHA1(), "256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}

CURVES = {
    "ECC_NIST_P256": (ec.SECP256R1, "ECDSA_SHA_256"),
    "ECC_NIST_P384": (ec.SECP384R1, "ECDSA_SHA_384"),
    "ECC_NIST_P521": (ec.SECP521R1, "ECDSA_SHA_512"),
    "ECC_SECG_P256K1": (ec.SECP256K1, "ECDSA_SHA_256"),
}

RSA_SIGNATURES = [
    f"RSASSA_{scheme}_SHA_{size}" for scheme in ("PSS", "PKCS1_V1_5") for size in (256, 384, 512)
]


def create(kms, spec, usage):
    """The id of a new key."""
    return patiently(kms.create_key, KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]


def public_key(kms, key):
    """The key's public half in the independent library's form."""
    return serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])


def hash_of(algorithm):
    """The hash that an algorithm's name ends with."""
    return HASHES[algorithm.rsplit("_", 1)[1]]


def signed(kms, key, algorithm, message, message_type="RAW"):
    """A signature that the service itself accepts, and no other message with it."""
    what = {
        "KeyId": key,
        "Message": message,
        "MessageType": message_type,
        "SigningAlgorithm": algorithm,
    }
    signature = kms.sign(**what)["Signature"]
    assert kms.verify(**what, Signature=signature)["SignatureValid"]
    with refused("KMSInvalidSignatureException"):
        kms.verify(**what | {"Message": bytes(len(message))}, Signature=signature)
    return signature


@pytest.fixture(scope="module")
def rsa_signing(kms):
    """A key pair that signs; it takes a device a while to find one."""
    return create(kms, "RSA_2048", "SIGN_VERIFY")


@pytest.fixture(scope="module")
def rsa_cipher(kms):
    """A key pair that encrypts."""
    return create(kms, "RSA_2048", "ENCRYPT_DECRYPT")


@pytest.mark.parametrize("spec", CURVES)
def test_ecdsa(kms, spec):
    curve, algorithm = CURVES[spec]
    key = create(kms, spec, "SIGN_VERIFY")
    public, chosen = public_key(kms, key), hash_of(algorithm)
    assert isinstance(public.curve, curve)
    message = os.urandom(1000)
    public.verify(signed(kms, key, algorithm, message), message, ec.ECDSA(chosen))
    digest = hashlib.new(chosen.name, message).digest()
    signature = signed(kms, key, algorithm, digest, "DIGEST")
    public.verify(signature, digest, ec.ECDSA(utils.Prehashed(chosen)))


@pytest.mark.parametrize("algorithm", RSA_SIGNATURES)
def test_rsa_signatures(kms, rsa_signing, algorithm):
    chosen = hash_of(algorithm)
    pkcs1 = padding.PKCS1v15()
    pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
    scheme = pss if "PSS" in algorithm else pkcs1
    public = public_key(kms, rsa_signing)
    assert (public.key_size, public.public_numbers().e) == (2048, 65537)
    message = os.urandom(1000)
    public.verify(signed(kms, rsa_signing, algorithm, message), message, scheme, chosen)
    digest = hashlib.new(chosen.name, message).digest()
    signature = signed(kms, rsa_signing, algorithm, digest, "DIGEST")
    public.verify(signature, message, scheme, chosen)
    with pytest.raises(InvalidSignature):
        public.verify(signature, digest, scheme, chosen)


def test_ed25519(kms):
    key = create(kms, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    message = os.urandom(1000)
    public_key(kms, key).verify(signed(kms, key, "ED25519_SHA_512", message), message)
    prehashed = signed(kms, key, "ED25519_PH_SHA_512", hashlib.sha512(message).digest(), "DIGEST")
    assert len(prehashed) == 64
    for algorithm, message_type in (("ED25519_SHA_512", "DIGEST"), ("ED25519_PH_SHA_512", "RAW")):
        with refused("ValidationException"):
            kms.sign(
                KeyId=key, Message=bytes(64), MessageType=message_type, SigningAlgorithm=algorithm
            )


@pytest.mark.parametrize(
    "spec, size", [("ML_DSA_44", 2420), ("ML_DSA_65", 3309), ("ML_DSA_87", 4627)]
)
def test_ml_dsa(kms, spec, size):
    algorithm = "ML_DSA_SHAKE_256"
    key = create(kms, spec, "SIGN_VERIFY")
    answer = kms.get_public_key(KeyId=key)
    assert answer["KeySpec"] == answer["CustomerMasterKeySpec"] == spec
    message = os.urandom(1000)
    signature = signed(kms, key, algorithm, message)
    assert len(signature) == size
    public_key(kms, key).verify(signature, message)
    # FIPS 204, 6.2: mu = H(H(public key) || 0 || length of the context || message).
    raw = answer["PublicKey"][22:]
    tr = hashlib.shake_256(raw).digest(64)
    mu = hashlib.shake_256(tr + b"\0\0" + message).digest(64)
    what = {"KeyId": key, "Message": mu, "MessageType": "EXTERNAL_MU"}
    assert kms.verify(**what, SigningAlgorithm=algorithm, Signature=signature)["SignatureValid"]
    signed(kms, key, algorithm, mu, "EXTERNAL_MU")
    with refused("ValidationException"):
        kms.sign(KeyId=key, Message=mu, MessageType="DIGEST", SigningAlgorithm=algorithm)


@pytest.mark.parametrize("size", [1, 256])
def test_rsa_encryption(kms, rsa_cipher, size):
    chosen = HASHES[str(size)]
    algorithm = f"RSAES_OAEP_SHA_{size}"
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, None)
    longest = 256 - 2 * chosen.digest_size - 2
    for length in (1, longest):
        plaintext = os.urandom(length)
        outside = public_key(kms, rsa_cipher).encrypt(plaintext, oaep)
        answer = kms.decrypt(
            KeyId=rsa_cipher, CiphertextBlob=outside, EncryptionAlgorithm=algorithm
        )
        assert (answer["Plaintext"], answer["EncryptionAlgorithm"]) == (plaintext, algorithm)
        assert "KeyMaterialId" not in answer
        inside = kms.encrypt(
            KeyId=rsa_cipher, Plaintext=plaintext, EncryptionAlgorithm=algorithm
        )["CiphertextBlob"]
        answer = kms.decrypt(
            KeyId=rsa_cipher, CiphertextBlob=inside, EncryptionAlgorithm=algorithm
        )
        assert answer["Plaintext"] == plaintext
    with refused("ValidationException"):
        kms.encrypt(
            KeyId=rsa_cipher, Plaintext=bytes(longest + 1), EncryptionAlgorithm=algorithm
        )
    with refused("InvalidCiphertextException"):
        kms.decrypt(
            KeyId=rsa_cipher, CiphertextBlob=b"\1" * 256, EncryptionAlgorithm=algorithm
        )


def test_re_encryption_across_algorithms(kms, rsa_cipher, symmetric):
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    plaintext = os.urandom(100)
    moved = kms.re_encrypt(
        CiphertextBlob=public_key(kms, rsa_cipher).encrypt(plaintext, oaep),
        SourceKeyId=rsa_cipher,
        SourceEncryptionAlgorithm="RSAES_OAEP_SHA_256",
        DestinationKeyId=symmetric["KeyId"],
        DestinationEncryptionContext={"a": "b"},
    )
    assert "SourceKeyMaterialId" not in moved and moved["DestinationKeyMaterialId"]
    blob = moved["CiphertextBlob"]
    answer = kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})
    assert answer["Plaintext"] == plaintext


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_key_agreement(kms, spec):
    key = create(kms, spec, "KEY_AGREEMENT")
    own = ec.generate_private_key(CURVES[spec][0]())

    def derive(public):
        spki = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return kms.derive_shared_secret(
            KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=spki
        )

    answer = derive(own.public_key())
    assert answer["SharedSecret"] == own.exchange(ec.ECDH(), public_key(kms, key))
    assert answer["KeyOrigin"] == "AWS_KMS"
    foreign = ec.SECP384R1 if spec == "ECC_NIST_P256" else ec.SECP256R1
    with refused("ValidationException"):
        derive(ec.generate_private_key(foreign()).public_key())


@pytest.mark.parametrize(
    "spec, size", [("ML_KEM_512", 768), ("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)]
)
def test_encapsulation(kms, spec, size):
    key = create(kms, spec, "ENCAPSULATE_DECAPSULATE")
    named = {"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"}
    made = kms.encapsulate(**named)
    blob = made["SharedSecretCiphertextBlob"]
    assert (len(blob), len(made["SharedSecret"])) == (size, 32)
    opened = kms.decapsulate(**named, SharedSecretCiphertextBlob=blob)
    assert opened["SharedSecret"] == made["SharedSecret"]
    if spec != "ML_KEM_512":  # which the library has not
        secret, outside = public_key(kms, key).encapsulate()
        opened = kms.decapsulate(**named, SharedSecretCiphertextBlob=outside)
        assert opened["SharedSecret"] == secret
    wrong = kms.decapsulate(**named, SharedSecretCiphertextBlob=bytes(size))
    assert wrong["SharedSecret"] != made["SharedSecret"]
    with refused("InvalidCiphertextException"):
        kms.decapsulate(**named, SharedSecretCiphertextBlob=blob[:-1])


@pytest.mark.parametrize("spec", ["RSA_2048", *CURVES, "ECC_NIST_EDWARDS25519"])
def test_data_key_pairs(kms, symmetric, spec):
    what = {"KeyId": symmetric["KeyId"], "KeyPairSpec": spec, "EncryptionContext": {"a": "b"}}
    pair = patiently(kms.generate_data_key_pair, **what)
    private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public == pair["PublicKey"]
    assert isinstance(private, rsa.RSAPrivateKey) == (spec == "RSA_2048")
    opened = kms.decrypt(
        CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext={"a": "b"}
    )
    assert opened["Plaintext"] == pair["PrivateKeyPlaintext"]
    assert opened["KeyMaterialId"] == pair["KeyMaterialId"]


@pytest.mark.parametrize("spec", ["ECC_NIST_P384", "ML_KEM_768"])
def test_data_key_pairs_without_plaintext(kms, symmetric, spec):
    what = {"KeyId": symmetric["KeyId"], "KeyPairSpec": spec}
    pair = kms.generate_data_key_pair_without_plaintext(**what)
    opened = kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"]
    if spec == "ML_KEM_768":
        assert len(opened) == 86  # the seed alone
    else:
        private = serialization.load_der_private_key(opened, None)
        assert private.public_key() == serialization.load_der_public_key(pair["PublicKey"])


@pytest.mark.parametrize("bits, size", [(224, 28), (384, 48), (512, 64)])
def test_hmac(kms, bits, size):
    key = create(kms, f"HMAC_{bits}", "GENERATE_VERIFY_MAC")
    what = {"KeyId": key, "Message": b"message", "MacAlgorithm": f"HMAC_SHA_{bits}"}
    tag = kms.generate_mac(**what)["Mac"]
    assert len(tag) == size
    assert kms.verify_mac(**what, Mac=tag)["MacValid"]
    with refused("KMSInvalidMacException"):
        kms.verify_mac(**what, Mac=tag[:-1])
