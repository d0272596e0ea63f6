"""The AWS Encryption SDK with each of its ways to reach a key: keyrings, master key providers,
the caching materials manager, and what they refuse.
"""

import itertools
import os

import aws_encryption_sdk
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl import models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk import CommitmentPolicy
from aws_encryption_sdk.exceptions import (
    ActionNotAllowedError,
    AWSEncryptionSDKClientError,
    DecryptKeyError,
    MasterKeyProviderError,
    MaxEncryptedDataKeysExceeded,
)
from aws_encryption_sdk.identifiers import AlgorithmSuite
from aws_encryption_sdk.key_providers.kms import (
    DiscoveryAwsKmsMasterKeyProvider,
    DiscoveryFilter,
    MRKAwareDiscoveryAwsKmsMasterKeyProvider,
    MRKAwareStrictAwsKmsMasterKeyProvider,
    StrictAwsKmsMasterKeyProvider,
)
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import serialization

import service_model

PLAINTEXT = os.urandom(10_000)
CONTEXT = {"tenant": "blue", "Zweck": "Prüfung"}
SIGNING = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
BARE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
UNCOMMITTED = AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA256
OURS = {"account_ids": ["000000000000"], "partition": "aws"}
ANOTHER_ACCOUNT = {"account_ids": ["111122223333"], "partition": "aws"}
ANOTHER_PARTITION = {"account_ids": ["000000000000"], "partition": "aws-cn"}


@pytest.fixture(scope="module")
def sdk():
    """A client that insists on committing algorithm suites, as by default."""
    return aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )


@pytest.fixture(scope="module")
def providers():
    """The material providers library, whose keyrings these are."""
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


@pytest.fixture(scope="module")
def key(kms):
    """ARN of a key."""
    return kms.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture(scope="module")
def other(kms):
    """ARN of another key."""
    return kms.create_key()["KeyMetadata"]["Arn"]


def keyring(kms, providers, key):
    """A keyring of this key alone."""
    made = models.CreateAwsKmsKeyringInput(kms_key_id=key, kms_client=kms)
    return providers.create_aws_kms_keyring(input=made)


def discovery_keyring(kms, providers, **discovery_filter):
    """A keyring that opens what any key of the filter has sealed."""
    allowed = models.DiscoveryFilter(**discovery_filter)
    made = models.CreateAwsKmsDiscoveryKeyringInput(kms_client=kms, discovery_filter=allowed)
    return providers.create_aws_kms_discovery_keyring(input=made)


def seal(sdk, algorithm=SIGNING, **by):
    """A sealed message."""
    sealed, header = sdk.encrypt(
        source=PLAINTEXT, encryption_context=CONTEXT, algorithm=algorithm, frame_length=4096, **by
    )
    assert header.algorithm is algorithm
    return sealed


def assert_opens(sdk, sealed, **by):
    """Opens a message and holds it against what was sealed."""
    opened, header = sdk.decrypt(source=sealed, **by)
    assert opened == PLAINTEXT
    assert CONTEXT.items() <= header.encryption_context.items()


def reasons(error):
    """The texts of the failures that a keyring collected."""
    return [str(reason) for reason in error.value.args[0].list]


@pytest.mark.parametrize("algorithm", [SIGNING, BARE], ids=lambda suite: suite.name)
def test_committing_suites(kms, sdk, providers, key, algorithm):
    ring = keyring(kms, providers, key)
    sealed = seal(sdk, algorithm, keyring=ring)
    assert_opens(sdk, sealed, keyring=ring)
    # The public half of the signing key is bound by the encryption context.
    _, header = sdk.decrypt(source=sealed, keyring=ring)
    assert ("aws-crypto-public-key" in header.encryption_context) == (algorithm is SIGNING)


def test_suites_without_commitment_need_a_policy(kms, sdk, providers, key):
    ring = keyring(kms, providers, key)
    lenient = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    )
    sealed = seal(lenient, UNCOMMITTED, keyring=ring)
    assert_opens(lenient, sealed, keyring=ring)
    assert_opens(lenient, seal(sdk, keyring=ring), keyring=ring)
    with pytest.raises(ActionNotAllowedError, match="only committed messages"):
        sdk.decrypt(source=sealed, keyring=ring)


def test_a_multi_keyring_opens_with_either_key(kms, sdk, providers, key, other):
    both = providers.create_multi_keyring(
        input=models.CreateMultiKeyringInput(
            generator=keyring(kms, providers, key),
            child_keyrings=[keyring(kms, providers, other)],
        )
    )
    sealed = seal(sdk, keyring=both)
    for one in (key, other):
        assert_opens(sdk, sealed, keyring=keyring(kms, providers, one))
    cautious = aws_encryption_sdk.EncryptionSDKClient(max_encrypted_data_keys=1)
    with pytest.raises(MaxEncryptedDataKeysExceeded):
        cautious.decrypt(source=sealed, keyring=both)


