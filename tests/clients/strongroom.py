"""What the suites share: clients that never retry, and what a refusal looks like.

Every response is held against the service model, see `service_model.py`.
"""

import contextlib
import json
import os
import re
import time

import boto3
import botocore.exceptions
from botocore.config import Config

#: Seconds after which what has not happened never will, on a machine of any speed.
PATIENCE = 600


def client(*, validate=True, **options):
    """A boto3 KMS client that never tries again, so that no failure goes unseen.

    With `validate=False` parameters go out unchecked, so that the service has to refuse them.
    """
    config = Config(parameter_validation=validate, retries={"total_max_attempts": 1})
    return boto3.client("kms", config=config, **options)


def role(name):
    """The ARN of a new role, for grants to name."""
    iam = boto3.client("iam", endpoint_url=os.environ["AWS_ENDPOINT_URL_KMS"])
    trust = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"
        },
    }  # fmt: skip
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return made["Role"]["Arn"]


@contextlib.contextmanager
def refused(code, message=None):
    """Expects the call inside to be refused with this code and, if given, exactly this text.

    A compiled pattern as `message` is searched for. Yields a dictionary that receives the error.
    """
    caught = {}
    try:
        yield caught
    except botocore.exceptions.ClientError as error:
        caught.update(error.response["Error"])
        assert caught["Code"] == code, f"{caught}, wanted {code}"
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        text = caught.get("Message")
        if isinstance(message, re.Pattern):
            assert message.search(text or ""), f"{text!r} does not match {message.pattern!r}"
        elif message is not None:
            assert text == message
    else:
        raise AssertionError(f"the call succeeded, wanted {code}")


def invalid(member, constraint=""):
    """The text of a ValidationException for one member that violates one constraint.

    The value of a blob, which may be a secret, is left out of it.
    """
    start = r"^1 validation error detected: Value(?: .*)? at '" + re.escape(member)
    rest = "' failed to satisfy constraint: Member must " + re.escape(constraint)
    return re.compile(start + rest, re.DOTALL)


def key_forms(kms, metadata, alias):
    """The four forms in which the cryptographic operations take a key."""
    kms.create_alias(AliasName=alias, TargetKeyId=metadata["KeyId"])
    alias_arn = metadata["Arn"].rsplit(":", 1)[0] + ":" + alias
    return [metadata["KeyId"], metadata["Arn"], alias, alias_arn]


def patiently(call, **parameters):
    """What a call answers that needs an RSA key pair of an emulated device.

    A device may look for one for longer than the daemon lets a request wait, and then says that one may
    try again, as the SDK does by default. The next try has the place of the one before.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call(**parameters)
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            not_yet = code in ("DependencyTimeoutException", "KeyUnavailableException")
            if not not_yet or time.monotonic() > end:
                raise


def pages(call, member, **parameters):
    """The items of each page of a listing."""
    marker = {}
    while True:
        page = call(**parameters, **marker)
        yield page[member]
        if not page["Truncated"]:
            return
        marker = {"Marker": page["NextMarker"]}
