"""The service model used backwards: every response is held against botocore's model of KMS.

The SDK itself is lenient: it drops members it does not know and fills in what is missing. Here an
unknown member, a missing one, a wrong type, a value outside its enumeration, size or pattern, and
an error that the operation does not model all fail the test that caused them.

`watch()` does this for every client that is made in this process, by whomever. A library may
swallow the failure of a call that it made; `violations` keeps what was found all the same, and a
fixture of `conftest.py` looks there after each test.
"""

import base64
import collections
import json
import re
import uuid

import botocore.session

CONTENT_TYPE = "application/x-amz-json-1.1"

#: Errors of the front end, which no operation models: their status and the member of their text.
FRONT_END = {
    "AccessDeniedException": (400, "Message"),
    "ExpiredTokenException": (400, "Message"),
    "IncompleteSignatureException": (400, "Message"),
    "InvalidSignatureException": (400, "Message"),
    "MissingAuthenticationTokenException": (400, "Message"),
    "NotAuthorizedException": (400, "Message"),
    "RequestEntityTooLargeException": (413, "Message"),
    "SerializationException": (400, "Message"),
    "ServiceUnavailableException": (503, "Message"),
    "ThrottlingException": (400, "message"),
    "UnknownOperationException": (400, "message"),
    "UnrecognizedClientException": (400, "Message"),
    "ValidationException": (400, "message"),
}

#: Errors that are refusals of this service alone, by operation.
NOT_OFFERED = {("CreateCustomKeyStore", "UnsupportedOperationException")}

#: Errors that come without a text, as at AWS: they say only that something does not fit.
BARE = {
    "InvalidCiphertextException",
    "InvalidGrantTokenException",
    "InvalidMarkerException",
    "KMSInvalidMacException",
    "KMSInvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnknownOperationException",
}

#: Modelled errors that are not the client's fault, which SDKs answer by trying again.
TRANSIENT = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"}

_METADATA = {
    "AWSAccountId", "Arn", "CreationDate", "Description", "Enabled", "KeyId", "KeyManager",
    "KeySpec", "KeyState", "KeyUsage", "MultiRegion", "Origin",
}