def test_a_kms_multi_keyring_makes_its_own_clients(kms, sdk, providers, key, other):
    service_model.answered.clear()
    both = providers.create_aws_kms_multi_keyring(
        input=models.CreateAwsKmsMultiKeyringInput(generator=key, kms_key_ids=[other])
    )
    sealed = seal(sdk, keyring=both)
    assert service_model.answered == {("GenerateDataKey", ""): 1, ("Encrypt", ""): 1}
    kms.disable_key(KeyId=key)
    try:
        assert_opens(sdk, sealed, keyring=both)
        assert service_model.answered["Decrypt", "DisabledException"] == 1
    finally:
        kms.enable_key(KeyId=key)


def test_keyrings_for_multi_region_keys_take_others_too(kms, sdk, providers, key):
    ring = providers.create_aws_kms_mrk_keyring(
        input=models.CreateAwsKmsMrkKeyringInput(kms_key_id=key, kms_client=kms)
    )
    sealed = seal(sdk, keyring=ring)
    assert_opens(sdk, sealed, keyring=ring)
    discovering = providers.create_aws_kms_mrk_discovery_keyring(
        input=models.CreateAwsKmsMrkDiscoveryKeyringInput(
            kms_client=kms, region=kms.meta.region_name
        )
    )
    assert_opens(sdk, sealed, keyring=discovering)


def test_discovery_keyrings_keep_to_their_filter(kms, sdk, providers, key):
    sealed = seal(sdk, keyring=keyring(kms, providers, key))
    assert_opens(sdk, sealed, keyring=discovery_keyring(kms, providers, **OURS))
    for allowed in (ANOTHER_ACCOUNT, ANOTHER_PARTITION):
        service_model.answered.clear()
        with pytest.raises(AWSEncryptionSDKClientError):
            sdk.decrypt(source=sealed, keyring=discovery_keyring(kms, providers, **allowed))
        assert not service_model.answered, "a key outside of the filter was tried"
    with pytest.raises(AWSEncryptionSDKClientError):
        seal(sdk, keyring=discovery_keyring(kms, providers, **OURS))


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_an_rsa_keyring_seals_without_the_service(kms, sdk, providers, rsa, algorithm):
    arn, public = rsa
    ring = providers.create_aws_kms_rsa_keyring(
        input=models.CreateAwsKmsRsaKeyringInput(
            kms_key_id=arn, encryption_algorithm=algorithm, public_key=public, kms_client=kms
        )
    )
    service_model.answered.clear()
    sealed = seal(sdk, BARE, keyring=ring)
    assert not service_model.answered
    assert_opens(sdk, sealed, keyring=ring)
    assert service_model.answered == {("Decrypt", ""): 1}


@pytest.fixture(scope="module")
def rsa(kms):
    """ARN and PEM public key of a pair that encrypts."""
    made = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=made)["PublicKey"])
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return made, public.public_bytes(serialization.Encoding.PEM, spki)


