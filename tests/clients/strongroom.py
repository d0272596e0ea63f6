"""A strict KMS client: every response is held against botocore's service model.

The SDK itself is lenient: it drops members it does not know and fills in what is missing. Here an
unknown member, a missing one, a wrong type, a value outside its enumeration or size, and an error
that the operation does not model all fail the test that caused them.
"""

import base64
import contextlib
import json
import re
import uuid

import boto3
import botocore.exceptions
from botocore.config import Config

CONTENT_TYPE = "application/x-amz-json-1.1"

#: Errors that every operation may answer although the service model does not name them.
UNMODELLED = {
    "AccessDeniedException",
    "NotAuthorizedException",
    "SerializationException",
    "UnsupportedOperationException",
    "ValidationException",
}

_METADATA = {
    "AWSAccountId", "Arn", "CreationDate", "Description", "Enabled", "KeyId", "KeyManager",
    "KeySpec", "KeyState", "KeyUsage", "MultiRegion", "Origin",
}

#: The members that a structure must have. One that is not listed must have all of the model's.
_REQUIRED = {
    "KeyMetadata": _METADATA,
    "AliasListEntry": {"AliasArn", "AliasName", "CreationDate", "LastUpdatedDate", "TargetKeyId"},
    "DecryptResponse": {"EncryptionAlgorithm", "KeyId", "Plaintext"},
    "DeriveSharedSecretResponse": {"KeyAgreementAlgorithm", "KeyId", "KeyOrigin", "SharedSecret"},
    "DescribeCustomKeyStoresResponse": {"CustomKeyStores", "Truncated"},
    "GenerateDataKeyPairResponse": {
        "KeyId", "KeyMaterialId", "KeyPairSpec", "PrivateKeyCiphertextBlob", "PrivateKeyPlaintext",
        "PublicKey",
    },
    "GenerateDataKeyResponse": {"CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"},
    "GenerateRandomResponse": {"Plaintext"},
    "GrantListEntry": {
        "CreationDate", "GrantId", "IssuingAccount", "KeyId", "Name", "Operations",
    },
    "GrantConstraints": set(),
    "GetKeyRotationStatusResponse": {"KeyId", "KeyRotationEnabled"},
    "GetPublicKeyResponse": {"KeyId", "KeySpec", "KeyUsage", "PublicKey"},
    "ListAliasesResponse": {"Aliases", "Truncated"},
    "ListGrantsResponse": {"Grants", "Truncated"},
    "ListKeyPoliciesResponse": {"PolicyNames", "Truncated"},
    "ListKeyRotationsResponse": {"Rotations", "Truncated"},
    "ListKeysResponse": {"Keys", "Truncated"},
    "ListResourceTagsResponse": {"Tags", "Truncated"},
    "RotationsListEntry": {"KeyId", "KeyMaterialId", "KeyMaterialState"},
    "ReEncryptResponse": {
        "CiphertextBlob", "DestinationEncryptionAlgorithm", "KeyId", "SourceEncryptionAlgorithm",
        "SourceKeyId",
    },
}  # fmt: skip

#: The one list of algorithms that a key of this usage has.
_ALGORITHMS_OF_USAGE = {
    "ENCRYPT_DECRYPT": "EncryptionAlgorithms",
    "SIGN_VERIFY": "SigningAlgorithms",
    "GENERATE_VERIFY_MAC": "MacAlgorithms",
    "KEY_AGREEMENT": "KeyAgreementAlgorithms",
    "ENCAPSULATE_DECAPSULATE": "EncapsulationAlgorithms",
}


def client(*, validate=True, **options):
    """A boto3 KMS client that checks each response.

    With `validate=False` parameters go out unchecked, so that the service has to refuse them.
    """
    config = Config(parameter_validation=validate, retries={"total_max_attempts": 1})
    kms = boto3.client("kms", config=config, **options)
    kms.meta.events.register("before-parse.kms.*", _check_response)
    return kms


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


def pages(call, member, **parameters):
    """The items of each page of a listing."""
    marker = {}
    while True:
        page = call(**parameters, **marker)
        yield page[member]
        if not page["Truncated"]:
            return
        marker = {"Marker": page["NextMarker"]}


def _check_response(operation_model, response_dict, **_):
    name = operation_model.name
    headers = {key.lower(): value for key, value in response_dict["headers"].items()}
    uuid.UUID(headers["x-amzn-requestid"])
    assert headers["date"], f"{name}: SDKs set their clock by the Date header"
    body = response_dict["body"]
    status = response_dict["status_code"]
    if status != 200:
        _check_error(operation_model, headers, status, json.loads(body))
    elif operation_model.output_shape is None:
        assert body == b"", f"{name}: a body where the model has none"
    else:
        assert headers["content-type"] == CONTENT_TYPE
        _check(name, operation_model.output_shape, json.loads(body))


def _check_error(operation_model, headers, status, error):
    name = operation_model.name
    assert headers["content-type"] == CONTENT_TYPE
    code = error.pop("__type")
    modelled = {shape.name: shape for shape in operation_model.error_shapes}
    assert code in modelled or code in UNMODELLED, f"{name} does not model {code}"
    transient = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"}
    assert status == (500 if code in transient else 400), f"{name}: {code} with status {status}"
    text = error.pop("message", None) or error.pop("Message", None)
    assert text is None or isinstance(text, str)
    assert not error, f"{name}: unknown members in an error: {error}"