#: The members that a structure must have. One that is not listed must have all of the model's.
_REQUIRED = {
    "KeyMetadata": _METADATA,
    # The alias of an AWS managed key that no service has asked for yet has no more.
    "AliasListEntry": {"AliasArn", "AliasName"},
    "DecryptResponse": {"EncryptionAlgorithm", "KeyId", "Plaintext"},
    "DeriveSharedSecretResponse": {"KeyAgreementAlgorithm", "KeyId", "KeyOrigin", "SharedSecret"},
    "DescribeCustomKeyStoresResponse": {"CustomKeyStores", "Truncated"},
    "GenerateDataKeyPairResponse": {
        "KeyId", "KeyMaterialId", "KeyPairSpec", "PrivateKeyCiphertextBlob", "PrivateKeyPlaintext",
        "PublicKey",
    },
    "GenerateDataKeyResponse": {"CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"},
    "GenerateRandomResponse": {"Plaintext"},
    # The material of other than symmetric keys has no name.
    "ImportKeyMaterialResponse": {"KeyId"},
    "DeleteImportedKeyMaterialResponse": {"KeyId"},
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
    "ScheduleKeyDeletionResponse": {"KeyId", "KeyState", "PendingWindowInDays"},
    "ReplicateKeyResponse": {"ReplicaKeyMetadata", "ReplicaPolicy"},
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


class Violation(AssertionError):
    """A response that the service model does not allow."""


#: Violations that no test has dealt with yet.
violations = []

#: How often an operation was answered with an error code, "" for a success.
answered = collections.Counter()


def watch():
    """Checks the responses to every KMS client that is made in this process from now on."""
    create = botocore.session.Session.create_client

    def create_watched(self, service_name, *arguments, **options):
        client = create(self, service_name, *arguments, **options)
        if service_name == "kms":
            # The last one: what a test alters on the way is altered for the check as well.
            client.meta.events.register_last("before-parse.kms.*", _observe)
        return client

    botocore.session.Session.create_client = create_watched


def operations():
    """The names of all operations of the service model."""
    loader = botocore.session.get_session().get_component("data_loader")
    return set(loader.load_service_model("kms", "service-2")["operations"])


def _observe(operation_model, response_dict, **_):
    try:
        code = check(operation_model, response_dict)
    except AssertionError as error:
        violation = Violation(f"{operation_model.name}: {error}")
        violations.append(violation)
        raise violation from error
    answered[operation_model.name, code] += 1


def check(operation_model, response):
    """Holds a raw response against its operation; returns the error's code, "" for a success."""
    name = operation_model.name
    headers = {key.lower(): value for key, value in response["headers"].items()}
    _check_id(headers.get("x-amzn-requestid"))
    assert headers.get("date"), "SDKs set their clock by the Date header"
    body = response["body"]
    kind = headers.get("content-type")
    if body:
        assert kind == CONTENT_TYPE, f"a body of type {kind}"
    if response["status_code"] != 200:
        return _check_error(operation_model, response["status_code"], _parsed(body))
    if operation_model.output_shape is None:
        assert body == b"", "a body where the model has none"
    else:
        _check(name, operation_model.output_shape, _parsed(body))
    return ""


def _check_id(text):
    try:
        uuid.UUID(text)
    except (TypeError, ValueError):
        raise AssertionError(f"{text!r} in x-amzn-RequestId") from None


def _parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        raise AssertionError(f"{body!r} is not JSON") from None


def _check_error(operation_model, status, error):
    name = operation_model.name
    _of_type("an error", error, dict)
    code = error.pop("__type", None)
    modelled = {shape.name for shape in operation_model.error_shapes}
    if code in modelled or (name, code) in NOT_OFFERED:
        expected, member = 500 if code in TRANSIENT else 400, "message"
    else:
        assert code in FRONT_END, f"{code} is not modelled"
        expected, member = FRONT_END[code]
    assert status == expected, f"{code} with status {status}"
    text = error.pop(member, None)
    assert text or code in BARE and text is None, f"{code} without a text in {member!r}"
    assert text is None or isinstance(text, str), f"{code}: {text!r} is no text"
    assert not error, f"unknown members in an error: {sorted(error)}"
    return code


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
        surplus = set(value) - required - {
            "DeletionDate", "PendingDeletionWindowInDays", "ValidTo",
        }  # fmt: skip
        assert not surplus, f"{shape.name} with {sorted(surplus)}"
    if shape.name in ("DecryptResponse", "ReEncryptResponse"):
        required |= _material_ids(value)
    if shape.name == "KeyLastUsageData" and not value:
        required.clear()  # never used
    if shape.name == "GrantListEntry":
        kinds = {"GranteePrincipal", "GranteeServicePrincipal"} & set(value)
        assert len(kinds) == 1, "one grantee"
    if shape.name in ("KeyMetadata", "ScheduleKeyDeletionResponse"):
        required |= _of_deletion(shape, value)
    if value.get("Truncated"):
        required.add("NextMarker")
    elif "Truncated" in value:
        assert "NextMarker" not in value, "a marker on the last page"
    return required


def _of_deletion(shape, value):
    """What says when a key goes: a date, or how long it waits once its replicas are gone."""
    of_state = {
        "PendingDeletion": "DeletionDate",
        "PendingReplicaDeletion": "PendingDeletionWindowInDays",
    }
    member = of_state.get(value.get("KeyState"))
    for other in set(of_state.values()) - {member}:
        assert other not in value, f"{other} of a key that is {value.get('KeyState')}"
    return {member} & set(shape.members)


def _of_kind(shape, value):
    """What the description of a key has because of its spec and usage."""
    required = {_ALGORITHMS_OF_USAGE[value["KeyUsage"]], "CustomerMasterKeySpec"}
    assert value["CustomerMasterKeySpec"] == value["KeySpec"]
    if shape.name != "KeyMetadata":
        return required
    if value["MultiRegion"]:
        required.add("MultiRegionConfiguration")
    # One that is deleted before its material came never had any.
    empty = value["Origin"] == "EXTERNAL" and "ExpirationModel" not in value
    here = value["KeyState"] != "PendingImport"
    here = here and not (empty and value["KeyState"] == "PendingDeletion")
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
    try:
        size = len(base64.b64decode(value, validate=True))
    except ValueError:
        raise AssertionError(f"{path}: {value!r} is not Base64") from None
    _within(path, shape, size)


def _check_string(path, shape, value):
    _of_type(path, value, str)
    _within(path, shape, len(value))
    # The deprecated twin of KeySpec has every name at AWS, though its type lacks those of after 2024.
    twin = shape.name == "CustomerMasterKeySpec"
    fits = not shape.enum or value in shape.enum or twin
    assert fits, f"{path}: {value!r} is not one of {shape.enum}"
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
