"""A case for each operation of the service model, whichever client calls it.

A case is a generator named after its operation. It prepares what it needs by boto3, yields the
parameters of the call, and is sent the answer, to hold it against what boto3 sees afterwards; of
a call that is refused it is sent the error code alone.
"""

import datetime
import json
import os
import sys

from botocore import xform_name
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

import service_model
import strongroom

#: These need two Regions, see `test_multi_region.py`.
TWO_REGIONS = {"ReplicateKey", "UpdatePrimaryRegion"}
PRINCIPAL = "arn:aws:iam::000000000000:root"
CONTEXT = {"Purpose": "operations"}
NO_STORE = {"CustomKeyStoreId": "cks-1234567890abcdef0"}
STORE_NOT_FOUND = "CustomKeyStoreNotFoundException"


def run(operation, kms, send):
    """Runs the case of an operation, whose call `send(parameters)` makes."""
    case = case_of(operation)(kms)
    try:
        case.send(send(next(case)))
    except StopIteration:
        return
    raise AssertionError(f"the case of {operation} goes on after its answer")


def one_region():
    """The operations that have a case: all but those that need two Regions."""
    return service_model.operations() - TWO_REGIONS


def case_of(operation):
    """The case of an operation, `None` if there is none."""
    return getattr(sys.modules[__name__], xform_name(operation), None)


def make(kms, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT", **more):
    """Metadata of a new key."""
    return kms.create_key(KeySpec=spec, KeyUsage=usage, **more)["KeyMetadata"]


def describe(kms, key):
    """Metadata of a key that has been changed."""
    return kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]


def grant(kms, key, **more):
    """Id and token of a new grant."""
    return kms.create_grant(
        KeyId=key["Arn"], GranteePrincipal=PRINCIPAL, Operations=["Decrypt"], **more
    )


def grants(kms, key):
    """Ids of the grants of a key."""
    return [entry["GrantId"] for entry in kms.list_grants(KeyId=key["KeyId"])["Grants"]]


def tags(kms, key):
    """Tags of a key."""
    listed = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
    return {tag["TagKey"]: tag["TagValue"] for tag in listed}


def alias_of(key):
    """A name that no other key has."""
    return f"alias/operations/{key['KeyId']}"


def target(kms, key):
    """The names of the aliases of a key."""
    return [entry["AliasName"] for entry in kms.list_aliases(KeyId=key["KeyId"])["Aliases"]]


