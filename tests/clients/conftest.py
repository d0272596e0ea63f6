"""Fixtures: clients of the daemon that the Rust rig started, and fresh keys.

The rig passes endpoint, credentials and region in the SDK's own environment variables.
"""

import os
import uuid

import pytest

# Before they are imported, so that their assertions show their values.
pytest.register_assert_rewrite("identities", "operations", "service_model", "strongroom")

import service_model
import strongroom


def pytest_configure(config):
    """Refuses to run against anything but a daemon of the rig."""
    for name in ("AWS_ENDPOINT_URL_KMS", "AWS_SHARED_CREDENTIALS_FILE", "AWS_REGION"):
        if name not in os.environ:
            raise pytest.UsageError(f"{name} is not set; run these tests by `cargo xtask test`")
    service_model.watch()


@pytest.fixture(autouse=True)
def no_violations():
    """Fails a test that saw a response against the model, though a library swallowed it."""
    yield
    found = [str(violation) for violation in service_model.violations]
    service_model.violations.clear()
    assert not found


@pytest.fixture(scope="session")
def kms():
    """A client that checks parameters and responses."""
    return strongroom.client()


@pytest.fixture(scope="session")
def raw():
    """A client that sends whatever it is given."""
    return strongroom.client(validate=False)


@pytest.fixture(scope="module")
def iam():
    """A client of IAM."""
    import identities  # which wants the endpoint: who has none is told so above

    return identities.client("iam")


@pytest.fixture
def name():
    """A new name of a user, role, group or policy."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def user(iam, name):
    """A new user with an access key."""
    made = iam.create_user(UserName=name)["User"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return made | {"Key": key}


@pytest.fixture
def alias():
    """A new alias name."""
    return f"alias/test/{uuid.uuid4().hex}"


@pytest.fixture
def symmetric(kms):
    """Metadata of a new symmetric key."""
    return kms.create_key()["KeyMetadata"]


@pytest.fixture
def signing(kms):
    """Metadata of a new P-256 signing key."""
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return key["KeyMetadata"]


@pytest.fixture
def mac(kms):
    """Metadata of a new HMAC key."""
    key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    return key["KeyMetadata"]