@pytest.mark.parametrize("curve", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_an_ecdh_keyring_between_two_keys(kms, sdk, providers, curve):
    def make():
        made = kms.create_key(KeySpec=curve, KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["Arn"]
        return made, kms.get_public_key(KeyId=made)["PublicKey"]

    def ring(scheme):
        return providers.create_aws_kms_ecdh_keyring(
            input=models.CreateAwsKmsEcdhKeyringInput(
                key_agreement_scheme=scheme, curve_spec=curve, kms_client=kms
            )
        )

    (sender, _), (recipient, public) = make(), make()
    sending = ring(
        models.KmsEcdhStaticConfigurationsKmsPrivateKeyToStaticPublicKey(
            models.KmsPrivateKeyToStaticPublicKeyInput(
                sender_kms_identifier=sender, recipient_public_key=public
            )
        )
    )
    sealed = seal(sdk, keyring=sending)
    assert_opens(sdk, sealed, keyring=sending)

    def receiving(key):
        return ring(
            models.KmsEcdhStaticConfigurationsKmsPublicKeyDiscovery(
                models.KmsPublicKeyDiscoveryInput(recipient_kms_identifier=key)
            )
        )

    assert_opens(sdk, sealed, keyring=receiving(recipient))
    stranger, _ = make()
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed, keyring=receiving(stranger))


def test_a_required_encryption_context_is_authenticated(kms, sdk, providers, key):
    ring = keyring(kms, providers, key)
    default = providers.create_default_cryptographic_materials_manager(
        input=models.CreateDefaultCryptographicMaterialsManagerInput(keyring=ring)
    )
    manager = providers.create_required_encryption_context_cmm(
        input=models.CreateRequiredEncryptionContextCMMInput(
            underlying_cmm=default, required_encryption_context_keys=["tenant"]
        )
    )
    sealed = seal(sdk, materials_manager=manager)
    assert b"tenant" not in sealed
    given = {"tenant": CONTEXT["tenant"]}
    opened, _ = sdk.decrypt(source=sealed, materials_manager=manager, encryption_context=given)
    assert opened == PLAINTEXT
    for wrong in ({"tenant": "red"}, {}):
        with pytest.raises((AWSEncryptionSDKClientError, InvalidTag)):
            sdk.decrypt(source=sealed, materials_manager=manager, encryption_context=wrong)


PROVIDERS = {
    "strict": lambda key: StrictAwsKmsMasterKeyProvider(key_ids=[key]),
    "MRK-aware strict": lambda key: MRKAwareStrictAwsKmsMasterKeyProvider(key_ids=[key]),
    "discovery": lambda _: DiscoveryAwsKmsMasterKeyProvider(
        discovery_filter=DiscoveryFilter(**OURS)
    ),
    "MRK-aware discovery": lambda _: MRKAwareDiscoveryAwsKmsMasterKeyProvider(
        discovery_region="us-east-1", discovery_filter=DiscoveryFilter(**OURS)
    ),
}


def test_master_key_providers_and_keyrings_read_each_other(kms, sdk, providers, key):
    sealing = [{"key_provider": PROVIDERS[name](key)} for name in ("strict", "MRK-aware strict")]
    sealing.append({"keyring": keyring(kms, providers, key)})
    opening = [{"key_provider": provider(key)} for provider in PROVIDERS.values()]
    opening.append({"keyring": keyring(kms, providers, key)})
    for sealed in [seal(sdk, **by) for by in sealing]:
        for by in opening:
            assert_opens(sdk, sealed, **by)


def test_master_key_providers_keep_to_their_keys(sdk, key, other):
    sealed = seal(sdk, key_provider=PROVIDERS["strict"](key))
    service_model.answered.clear()
    with pytest.raises(DecryptKeyError):
        sdk.decrypt(source=sealed, key_provider=PROVIDERS["strict"](other))
    for allowed in (ANOTHER_ACCOUNT, ANOTHER_PARTITION):
        discovering = DiscoveryAwsKmsMasterKeyProvider(discovery_filter=DiscoveryFilter(**allowed))
        with pytest.raises(MasterKeyProviderError):
            sdk.decrypt(source=sealed, key_provider=discovering)
    assert not service_model.answered, "a key was tried that must not be"
    # One of several is enough.
    both = StrictAwsKmsMasterKeyProvider(key_ids=[key, other])
    assert_opens(sdk, seal(sdk, key_provider=both), key_provider=PROVIDERS["strict"](other))


def test_the_cache_saves_calls(sdk, key):
    cached = aws_encryption_sdk.CachingCryptoMaterialsManager(
        master_key_provider=PROVIDERS["strict"](key),
        cache=aws_encryption_sdk.LocalCryptoMaterialsCache(10),
        max_age=600.0,
        max_messages_encrypted=2,
    )
    service_model.answered.clear()
    messages = [seal(sdk, materials_manager=cached) for _ in range(5)]
    assert service_model.answered == {("GenerateDataKey", ""): 3}
    for message in messages * 2:
        assert_opens(sdk, message, materials_manager=cached)
    assert service_model.answered == {("GenerateDataKey", ""): 3, ("Decrypt", ""): 3}
    # Another encryption context never shares a data key.
    sdk.encrypt(source=b"", encryption_context={"tenant": "red"}, materials_manager=cached)
    assert service_model.answered["GenerateDataKey", ""] == 4


def test_another_key_does_not_open_it(kms, sdk, providers, key, other):
    sealed = seal(sdk, keyring=keyring(kms, providers, key))
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed, keyring=keyring(kms, providers, other))


def test_a_key_that_the_service_refuses(kms, sdk, providers):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    sealed = seal(sdk, keyring=keyring(kms, providers, key))
    kms.schedule_key_deletion(KeyId=key)
    with pytest.raises(AWSEncryptionSDKClientError) as caught:
        sdk.decrypt(source=sealed, keyring=keyring(kms, providers, key))
    assert any(f"{key} is pending deletion." in reason for reason in reasons(caught))


def test_a_changed_message_does_not_open(kms, sdk, providers, key):
    ring = keyring(kms, providers, key)
    sealed = seal(sdk, keyring=ring)
    data_key = sealed.index(key.encode()) + len(key)
    for position in itertools.chain(
        range(0, 60, 7),  # version, suite, message id, encryption context
        range(data_key + 2, data_key + 160, 31),  # the encrypted data key
        range(len(sealed) // 2, len(sealed), len(sealed) // 7),  # frames and signature
        [len(sealed) - 1],
    ):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises((AWSEncryptionSDKClientError, InvalidTag, InvalidSignature)):
            sdk.decrypt(source=bytes(changed), keyring=ring)
            pytest.fail(f"byte {position} was changed, and nobody noticed")
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed[:-1], keyring=ring)
