"""Multi-Region keys, against a daemon of two Regions."""

import json
import os
import re
import time

import aws_encryption_sdk
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl import models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError, DecryptKeyError
from aws_encryption_sdk.key_providers.kms import (
    MRKAwareDiscoveryAwsKmsMasterKeyProvider,
    MRKAwareStrictAwsKmsMasterKeyProvider,
    StrictAwsKmsMasterKeyProvider,
)

import operations
import strongroom
from strongroom import refused
from test_cli import answer

HERE, THERE = "us-east-1", "eu-west-1"
#: When a replica that is being made, or a primary that changes, is taken to be so for good.
PATIENCE = 600
TRANSIENT = {"Creating", "Updating"}


@pytest.fixture(scope="module")
def there():
    """A client of the other Region, by the same endpoint."""
    return strongroom.client(region_name=THERE)


def settled(kms, key):
    """Metadata of a key once it is neither being made nor becoming primary or replica."""
    end = time.monotonic() + PATIENCE
    while True:
        metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
        if metadata["KeyState"] not in TRANSIENT:
            return metadata
        assert time.monotonic() < end, f"{key} is {metadata['KeyState']} for {PATIENCE} seconds"
        time.sleep(0.05)


def roles(metadata):
    """Role, Region of the primary and Regions of the replicas."""
    configuration = metadata["MultiRegionConfiguration"]
    for key in [configuration["PrimaryKey"], *configuration["ReplicaKeys"]]:
        assert key["Arn"] == arn_in(metadata, key["Region"])
    return (
        configuration["MultiRegionKeyType"],
        configuration["PrimaryKey"]["Region"],
        [key["Region"] for key in configuration["ReplicaKeys"]],
    )


def arn_in(metadata, region):
    """ARN of the key of the same id in a Region."""
    return f"arn:aws:kms:{region}:{metadata['AWSAccountId']}:key/{metadata['KeyId']}"


