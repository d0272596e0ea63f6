"""Envelope encryption of a file: the key service sees a data key, never the file.

    python encrypt.py secret.txt
"""

import sys
from pathlib import Path

import boto3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALIAS = "alias/example-files"

kms = boto3.client("kms")
path = Path(sys.argv[1])
# Part of what is authenticated: the data key opens for this name only.
context = {"file": path.name}


def key():
    """The key behind the alias, which the first run makes."""
    try:
        return kms.describe_key(KeyId=ALIAS)["KeyMetadata"]["Arn"]
    except kms.exceptions.NotFoundException:
        made = kms.create_key(Description="files")["KeyMetadata"]
        kms.create_alias(AliasName=ALIAS, TargetKeyId=made["KeyId"])
        return made["Arn"]


def seal(plaintext):
    data_key = kms.generate_data_key(KeyId=key(), KeySpec="AES_256", EncryptionContext=context)
    wrapped = data_key["CiphertextBlob"]
    # Each data key is used once, so the nonce may be the same each time.
    sealed = AESGCM(data_key["Plaintext"]).encrypt(bytes(12), plaintext, None)
    return len(wrapped).to_bytes(2, "big") + wrapped + sealed


def open_sealed(sealed):
    end = 2 + int.from_bytes(sealed[:2], "big")
    data_key = kms.decrypt(CiphertextBlob=sealed[2:end], EncryptionContext=context)
    return AESGCM(data_key["Plaintext"]).decrypt(bytes(12), sealed[end:], None)


sealed = path.with_name(path.name + ".sealed")
sealed.write_bytes(seal(path.read_bytes()))
assert open_sealed(sealed.read_bytes()) == path.read_bytes()
print(f"{sealed} opens to what is in {path}")
