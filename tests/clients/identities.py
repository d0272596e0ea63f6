"""What the suites about identities share."""

import json
import os

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

ACCOUNT = "000000000000"
ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]


def client(service, key=None, **options):
    """A client of a service, signing with an access key, or as the account root."""
    names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    members = ["AccessKeyId", "SecretAccessKey", "SessionToken"]
    given = {name: (key or {}).get(member) for name, member in zip(names, members)}
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client(service, endpoint_url=ENDPOINT, config=config, **given, **options)


def refusal(call, **parameters):
    """Code and HTTP status of a call that is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    assert response["ResponseMetadata"]["RequestId"]
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def message(call, **parameters):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Message"]


def document(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def trust(principal):
    return document(Principal={"AWS": principal}, Action="sts:AssumeRole")
