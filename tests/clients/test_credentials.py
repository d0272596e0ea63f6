"""Requests whose signature does not hold."""

import datetime
import json
import time

import botocore.auth
import botocore.httpsession
import pytest

import strongroom
from strongroom import refused

NOT_MATCHING = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


def test_an_unknown_access_key():
    kms = strongroom.client(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x" * 40
    )
    with refused(
        "UnrecognizedClientException", "The security token included in the request is invalid."
    ):
        kms.list_keys()


def test_a_wrong_secret(kms):
    credentials = kms._request_signer._credentials
    wrong = strongroom.client(
        aws_access_key_id=credentials.access_key, aws_secret_access_key="x" * 40
    )
    with refused("InvalidSignatureException", NOT_MATCHING):
        wrong.list_keys()


def test_a_session_token_that_belongs_to_nothing(kms):
    credentials = kms._request_signer._credentials
    wrong = strongroom.client(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token="token",
    )
    with refused(
        "UnrecognizedClientException", "The security token included in the request is invalid."
    ):
        wrong.list_keys()


@pytest.mark.parametrize("change", ["body", "target", "signature"])
def test_a_request_changed_after_it_was_signed(change):
    kms = strongroom.client()

    def alter(request, **_):
        if change == "body":
            request.body = request.body.replace(b"1", b"2")
        elif change == "target":
            request.headers["X-Amz-Target"] = "TrentService.ListKeys"
        else:
            signed = request.headers["Authorization"]
            last = b"0" if signed[-1:] != b"0" else b"1"
            request.headers["Authorization"] = signed[:-1] + last

    kms.meta.events.register("before-send.kms.*", alter)
    with refused("InvalidSignatureException", NOT_MATCHING):
        kms.list_aliases(Limit=1)


@pytest.mark.parametrize("minutes, word", [(-6, "Signature expired"), (6, "not yet current")])
def test_a_clock_that_is_wrong(monkeypatch, minutes, word):
    kms = strongroom.client()
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    moved = now + datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moved)
    with refused("InvalidSignatureException") as error:
        kms.list_keys()
    assert word in error["Message"]


def test_another_region_or_service():
    kms = strongroom.client(region_name="eu-central-1")
    with refused("InvalidSignatureException", "Credential should be scoped to a valid region."):
        kms.list_keys()


def test_equal_requests_of_one_second(kms):
    """boto3 gives them one signature, and each is to be served."""
    sent = []
    kms.meta.events.register(
        "before-send.kms.*", lambda request, **_: sent.append(request.headers["Authorization"])
    )
    answers = []
    # However few of them a slow machine gets into one second.
    while len(answers) < 20 or len(set(sent)) == len(sent):
        answers.append(kms.generate_random(NumberOfBytes=16)["Plaintext"])
        assert len(answers) < 2000, "no two requests have had one signature"
    assert len(set(answers)) == len(answers)


def test_a_request_that_is_sent_again_later(kms):
    sent = []
    kms.meta.events.register("before-send.kms.*", lambda request, **_: sent.append(request))
    kms.generate_random(NumberOfBytes=16)
    time.sleep(5.5)
    answer = botocore.httpsession.URLLib3Session().send(sent[0])
    assert answer.status_code == 400
    assert answer.headers["Date"]
    assert json.loads(answer.content) == {
        "__type": "InvalidSignatureException",
        "Message": "The request signature was used already. Sign each request anew.",
    }
