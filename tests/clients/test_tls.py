"""A daemon with a certificate of its own: whoever trusts it is served, nobody else."""

import os

import botocore.exceptions
import pytest

import strongroom


def test_a_client_that_trusts_the_certificate(kms):
    assert kms.meta.endpoint_url.startswith("https://")
    made = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=made["KeyId"], Plaintext=b"over TLS")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"over TLS"


def test_a_client_that_does_not(monkeypatch):
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(botocore.exceptions.SSLError):
        strongroom.client().list_keys()


def test_plain_http_is_not_served(monkeypatch):
    plain = os.environ["AWS_ENDPOINT_URL_KMS"].replace("https://", "http://")
    kms = strongroom.client(endpoint_url=plain)
    with pytest.raises((botocore.exceptions.HTTPClientError, botocore.exceptions.ClientError)):
        kms.list_keys()