def _check(path, shape, value):
    check = {
        "structure": _check_structure,
        "list": _check_list,
        "map": _check_map,
        "blob": _check_blob,
        "string": _check_string,
        "boolean": lambda path, _, value: _of_type(path, value, bool),
        "integer": _check_number,
        "long": _check_number,
        "timestamp": _check_timestamp,
    }
    check[shape.type_name](path, shape, value)


def _check_structure(path, shape, value):
    _of_type(path, value, dict)
    unknown = set(value) - set(shape.members)
    assert not unknown, f"{path}: members not in the model: {sorted(unknown)}"
    missing = _required(shape, value) - set(value)
    assert not missing, f"{path}: members missing: {sorted(missing)}"
    for member, item in value.items():
        if (shape.name, member, item) == ("GrantListEntry", "Name", ""):
            continue  # how AWS KMS says that there is no name, against its own model
        _check(f"{path}.{member}", shape.members[member], item)


def _required(shape, value):
    required = set(_REQUIRED.get(shape.name, shape.members))
    if shape.name in ("KeyMetadata", "GetPublicKeyResponse"):
        required |= _of_kind(shape, value)
        surplus = set(value) - required - {"DeletionDate", "ValidTo"}
        assert not surplus, f"{shape.name} with {sorted(surplus)}"
    if shape.name in ("DecryptResponse", "ReEncryptResponse"):
        required |= _material_ids(value)
    if shape.name == "KeyLastUsageData" and not value:
        required.clear()  # never used
    if shape.name == "GrantListEntry":
        kinds = {"GranteePrincipal", "GranteeServicePrincipal"} & set(value)
        assert len(kinds) == 1, "one grantee"
    if shape.name == "KeyMetadata":
        if value.get("KeyState") == "PendingDeletion":
            required.add("DeletionDate")
        else:
            assert "DeletionDate" not in value
    if value.get("Truncated"):
        required.add("NextMarker")
    elif "Truncated" in value:
        assert "NextMarker" not in value, "a marker on the last page"
    return required


def _of_kind(shape, value):
    """What the description of a key has because of its spec and usage."""
    required = {_ALGORITHMS_OF_USAGE[value["KeyUsage"]]}
    # The deprecated twin lacks the specs of after 2024.
    if value["KeySpec"] in shape.members["CustomerMasterKeySpec"].enum:
        required.add("CustomerMasterKeySpec")
    if shape.name != "KeyMetadata":
        return required
    here = value["KeyState"] != "PendingImport"
    if value["KeySpec"] == "SYMMETRIC_DEFAULT" and (here or "CurrentKeyMaterialId" in value):
        required.add("CurrentKeyMaterialId")
    if value["Origin"] == "EXTERNAL" and here:
        required.add("ExpirationModel")
    if value.get("ExpirationModel") == "KEY_MATERIAL_EXPIRES":
        required.add("ValidTo")
    else:
        assert "ValidTo" not in value
    return required


def _material_ids(value):
    """The key materials that an answer names: those of symmetric keys."""
    ids = {
        "EncryptionAlgorithm": "KeyMaterialId",
        "SourceEncryptionAlgorithm": "SourceKeyMaterialId",
        "DestinationEncryptionAlgorithm": "DestinationKeyMaterialId",
    }
    for algorithm, member in ids.items():
        if value.get(algorithm) not in (None, "SYMMETRIC_DEFAULT"):
            assert member not in value
    return {member for of, member in ids.items() if value.get(of) == "SYMMETRIC_DEFAULT"}


def _check_list(path, shape, value):
    _of_type(path, value, list)
    _within(path, shape, len(value))
    for index, item in enumerate(value):
        _check(f"{path}[{index}]", shape.member, item)


def _check_map(path, shape, value):
    _of_type(path, value, dict)
    for key, item in value.items():
        _check(f"{path} key", shape.key, key)
        _check(f"{path}[{key}]", shape.value, item)


def _check_blob(path, shape, value):
    _of_type(path, value, str)
    _within(path, shape, len(base64.b64decode(value, validate=True)))


def _check_string(path, shape, value):
    _of_type(path, value, str)
    _within(path, shape, len(value))
    assert not shape.enum or value in shape.enum, f"{path}: {value!r} is not one of {shape.enum}"
    if pattern := shape.metadata.get("pattern"):
        assert re.search(pattern, value), f"{path}: {value!r} does not match {pattern}"


def _check_number(path, shape, value):
    assert isinstance(value, int) and not isinstance(value, bool), f"{path}: {value!r}"
    _within(path, shape, value)


def _check_timestamp(path, _, value):
    assert isinstance(value, (int, float)) and not isinstance(value, bool), f"{path}: {value!r}"
    assert 1.7e9 < value < 4.2e9, f"{path}: {value} is no time in seconds"


def _of_type(path, value, kind):
    assert isinstance(value, kind), f"{path}: {value!r} is not a {kind.__name__}"


def _within(path, shape, size):
    low, high = shape.metadata.get("min", size), shape.metadata.get("max", size)
    assert low <= size <= high, f"{path}: {size} is not in {low}..{high}"
