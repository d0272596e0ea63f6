"""The AWS Encryption SDK: envelope encryption of a file with data keys from Strongroom."""

import hashlib
import io
import os

import aws_encryption_sdk
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import CreateAwsKmsKeyringInput
from aws_encryption_sdk import CommitmentPolicy
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError

SIZE = 10 * 1024 * 1024
CONTEXT = {"file": "ten megabytes", "owner": "tests"}


@pytest.fixture(scope="module")
def sdk():
    """A client that insists on committing algorithm suites, as by default."""
    return aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )


def keyring_of(kms, key):
    """A keyring that encrypts and decrypts with this key alone."""
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    return providers.create_aws_kms_keyring(
        input=CreateAwsKmsKeyringInput(kms_key_id=key["Arn"], kms_client=kms)
    )


def transform(sdk, mode, source, **parameters):
    """What the SDK's stream of this mode makes of `source`, and its message header."""
    out = io.BytesIO()
    with sdk.stream(mode=mode, source=io.BytesIO(source), **parameters) as stream:
        for chunk in stream:
            out.write(chunk)
        return out.getvalue(), stream.header


@pytest.fixture(scope="module")
def message(kms, sdk):
    """A file of 10 MB, the key that sealed it, and the sealed message."""
    key = kms.create_key(Description="Encryption SDK")["KeyMetadata"]
    plaintext = os.urandom(SIZE)
    ring = keyring_of(kms, key)
    sealed, _ = transform(sdk, "e", plaintext, keyring=ring, encryption_context=CONTEXT)
    assert len(sealed) > SIZE
    return plaintext, key, sealed


def test_round_trip_of_ten_megabytes(kms, sdk, message):
    plaintext, key, sealed = message
    opened, header = transform(sdk, "d", sealed, keyring=keyring_of(kms, key))
    assert hashlib.sha256(opened).digest() == hashlib.sha256(plaintext).digest()
    assert CONTEXT.items() <= header.encryption_context.items()


def test_the_master_key_provider_reads_what_the_keyring_wrote(kms, sdk, message):
    plaintext, key, sealed = message
    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key["Arn"]])
    provider._regional_clients[kms.meta.region_name] = kms
    opened, _ = transform(sdk, "d", sealed, key_provider=provider)
    assert opened == plaintext


def test_another_key_does_not_open_it(kms, sdk, message):
    _, _, sealed = message
    other = kms.create_key()["KeyMetadata"]
    with pytest.raises(AWSEncryptionSDKClientError):
        transform(sdk, "d", sealed, keyring=keyring_of(kms, other))


def test_a_disabled_key_does_not_open_it(kms, sdk, message):
    _, key, sealed = message
    kms.disable_key(KeyId=key["KeyId"])
    try:
        with pytest.raises(AWSEncryptionSDKClientError) as caught:
            transform(sdk, "d", sealed, keyring=keyring_of(kms, key))
        reasons = caught.value.args[0].list
        assert any(f"{key['Arn']} is disabled." in str(reason) for reason in reasons)
    finally:
        kms.enable_key(KeyId=key["KeyId"])
