"""MongoDB's client-side encryption: pymongo with libmongocrypt, the key service over TLS."""

import json
import os
import uuid
from urllib.parse import urlsplit

import boto3
import pytest
from bson import CodecOptions
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.encryption import Algorithm, ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts
from pymongo.errors import EncryptionError
from pymongo.server_api import ServerApi

import mongodb_server

ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]
REGION = os.environ["AWS_REGION"]
VAULT = "encryption.keys"
TLS = {"aws": {"tlsCAFile": os.environ["AWS_CA_BUNDLE"]}}


@pytest.fixture
def client():
    with mongodb_server.running() as uri, MongoClient(uri, server_api=ServerApi("1")) as client:
        yield client


def provider(credentials):
    names = {"accessKeyId": "access_key", "secretAccessKey": "secret_key", "sessionToken": "token"}
    values = {name: getattr(credentials, attribute) for name, attribute in names.items()}
    return {"aws": {name: value for name, value in values.items() if value}}


def root():
    return provider(boto3.Session().get_credentials())


def master(key):
    return {"region": REGION, "key": key["Arn"], "endpoint": urlsplit(ENDPOINT).netloc}


def encryption(client, providers):
    """Keeps no data key in memory that another one had: each asks the key service anew."""
    return ClientEncryption(providers, VAULT, client, CodecOptions(), kms_tls_options=TLS)


def requests(operation):
    """How many requests of an operation the audit log has."""
    directory = os.path.join(os.path.dirname(os.environ["AWS_SHARED_CREDENTIALS_FILE"]), "audit")
    count = 0
    # JOURNAL has the last lines once more.
    for name in filter(lambda name: name.endswith(".jsonl"), os.listdir(directory)):
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            count += sum(f'"eventName":"{operation}"' in line for line in file)
    return count


def test_data_keys_and_values(kms, client, symmetric):
    with encryption(client, root()) as first:
        one = first.create_data_key("aws", master(symmetric), key_alt_names=["one"])
        value = first.encrypt("secret", Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random, key_alt_name="one")
        fixed = first.encrypt("7", Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic, key_id=one)
    [kept] = client.encryption.keys.find({})
    assert kept["masterKey"]["key"] == symmetric["Arn"] and kept["keyAltNames"] == ["one"]
    # The data key itself: 96 bytes, wrapped by the service and by nobody else.
    plain = kms.decrypt(CiphertextBlob=kept["keyMaterial"], KeyId=symmetric["Arn"])["Plaintext"]
    assert len(plain) == 96

    before = requests("Decrypt")
    with encryption(client, root()) as second:
        assert second.decrypt(value) == "secret" and second.decrypt(fixed) == "7"
        again = second.encrypt("7", Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic, key_id=one)
        assert again == fixed
    assert requests("Decrypt") == before + 1


def test_a_client_that_decrypts_by_itself(client, symmetric):
    with encryption(client, root()) as by_hand:
        by_hand.create_data_key("aws", master(symmetric), key_alt_names=["one"])
        random = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
        value = by_hand.encrypt({"iban": "DE02"}, random, key_alt_name="one")
    client.shop.people.insert_one({"_id": 1, "account": value})
    assert isinstance(client.shop.people.find_one({"_id": 1})["account"], Binary)
    options = AutoEncryptionOpts(root(), VAULT, bypass_auto_encryption=True, kms_tls_options=TLS)
    [address] = client.nodes
    with MongoClient(*address, server_api=ServerApi("1"), auto_encryption_opts=options) as own:
        assert own.shop.people.find_one({"_id": 1})["account"] == {"iban": "DE02"}


def test_data_keys_move_to_another_key(kms, client, symmetric):
    other = kms.create_key()["KeyMetadata"]
    with encryption(client, root()) as owner:
        for name in ("one", "two"):
            owner.create_data_key("aws", master(symmetric), key_alt_names=[name])
        random = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
        value = owner.encrypt("secret", random, key_alt_name="two")
        moved = owner.rewrap_many_data_key({}, "aws", master(other))
        assert moved.bulk_write_result.modified_count == 2
    assert {key["masterKey"]["key"] for key in client.encryption.keys.find({})} == {other["Arn"]}
    kms.disable_key(KeyId=symmetric["KeyId"])
    with encryption(client, root()) as afterwards:
        assert afterwards.decrypt(value) == "secret"


def test_rotation_is_not_noticed(kms, client, symmetric):
    with encryption(client, root()) as before:
        before.create_data_key("aws", master(symmetric), key_alt_names=["one"])
        random = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
        value = before.encrypt("secret", random, key_alt_name="one")
    kms.rotate_key_on_demand(KeyId=symmetric["KeyId"])
    with encryption(client, root()) as afterwards:
        assert afterwards.decrypt(value) == "secret"


def test_temporary_credentials(client, symmetric):
    name = f"mongodb-{uuid.uuid4().hex[:8]}"
    iam = boto3.client("iam", endpoint_url=ENDPOINT)
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": symmetric["Arn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=name, PolicyName="use", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    sts = boto3.client(
        "sts", endpoint_url=ENDPOINT, aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )  # fmt: skip
    given = sts.get_session_token()["Credentials"]
    session = {
        "accessKeyId": given["AccessKeyId"], "secretAccessKey": given["SecretAccessKey"],
        "sessionToken": given["SessionToken"],
    }  # fmt: skip
    random = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
    with encryption(client, {"aws": session}) as user:
        user.create_data_key("aws", master(symmetric), key_alt_names=["one"])
        assert user.decrypt(user.encrypt(1, random, key_alt_name="one")) == 1
    iam.delete_user_policy(UserName=name, PolicyName="use")
    with encryption(client, {"aws": session}) as user, pytest.raises(EncryptionError) as refused:
        user.create_data_key("aws", master(symmetric))
    assert "AccessDeniedException" in str(refused.value)


def test_refusals_reach_the_program(kms, client, symmetric):
    with encryption(client, root()) as owner:
        owner.create_data_key("aws", master(symmetric), key_alt_names=["one"])
    kms.disable_key(KeyId=symmetric["KeyId"])
    random = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
    with encryption(client, root()) as owner, pytest.raises(EncryptionError) as refused:
        owner.encrypt(1, random, key_alt_name="one")
    assert "DisabledException" in str(refused.value) and "400" in str(refused.value)
    wrong = {"aws": root()["aws"] | {"secretAccessKey": "w" * 40}}
    with encryption(client, wrong) as stranger, pytest.raises(EncryptionError) as refused:
        stranger.create_data_key("aws", master(symmetric))
    assert "signature" in str(refused.value).lower()


def test_a_certificate_that_is_not_trusted(client, symmetric):
    doubtful = ClientEncryption(root(), VAULT, client, CodecOptions())
    with doubtful, pytest.raises(EncryptionError) as refused:
        doubtful.create_data_key("aws", master(symmetric))
    assert "certificate verify failed" in str(refused.value)
