"""The check of responses is itself checked: each way to doctor a response is caught."""

import json

import pytest

import service_model
import strongroom


def doctored(change):
    """A client whose responses are changed before anybody reads them."""
    kms = strongroom.client()

    def doctor(response_dict, **_):
        change(response_dict)

    kms.meta.events.register_first("before-parse.kms.*", doctor)
    return kms


def members(**changes):
    """Replaces members of the body; those that become `None` go."""

    def change(response):
        body = json.loads(response["body"])
        target = body.get("KeyMetadata", body)
        target.update(changes)
        for name in [name for name, value in target.items() if value is None]:
            del target[name]
        response["body"] = json.dumps(body).encode()

    return change


def replaced(**changes):
    """Replaces parts of the response as a whole."""
    return lambda response: response.update(changes)


def header(name, value):
    """Replaces a header, or removes it."""

    def change(response):
        headers = {key.lower(): kept for key, kept in response["headers"].items()}
        headers.pop(name)
        response["headers"] = headers | ({name: value} if value else {})

    return change


def caught(call, kms, **parameters):
    """The text of the violation that a call must bring."""
    with pytest.raises(service_model.Violation) as violation:
        getattr(kms, call)(**parameters)
    assert service_model.violations.pop() is violation.value
    return str(violation.value)


@pytest.mark.parametrize(
    "change, reason",
    [
        (members(), ""),
        (members(Surprise=1), "members not in the model: ['Surprise']"),
        (members(Arn=None), "members missing: ['Arn']"),
        (members(EncryptionAlgorithms=None), "members missing: ['EncryptionAlgorithms']"),
        (members(SigningAlgorithms=["ECDSA_SHA_256"]), "['SigningAlgorithms']"),
        (members(Enabled="true"), "Enabled: 'true' is not a bool"),
        (members(Enabled=1), "Enabled: 1 is not a bool"),
        (members(Description=None, KeyState="Asleep"), "members missing: ['Description']"),
        (members(KeyState="Asleep"), "'Asleep' is not one of"),
        (members(AWSAccountId=12), "AWSAccountId: 12 is not a str"),
        (members(KeyId=""), "KeyId: 0 is not in 1..2048"),
        (members(Description="x" * 8193), "Description: 8193 is not in 0..8192"),
        (members(CreationDate="2026-01-01T00:00:00Z"), "CreationDate"),
        (members(CreationDate=1.8e12), "is no time in seconds"),
        (members(DeletionDate=1.8e9), "DeletionDate of a key that is Enabled"),
        (members(EncryptionAlgorithms="SYMMETRIC_DEFAULT"), "is not a list"),
        (members(EncryptionAlgorithms=["ROT13"]), "'ROT13' is not one of"),
        (members(CurrentKeyMaterialId="A" * 64), "does not match"),
        (replaced(body=b"[]"), "is not a dict"),
        (replaced(body=b""), "is not JSON"),
        (header("x-amzn-requestid", None), "x-amzn-RequestId"),
        (header("x-amzn-requestid", "7"), "x-amzn-RequestId"),
        (header("date", None), "Date header"),
        (header("content-type", "application/json"), "a body of type application/json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_description_of_a_key(symmetric, change, reason):
    kms = doctored(change)
    if not reason:
        assert kms.describe_key(KeyId=symmetric["KeyId"])["KeyMetadata"] == symmetric
    else:
        assert reason in caught("describe_key", kms, KeyId=symmetric["KeyId"])


def test_other_bodies(symmetric):
    key = symmetric["KeyId"]
    kms = doctored(members(Plaintext="not Base64!"))
    assert "is not Base64" in caught("generate_random", kms, NumberOfBytes=8)
    kms = doctored(members(Truncated=True))
    assert "['NextMarker']" in caught("list_keys", kms)
    kms = doctored(replaced(body=b"{}"))
    assert "a body where the model has none" in caught("enable_key", kms, KeyId=key)
    assert "members missing" in caught("generate_random", kms, NumberOfBytes=8)
    kms = doctored(members(RotationPeriodInDays=89))
    assert "89 is not in 90..2560" in caught("get_key_rotation_status", kms, KeyId=key)
    kms = doctored(members(RotationPeriodInDays=90.5))
    assert "RotationPeriodInDays" in caught("get_key_rotation_status", kms, KeyId=key)


@pytest.mark.parametrize(
    "change, reason",
    [
        (members(__type="TagException"), "TagException is not modelled"),
        (members(__type=None), "None is not modelled"),
        (members(message=None), "NotFoundException without a text"),
        (members(message=None, Message="x"), "NotFoundException without a text"),
        (members(message=7), "7 is no text"),
        (members(reason="x"), "unknown members in an error: ['reason']"),
        (members(__type="ValidationException", Message="x"), "['Message']"),
        (members(__type="AccessDeniedException"), "without a text in 'Message'"),
        (replaced(status_code=404), "NotFoundException with status 404"),
        (replaced(status_code=500), "NotFoundException with status 500"),
        (header("x-amzn-requestid", None), "x-amzn-RequestId"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors(change, reason):
    assert reason in caught("describe_key", doctored(change), KeyId="alias/absent")


def test_a_violation_that_a_library_swallows_is_kept():
    kms = doctored(members(Surprise=1))
    try:
        kms.generate_random(NumberOfBytes=8)
    except AssertionError:
        pass
    (kept,) = service_model.violations
    assert "Surprise" in str(kept)
    service_model.violations.clear()


def test_clients_of_libraries_are_watched():
    import boto3

    service_model.answered.clear()
    boto3.session.Session(region_name="us-east-1").client("kms").generate_random(NumberOfBytes=8)
    assert service_model.answered == {("GenerateRandom", ""): 1}