def make(kms, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT", **more):
    """Metadata of a new primary key."""
    return operations.make(kms, spec, usage, MultiRegion=True, **more)


def pair(kms, there, *arguments, **more):
    """The id of a new key that both Regions have, the first one as primary."""
    key = make(kms, *arguments, **more)["KeyId"]
    kms.replicate_key(KeyId=key, ReplicaRegion=THERE)
    settled(there, key)
    return key


@pytest.fixture
def shared(kms, there):
    """The id of a symmetric key that both Regions have."""
    return pair(kms, there)


def test_a_primary_key(kms, there):
    made = make(kms)
    assert re.fullmatch("mrk-[0-9a-f]{32}", made["KeyId"])
    assert made["MultiRegion"] is True and made["Arn"] == arn_in(made, HERE)
    assert roles(made) == ("PRIMARY", HERE, [])
    assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"] == made
    with refused("NotFoundException"):
        there.describe_key(KeyId=made["KeyId"])


def test_a_replica(kms, there):
    primary = make(kms, Description="first", Tags=[{"TagKey": "a", "TagValue": "b"}])
    key = primary["KeyId"]
    made = kms.replicate_key(
        KeyId=key,
        ReplicaRegion=THERE,
        Description="second",
        Tags=[{"TagKey": "c", "TagValue": "d"}],
    )
    assert made["ReplicaTags"] == [{"TagKey": "c", "TagValue": "d"}]
    assert made["ReplicaKeyMetadata"]["KeyState"] in ("Creating", "Enabled")
    assert made["ReplicaKeyMetadata"]["Arn"] == arn_in(primary, THERE)
    replica = settled(there, key)
    assert replica["KeyState"] == "Enabled" and replica["Description"] == "second"
    assert json.loads(there.get_key_policy(KeyId=key)["Policy"]) == json.loads(
        made["ReplicaPolicy"]
    )
    assert operations.tags(there, replica) == {"c": "d"}

    primary = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert primary["Description"] == "first"
    assert roles(primary) == ("PRIMARY", HERE, [THERE])
    assert roles(replica) == ("REPLICA", HERE, [THERE])
    for member in ("KeyId", "KeySpec", "KeyUsage", "Origin", "CurrentKeyMaterialId"):
        assert replica[member] == primary[member]
    listed = {entry["KeyArn"] for entry in there.list_keys()["Keys"]}
    assert replica["Arn"] in listed and primary["Arn"] not in listed


def test_a_policy_of_its_own(kms, there):
    primary = make(kms)
    policy = json.loads(kms.get_key_policy(KeyId=primary["KeyId"])["Policy"]) | {"Id": "own"}
    made = kms.replicate_key(
        KeyId=primary["KeyId"], ReplicaRegion=THERE, Policy=json.dumps(policy)
    )
    assert json.loads(made["ReplicaPolicy"]) == policy
    settled(there, primary["KeyId"])
    assert json.loads(there.get_key_policy(KeyId=primary["KeyId"])["Policy"]) == policy
    assert json.loads(kms.get_key_policy(KeyId=primary["KeyId"])["Policy"]) != policy


@pytest.mark.parametrize("origin, destination", [(HERE, THERE), (THERE, HERE)])
def test_what_one_region_seals_the_other_opens(kms, there, shared, origin, destination):
    clients = {HERE: kms, THERE: there}
    source, target = clients[origin], clients[destination]
    context = {"Purpose": "two Regions"}
    sealed = source.encrypt(KeyId=shared, Plaintext=b"m", EncryptionContext=context)
    assert sealed["KeyId"].split(":")[3] == origin
    blob = sealed["CiphertextBlob"]
    opened = target.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert opened["Plaintext"] == b"m" and opened["KeyId"].split(":")[3] == destination
    named = target.decrypt(CiphertextBlob=blob, EncryptionContext=context, KeyId=opened["KeyId"])
    assert named["KeyMaterialId"] == opened["KeyMaterialId"]
    with refused("InvalidCiphertextException"):
        target.decrypt(CiphertextBlob=blob)

    data = source.generate_data_key(KeyId=shared, KeySpec="AES_256")
    opened = target.decrypt(CiphertextBlob=data["CiphertextBlob"])
    assert opened["Plaintext"] == data["Plaintext"]
    moved = target.re_encrypt(
        CiphertextBlob=data["CiphertextBlob"], DestinationKeyId=operations.make(target)["KeyId"]
    )
    assert moved["SourceKeyId"].split(":")[3] == destination


def test_keys_of_other_usages(kms, there):
    mac = pair(kms, there, "HMAC_256", "GENERATE_VERIFY_MAC")
    request = {"KeyId": mac, "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}
    assert there.verify_mac(**request, Mac=kms.generate_mac(**request)["Mac"])["MacValid"]

    for spec, algorithm in (("ECC_NIST_P384", "ECDSA_SHA_384"), ("ML_DSA_44", "ML_DSA_SHAKE_256")):
        key = pair(kms, there, spec, "SIGN_VERIFY")
        publics = [client.get_public_key(KeyId=key)["PublicKey"] for client in (kms, there)]
        assert publics[0] == publics[1]
        request = {"KeyId": key, "Message": b"m", "SigningAlgorithm": algorithm}
        signature = there.sign(**request)["Signature"]
        assert kms.verify(**request, Signature=signature)["SignatureValid"]

    key = pair(kms, there, "ML_KEM_768", "ENCAPSULATE_DECAPSULATE")
    request = {"KeyId": key, "EncapsulationAlgorithm": "ML_KEM"}
    made = kms.encapsulate(**request)
    blob = made["SharedSecretCiphertextBlob"]
    opened = there.decapsulate(**request, SharedSecretCiphertextBlob=blob)
    assert opened["SharedSecret"] == made["SharedSecret"]


def test_keys_of_one_region_stay_there(kms, there, symmetric):
    blob = kms.encrypt(KeyId=symmetric["KeyId"], Plaintext=b"m")["CiphertextBlob"]
    # Not "no such key": what other Regions have is not told.
    with refused("AccessDeniedException"):
        there.decrypt(CiphertextBlob=blob)
    with refused("UnsupportedOperationException"):
        kms.replicate_key(KeyId=symmetric["KeyId"], ReplicaRegion=THERE)
    with refused("UnsupportedOperationException"):
        kms.update_primary_region(KeyId=symmetric["KeyId"], PrimaryRegion=THERE)
    with refused("NotFoundException"):
        there.describe_key(KeyId=symmetric["Arn"])


def test_what_cannot_be_replicated(kms, there, shared):
    with refused("AlreadyExistsException"):
        kms.replicate_key(KeyId=shared, ReplicaRegion=THERE)
    with refused("UnsupportedOperationException"):
        there.replicate_key(KeyId=shared, ReplicaRegion=HERE)
    with refused("NotFoundException"):
        kms.replicate_key(KeyId="mrk-" + "0" * 32, ReplicaRegion=THERE)
    key = make(kms)["KeyId"]
    kms.disable_key(KeyId=key)
    with refused("DisabledException"):
        kms.replicate_key(KeyId=key, ReplicaRegion=THERE)
    kms.schedule_key_deletion(KeyId=key)
    with refused("KMSInvalidStateException"):
        kms.replicate_key(KeyId=key, ReplicaRegion=THERE)


def test_regions_that_are_not_served(kms):
    elsewhere = strongroom.client(region_name="ap-southeast-2")
    with refused("InvalidSignatureException", "Credential should be scoped to a valid region."):
        elsewhere.list_keys()


def test_the_primary_moves(kms, there, shared):
    sealed = kms.encrypt(KeyId=shared, Plaintext=b"m")["CiphertextBlob"]
    with refused("UnsupportedOperationException"):
        there.update_primary_region(KeyId=shared, PrimaryRegion=THERE)
    kms.update_primary_region(KeyId=shared, PrimaryRegion=THERE)
    # In use all the while.
    assert there.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"
    here, beyond = settled(kms, shared), settled(there, shared)
    assert roles(here) == ("REPLICA", THERE, [HERE])
    assert roles(beyond) == ("PRIMARY", THERE, [HERE])
    assert (here["KeyState"], beyond["KeyState"]) == ("Enabled", "Enabled")
    with refused("UnsupportedOperationException"):
        kms.enable_key_rotation(KeyId=shared)
    there.enable_key_rotation(KeyId=shared)
    there.update_primary_region(KeyId=shared, PrimaryRegion=HERE)
    assert roles(settled(kms, shared)) == ("PRIMARY", HERE, [THERE])
    assert kms.get_key_rotation_status(KeyId=shared)["KeyRotationEnabled"] is True


def test_rotation_is_the_primarys(kms, there, shared):
    kms.enable_key_rotation(KeyId=shared, RotationPeriodInDays=180)
    here, beyond = (client.get_key_rotation_status(KeyId=shared) for client in (kms, there))
    for member in ("KeyRotationEnabled", "RotationPeriodInDays", "NextRotationDate"):
        assert here[member] == beyond[member]
    kms.disable_key_rotation(KeyId=shared)
    assert there.get_key_rotation_status(KeyId=shared)["KeyRotationEnabled"] is False
    for call in (
        there.enable_key_rotation,
        there.disable_key_rotation,
        there.rotate_key_on_demand,
    ):
        with refused("UnsupportedOperationException"):
            call(KeyId=shared)


def test_a_rotation_reaches_the_replica(kms, there, shared):
    first = kms.encrypt(KeyId=shared, Plaintext=b"first")["CiphertextBlob"]
    before = settled(there, shared)["CurrentKeyMaterialId"]
    kms.rotate_key_on_demand(KeyId=shared)
    materials = {settled(client, shared)["CurrentKeyMaterialId"] for client in (kms, there)}
    assert len(materials) == 1 and before not in materials
    second = there.encrypt(KeyId=shared, Plaintext=b"second")["CiphertextBlob"]
    for client in (kms, there):
        old, new = (client.decrypt(CiphertextBlob=blob) for blob in (first, second))
        assert (old["Plaintext"], old["KeyMaterialId"]) == (b"first", before)
        assert (new["Plaintext"], {new["KeyMaterialId"]}) == (b"second", materials)
    here, beyond = (
        client.list_key_rotations(KeyId=shared, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
        for client in (kms, there)
    )
    shown = [
        [(entry["KeyMaterialId"], entry["KeyMaterialState"]) for entry in entries]
        for entries in (here, beyond)
    ]
    assert shown[0] == shown[1] and len(shown[0]) == 2


def test_the_rest_is_each_keys_own(kms, there, shared):
    there.update_key_description(KeyId=shared, Description="beyond")
    there.tag_resource(KeyId=shared, Tags=[{"TagKey": "a", "TagValue": "b"}])
    there.create_alias(AliasName=f"alias/{shared}", TargetKeyId=shared)
    there.disable_key(KeyId=shared)
    here = kms.describe_key(KeyId=shared)["KeyMetadata"]
    assert (here["Description"], here["KeyState"]) == ("", "Enabled")
    assert operations.tags(kms, here) == {}
    assert kms.list_aliases(KeyId=shared)["Aliases"] == []
    sealed = kms.encrypt(KeyId=shared, Plaintext=b"m")["CiphertextBlob"]
    with refused("DisabledException"):
        there.decrypt(CiphertextBlob=sealed)
    assert kms.get_key_last_usage(KeyId=shared)["KeyLastUsage"]["Operation"] == "Encrypt"
    assert there.get_key_last_usage(KeyId=shared)["KeyLastUsage"] == {}


def test_grants_count_in_their_region(kms, there, shared):
    made = kms.create_grant(
        KeyId=shared, GranteePrincipal=operations.PRINCIPAL, Operations=["Decrypt"]
    )
    assert there.list_grants(KeyId=shared)["Grants"] == []
    (entry,) = kms.list_grants(KeyId=shared)["Grants"]
    assert entry["GrantId"] == made["GrantId"]


def test_a_primary_waits_for_its_replicas(kms, there, shared):
    sealed = kms.encrypt(KeyId=shared, Plaintext=b"m")["CiphertextBlob"]
    scheduled = kms.schedule_key_deletion(KeyId=shared, PendingWindowInDays=9)
    assert scheduled["KeyState"] == "PendingReplicaDeletion"
    assert scheduled["PendingWindowInDays"] == 9 and "DeletionDate" not in scheduled
    metadata = kms.describe_key(KeyId=shared)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingReplicaDeletion"
    assert metadata["PendingDeletionWindowInDays"] == 9
    for call, more in (
        (kms.encrypt, {"Plaintext": b"m"}),
        (kms.schedule_key_deletion, {}),
        (kms.enable_key, {}),
        (kms.tag_resource, {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ):
        with refused("KMSInvalidStateException"):
            call(KeyId=shared, **more)
    # The replica serves on.
    assert there.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"
    # Its deletion being scheduled is not yet its being gone.
    assert there.schedule_key_deletion(KeyId=shared)["KeyState"] == "PendingDeletion"
    assert kms.describe_key(KeyId=shared)["KeyMetadata"]["KeyState"] == "PendingReplicaDeletion"
    kms.cancel_key_deletion(KeyId=shared)
    assert kms.describe_key(KeyId=shared)["KeyMetadata"]["KeyState"] == "Disabled"


def test_a_replica_goes_alone(kms, there, shared):
    scheduled = there.schedule_key_deletion(KeyId=shared, PendingWindowInDays=7)
    assert scheduled["KeyState"] == "PendingDeletion" and scheduled["DeletionDate"]
    assert kms.encrypt(KeyId=shared, Plaintext=b"m")["CiphertextBlob"]
    with refused("AlreadyExistsException"):
        kms.replicate_key(KeyId=shared, ReplicaRegion=THERE)
    there.cancel_key_deletion(KeyId=shared)
    assert there.describe_key(KeyId=shared)["KeyMetadata"]["KeyState"] == "Disabled"


def test_imported_material_is_imported_in_each_region(kms, there):
    primary, material = make(kms, Origin="EXTERNAL"), os.urandom(32)
    kms.import_key_material(**operations.wrapped(kms, primary, material))
    key = primary["KeyId"]
    kms.replicate_key(KeyId=key, ReplicaRegion=THERE)
    replica = settled(there, key)
    assert replica["KeyState"] == "PendingImport"
    with refused("IncorrectKeyMaterialException"):
        there.import_key_material(**operations.wrapped(there, replica, os.urandom(32)))
    there.import_key_material(**operations.wrapped(there, replica, material))
    sealed = kms.encrypt(KeyId=key, Plaintext=b"m")["CiphertextBlob"]
    assert there.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"


def test_new_material_waits_for_the_replicas(kms, there):
    primary, first, second = make(kms, Origin="EXTERNAL"), os.urandom(32), os.urandom(32)
    key = primary["KeyId"]
    kms.import_key_material(**operations.wrapped(kms, primary, first))
    kms.replicate_key(KeyId=key, ReplicaRegion=THERE)
    replica = settled(there, key)
    there.import_key_material(**operations.wrapped(there, replica, first))
    sealed = kms.encrypt(KeyId=key, Plaintext=b"m")["CiphertextBlob"]

    def states(client):
        listed = client.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
        return [entry["KeyMaterialState"] for entry in listed["Rotations"]]

    kms.import_key_material(
        **operations.wrapped(kms, primary, second), ImportType="NEW_KEY_MATERIAL"
    )
    assert states(kms) == ["CURRENT", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"]
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=key)
    there.import_key_material(
        **operations.wrapped(there, replica, second), ImportType="EXISTING_KEY_MATERIAL"
    )
    assert states(kms) == ["CURRENT", "PENDING_ROTATION"]
    kms.rotate_key_on_demand(KeyId=key)
    for client in (kms, there):
        settled(client, key)
        assert states(client) == ["NON_CURRENT", "CURRENT"]
        assert client.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"m"
    renewed = there.encrypt(KeyId=key, Plaintext=b"n")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=renewed)["Plaintext"] == b"n"


def test_the_cli(kms, there):
    key = make(kms)["KeyId"]
    made = answer("replicate-key", "--key-id", key, "--replica-region", THERE)
    assert made["ReplicaKeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"] == "REPLICA"
    settled(there, key)
    done = answer("update-primary-region", "--key-id", key, "--primary-region", THERE)
    assert done is None
    described = answer("describe-key", "--key-id", key, "--region", THERE)["KeyMetadata"]
    assert described["Arn"].split(":")[3] == THERE
    assert roles(settled(there, key))[0] == "PRIMARY"


@pytest.fixture(scope="module")
def sdk():
    """The AWS Encryption SDK."""
    return aws_encryption_sdk.EncryptionSDKClient()


@pytest.fixture(scope="module")
def providers():
    """The material providers library."""
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


@pytest.fixture(scope="module")
def arns(kms, there):
    """The two ARNs of a key that both Regions have."""
    key = pair(kms, there)
    return [client.describe_key(KeyId=key)["KeyMetadata"]["Arn"] for client in (kms, there)]


def mrk_keyring(providers, client, arn):
    """A keyring that takes any of the related keys for its own."""
    made = models.CreateAwsKmsMrkKeyringInput(kms_key_id=arn, kms_client=client)
    return providers.create_aws_kms_mrk_keyring(input=made)


def test_mrk_keyrings(kms, there, sdk, providers, arns):
    sealed, _ = sdk.encrypt(source=b"m", keyring=mrk_keyring(providers, kms, arns[0]))
    opened, _ = sdk.decrypt(source=sealed, keyring=mrk_keyring(providers, there, arns[1]))
    assert opened == b"m"
    # A keyring that knows nothing of related keys wants its own ARN.
    plain = providers.create_aws_kms_keyring(
        input=models.CreateAwsKmsKeyringInput(kms_key_id=arns[1], kms_client=there)
    )
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed, keyring=plain)


def test_mrk_discovery_keyrings(kms, there, sdk, providers, arns):
    def discovery(client, region, account="000000000000"):
        allowed = models.DiscoveryFilter(account_ids=[account], partition="aws")
        return providers.create_aws_kms_mrk_discovery_keyring(
            input=models.CreateAwsKmsMrkDiscoveryKeyringInput(
                kms_client=client, region=region, discovery_filter=allowed
            )
        )

    sealed, _ = sdk.encrypt(source=b"m", keyring=mrk_keyring(providers, kms, arns[0]))
    opened, _ = sdk.decrypt(source=sealed, keyring=discovery(there, THERE))
    assert opened == b"m"
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk.decrypt(source=sealed, keyring=discovery(there, THERE, "111122223333"))


def test_mrk_multi_keyrings(kms, there, sdk, providers, arns):
    def both(generator):
        return providers.create_aws_kms_mrk_multi_keyring(
            input=models.CreateAwsKmsMrkMultiKeyringInput(generator=generator)
        )

    sealed, _ = sdk.encrypt(source=b"m", keyring=both(arns[1]))
    opened, _ = sdk.decrypt(source=sealed, keyring=both(arns[0]))
    assert opened == b"m"


def test_mrk_aware_master_key_providers(sdk, arns):
    sealed, _ = sdk.encrypt(
        source=b"m", key_provider=MRKAwareStrictAwsKmsMasterKeyProvider(key_ids=[arns[0]])
    )
    for aware in (
        MRKAwareStrictAwsKmsMasterKeyProvider(key_ids=[arns[1]]),
        MRKAwareDiscoveryAwsKmsMasterKeyProvider(discovery_region=THERE),
    ):
        opened, _ = sdk.decrypt(source=sealed, key_provider=aware)
        assert opened == b"m"
    with pytest.raises(DecryptKeyError):
        sdk.decrypt(
            source=sealed, key_provider=StrictAwsKmsMasterKeyProvider(key_ids=[arns[1]])
        )