def wrapped(kms, key, material):
    """What imports this material."""
    given = kms.get_parameters_for_import(
        KeyId=key["KeyId"], WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    public = serialization.load_der_public_key(given["PublicKey"])
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return {
        "KeyId": key["KeyId"],
        "ImportToken": given["ImportToken"],
        "EncryptedKeyMaterial": public.encrypt(material, oaep),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }


# Keys


def create_key(kms):
    answer = yield {
        "Description": "made by a case",
        "KeySpec": "HMAC_384",
        "KeyUsage": "GENERATE_VERIFY_MAC",
        "Tags": [{"TagKey": "a", "TagValue": "b c"}, {"TagKey": "d", "TagValue": ""}],
    }
    made = answer["KeyMetadata"]
    assert (made["KeySpec"], made["Description"]) == ("HMAC_384", "made by a case")
    assert made["MacAlgorithms"] == ["HMAC_SHA_384"]
    assert tags(kms, made) == {"a": "b c", "d": ""}


def describe_key(kms):
    key = make(kms, "ECC_NIST_P384", "SIGN_VERIFY", Description="x")
    answer = yield {"KeyId": key["Arn"]}
    for member in set(key) - {"CreationDate"}:
        assert answer["KeyMetadata"][member] == key[member]


def list_keys(kms):
    key = make(kms)
    answer = yield {}
    assert {"KeyId": key["KeyId"], "KeyArn": key["Arn"]} in answer["Keys"]


def update_key_description(kms):
    key = make(kms)
    yield {"KeyId": key["KeyId"], "Description": "anew"}
    assert describe(kms, key)["Description"] == "anew"


def disable_key(kms):
    key = make(kms)
    yield {"KeyId": key["KeyId"]}
    assert describe(kms, key)["KeyState"] == "Disabled"


def enable_key(kms):
    key = make(kms)
    kms.disable_key(KeyId=key["KeyId"])
    yield {"KeyId": key["Arn"]}
    assert describe(kms, key)["KeyState"] == "Enabled"


def schedule_key_deletion(kms):
    key = make(kms)
    answer = yield {"KeyId": key["KeyId"], "PendingWindowInDays": 8}
    assert (answer["KeyId"], answer["KeyState"]) == (key["Arn"], "PendingDeletion")
    assert answer["PendingWindowInDays"] == 8 and answer["DeletionDate"]
    ahead = describe(kms, key)["DeletionDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert abs(ahead - datetime.timedelta(days=8)) < datetime.timedelta(minutes=5)


def cancel_key_deletion(kms):
    key = make(kms)
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    answer = yield {"KeyId": key["KeyId"]}
    assert answer == {"KeyId": key["Arn"]}
    assert describe(kms, key)["KeyState"] == "Disabled"


def get_key_last_usage(kms):
    key = make(kms, "HMAC_256", "GENERATE_VERIFY_MAC")
    kms.generate_mac(KeyId=key["KeyId"], Message=b"m", MacAlgorithm="HMAC_SHA_256")
    answer = yield {"KeyId": key["KeyId"]}
    assert answer["KeyId"] == key["KeyId"]
    assert answer["KeyLastUsage"]["Operation"] == "GenerateMac"


# Encryption


def encrypt(kms):
    key = make(kms)
    answer = yield {"KeyId": key["Arn"], "Plaintext": b"m\0\xff", "EncryptionContext": CONTEXT}
    assert (answer["KeyId"], answer["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    opened = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"m\0\xff"


def decrypt(kms):
    key = make(kms)
    sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"m\0\xff", EncryptionContext=CONTEXT)
    answer = yield {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": CONTEXT}
    assert answer == {
        "KeyId": key["Arn"],
        "Plaintext": b"m\0\xff",
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": key["CurrentKeyMaterialId"],
    }


def re_encrypt(kms):
    source, destination = make(kms), make(kms)
    sealed = kms.encrypt(KeyId=source["KeyId"], Plaintext=b"m", EncryptionContext=CONTEXT)
    answer = yield {
        "CiphertextBlob": sealed["CiphertextBlob"],
        "SourceEncryptionContext": CONTEXT,
        "DestinationKeyId": destination["KeyId"],
        "DestinationEncryptionContext": {"other": "context"},
    }
    assert (answer["SourceKeyId"], answer["KeyId"]) == (source["Arn"], destination["Arn"])
    opened = kms.decrypt(
        CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"other": "context"}
    )
    assert (opened["KeyId"], opened["Plaintext"]) == (destination["Arn"], b"m")


def generate_data_key(kms):
    key = make(kms)
    answer = yield {"KeyId": key["KeyId"], "KeySpec": "AES_128", "EncryptionContext": CONTEXT}
    assert len(answer["Plaintext"]) == 16
    opened = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == answer["Plaintext"]


def generate_data_key_without_plaintext(kms):
    key = make(kms)
    answer = yield {"KeyId": key["KeyId"], "NumberOfBytes": 33}
    assert set(answer) == {"KeyId", "CiphertextBlob", "KeyMaterialId"}
    assert len(kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])["Plaintext"]) == 33


def generate_data_key_pair(kms):
    answer = yield {"KeyId": make(kms)["KeyId"], "KeyPairSpec": "ECC_NIST_P256"}
    private = serialization.load_der_private_key(answer["PrivateKeyPlaintext"], None)
    assert private.public_key() == serialization.load_der_public_key(answer["PublicKey"])
    opened = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"])["Plaintext"]
    assert opened == answer["PrivateKeyPlaintext"]


def generate_data_key_pair_without_plaintext(kms):
    answer = yield {"KeyId": make(kms)["KeyId"], "KeyPairSpec": "ECC_NIST_P384"}
    assert "PrivateKeyPlaintext" not in answer
    opened = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"])["Plaintext"]
    private = serialization.load_der_private_key(opened, None)
    assert private.public_key() == serialization.load_der_public_key(answer["PublicKey"])


def generate_random(_):
    answer = yield {"NumberOfBytes": 1024}
    assert set(answer) == {"Plaintext"} and len(set(answer["Plaintext"])) > 200
    assert len(answer["Plaintext"]) == 1024


# Signatures, MACs, agreement, encapsulation


def sign(kms):
    key = make(kms, "ECC_NIST_P521", "SIGN_VERIFY")
    request = {"KeyId": key["KeyId"], "Message": b"m\0", "SigningAlgorithm": "ECDSA_SHA_512"}
    answer = yield request
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    public.verify(answer["Signature"], b"m\0", ec.ECDSA(hashes.SHA512()))
    assert (answer["KeyId"], answer["SigningAlgorithm"]) == (key["Arn"], "ECDSA_SHA_512")


def verify(kms):
    key = make(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    request = {"KeyId": key["KeyId"], "Message": b"m\0", "SigningAlgorithm": "ECDSA_SHA_256"}
    answer = yield request | {"Signature": kms.sign(**request)["Signature"]}
    assert answer == {
        "KeyId": key["Arn"], "SignatureValid": True, "SigningAlgorithm": "ECDSA_SHA_256",
    }  # fmt: skip


def get_public_key(kms):
    key = make(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    answer = yield {"KeyId": key["KeyId"]}
    public = serialization.load_der_public_key(answer["PublicKey"])
    assert isinstance(public.curve, ec.SECP256R1)
    assert answer["SigningAlgorithms"] == ["ECDSA_SHA_256"]
    assert (answer["KeySpec"], answer["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")


def generate_mac(kms):
    key = make(kms, "HMAC_512", "GENERATE_VERIFY_MAC")
    request = {"KeyId": key["KeyId"], "Message": b"m\0", "MacAlgorithm": "HMAC_SHA_512"}
    answer = yield request
    assert len(answer["Mac"]) == 64
    assert kms.verify_mac(**request, Mac=answer["Mac"])["MacValid"]


def verify_mac(kms):
    key = make(kms, "HMAC_224", "GENERATE_VERIFY_MAC")
    request = {"KeyId": key["KeyId"], "Message": b"m\0", "MacAlgorithm": "HMAC_SHA_224"}
    answer = yield request | {"Mac": kms.generate_mac(**request)["Mac"]}
    assert answer == {"KeyId": key["Arn"], "MacValid": True, "MacAlgorithm": "HMAC_SHA_224"}


def derive_shared_secret(kms):
    key = make(kms, "ECC_NIST_P256", "KEY_AGREEMENT")
    ours = ec.generate_private_key(ec.SECP256R1())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    answer = yield {
        "KeyId": key["KeyId"],
        "KeyAgreementAlgorithm": "ECDH",
        "PublicKey": ours.public_key().public_bytes(serialization.Encoding.DER, spki),
    }
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    assert answer["SharedSecret"] == ours.exchange(ec.ECDH(), public)
    assert (answer["KeyAgreementAlgorithm"], answer["KeyOrigin"]) == ("ECDH", "AWS_KMS")


def encapsulate(kms):
    key = make(kms, "ML_KEM_512", "ENCAPSULATE_DECAPSULATE")
    request = {"KeyId": key["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    answer = yield request
    blob = answer["SharedSecretCiphertextBlob"]
    opened = kms.decapsulate(**request, SharedSecretCiphertextBlob=blob)
    assert opened["SharedSecret"] == answer["SharedSecret"] and len(opened["SharedSecret"]) == 32


def decapsulate(kms):
    key = make(kms, "ML_KEM_512", "ENCAPSULATE_DECAPSULATE")
    request = {"KeyId": key["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    made = kms.encapsulate(**request)
    blob = made["SharedSecretCiphertextBlob"]
    answer = yield request | {"SharedSecretCiphertextBlob": blob}
    assert answer["SharedSecret"] == made["SharedSecret"]


# Aliases, tags, policies


def create_alias(kms):
    key = make(kms)
    yield {"AliasName": alias_of(key), "TargetKeyId": key["KeyId"]}
    assert target(kms, key) == [alias_of(key)]


def update_alias(kms):
    first, second = make(kms), make(kms)
    kms.create_alias(AliasName=alias_of(first), TargetKeyId=first["KeyId"])
    yield {"AliasName": alias_of(first), "TargetKeyId": second["KeyId"]}
    assert (target(kms, first), target(kms, second)) == ([], [alias_of(first)])


def delete_alias(kms):
    key = make(kms)
    kms.create_alias(AliasName=alias_of(key), TargetKeyId=key["KeyId"])
    yield {"AliasName": alias_of(key)}
    assert target(kms, key) == []


def list_aliases(kms):
    key = make(kms)
    kms.create_alias(AliasName=alias_of(key), TargetKeyId=key["KeyId"])
    answer = yield {"KeyId": key["KeyId"]}
    (entry,) = answer["Aliases"]
    assert (entry["AliasName"], entry["TargetKeyId"]) == (alias_of(key), key["KeyId"])
    assert entry["AliasArn"].endswith(":" + alias_of(key))


def tag_resource(kms):
    key = make(kms)
    yield {"KeyId": key["KeyId"], "Tags": [{"TagKey": "a", "TagValue": "b: c=d"}]}
    assert tags(kms, key) == {"a": "b: c=d"}


def untag_resource(kms):
    key = make(kms, Tags=[{"TagKey": name, "TagValue": ""} for name in ("a", "b", "c")])
    yield {"KeyId": key["KeyId"], "TagKeys": ["a", "c"]}
    assert tags(kms, key) == {"b": ""}


def list_resource_tags(kms):
    key = make(kms, Tags=[{"TagKey": "a", "TagValue": "b"}])
    answer = yield {"KeyId": key["KeyId"]}
    assert answer["Tags"] == [{"TagKey": "a", "TagValue": "b"}]


def get_key_policy(kms):
    answer = yield {"KeyId": make(kms)["KeyId"], "PolicyName": "default"}
    assert answer["PolicyName"] == "default"
    (statement,) = json.loads(answer["Policy"])["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "kms:*")


def put_key_policy(kms):
    key = make(kms)
    policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"])["Policy"])
    policy["Id"] = "anew"
    yield {"KeyId": key["KeyId"], "Policy": json.dumps(policy)}
    assert json.loads(kms.get_key_policy(KeyId=key["KeyId"])["Policy"]) == policy


def list_key_policies(kms):
    answer = yield {"KeyId": make(kms)["KeyId"]}
    assert answer["PolicyNames"] == ["default"]


# Grants


def create_grant(kms):
    key = make(kms)
    answer = yield {
        "KeyId": key["Arn"],
        "GranteePrincipal": PRINCIPAL,
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextSubset": CONTEXT},
        "Name": "case",
    }
    (entry,) = kms.list_grants(KeyId=key["KeyId"])["Grants"]
    assert (entry["GrantId"], entry["Name"]) == (answer["GrantId"], "case")
    assert entry["Constraints"] == {"EncryptionContextSubset": CONTEXT}
    assert answer["GrantToken"]


def list_grants(kms):
    key = make(kms)
    made = grant(kms, key)
    answer = yield {"KeyId": key["Arn"], "GranteePrincipal": PRINCIPAL}
    (entry,) = answer["Grants"]
    assert (entry["GrantId"], entry["KeyId"]) == (made["GrantId"], key["Arn"])


def list_retirable_grants(kms):
    key = make(kms)
    retiring = strongroom.role(key["KeyId"])
    made = grant(kms, key, RetiringPrincipal=retiring)
    answer = yield {"RetiringPrincipal": retiring}
    assert [entry["GrantId"] for entry in answer["Grants"]] == [made["GrantId"]]


def retire_grant(kms):
    key = make(kms)
    yield {"GrantToken": grant(kms, key)["GrantToken"]}
    assert grants(kms, key) == []


def revoke_grant(kms):
    key = make(kms)
    kept, gone = grant(kms, key), grant(kms, key)
    yield {"KeyId": key["Arn"], "GrantId": gone["GrantId"]}
    assert grants(kms, key) == [kept["GrantId"]]


# Rotation and import


def enable_key_rotation(kms):
    key = make(kms)
    yield {"KeyId": key["KeyId"], "RotationPeriodInDays": 100}
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["RotationPeriodInDays"] == 100


def disable_key_rotation(kms):
    key = make(kms)
    kms.enable_key_rotation(KeyId=key["KeyId"])
    yield {"KeyId": key["KeyId"]}
    assert not kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]


def get_key_rotation_status(kms):
    key = make(kms)
    kms.enable_key_rotation(KeyId=key["KeyId"])
    answer = yield {"KeyId": key["KeyId"]}
    assert (answer["KeyRotationEnabled"], answer["RotationPeriodInDays"]) == (True, 365)
    assert answer["NextRotationDate"]


def rotate_key_on_demand(kms):
    key = make(kms)
    answer = yield {"KeyId": key["KeyId"]}
    assert answer == {"KeyId": key["Arn"]}
    assert describe(kms, key)["CurrentKeyMaterialId"] != key["CurrentKeyMaterialId"]


def list_key_rotations(kms):
    key = make(kms)
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    answer = yield {"KeyId": key["KeyId"], "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    states = [entry["KeyMaterialState"] for entry in answer["Rotations"]]
    assert states == ["NON_CURRENT", "CURRENT"]
    assert answer["Rotations"][1]["RotationType"] == "ON_DEMAND"


def get_parameters_for_import(kms):
    key = make(kms, Origin="EXTERNAL")
    answer = yield {
        "KeyId": key["KeyId"],
        "WrappingAlgorithm": "RSAES_OAEP_SHA_1",
        "WrappingKeySpec": "RSA_2048",
    }
    assert answer["KeyId"] == key["Arn"] and answer["ImportToken"] and answer["ParametersValidTo"]
    assert serialization.load_der_public_key(answer["PublicKey"]).key_size == 2048


def import_key_material(kms):
    key = make(kms, Origin="EXTERNAL")
    answer = yield wrapped(kms, key, os.urandom(32))
    after = describe(kms, key)
    assert after["KeyState"] == "Enabled"
    assert answer == {"KeyId": key["Arn"], "KeyMaterialId": after["CurrentKeyMaterialId"]}


def delete_imported_key_material(kms):
    key = make(kms, Origin="EXTERNAL")
    imported = kms.import_key_material(**wrapped(kms, key, os.urandom(32)))
    answer = yield {"KeyId": key["KeyId"]}
    assert answer == {"KeyId": key["Arn"], "KeyMaterialId": imported["KeyMaterialId"]}
    assert describe(kms, key)["KeyState"] == "PendingImport"


# Custom key stores, of which there are none


def create_custom_key_store(_):
    answer = yield {
        "CustomKeyStoreName": "store",
        "CloudHsmClusterId": "cluster-1a23b4cdefg",
        "KeyStorePassword": "password",
        "TrustAnchorCertificate": "certificate",
    }
    assert answer == "CloudHsmClusterNotFoundException"


def describe_custom_key_stores(_):
    answer = yield {}
    assert answer["CustomKeyStores"] == []


def connect_custom_key_store(_):
    assert (yield NO_STORE) == STORE_NOT_FOUND


def disconnect_custom_key_store(_):
    assert (yield NO_STORE) == STORE_NOT_FOUND


def delete_custom_key_store(_):
    assert (yield NO_STORE) == STORE_NOT_FOUND


def update_custom_key_store(_):
    assert (yield NO_STORE | {"NewCustomKeyStoreName": "other"}) == STORE_NOT_FOUND
