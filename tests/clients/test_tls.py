"""A daemon with a certificate of its own: whoever trusts it is served, nobody else."""

import http.client
import os
import urllib.parse

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


def test_plain_http_is_not_served_but_told_so():
    place = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_KMS"])
    plain = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    plain.request("POST", "/", body="{}", headers={"x-amz-target": "TrentService.ListKeys"})
    answer = plain.getresponse()
    assert answer.status == 400
    assert "use https:// in place of http://" in answer.read().decode()
