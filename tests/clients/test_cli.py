"""The AWS CLI, as a person would use it."""

import base64
import json
import os
import subprocess
import sys

import pytest


def aws(*arguments, **variables):
    """Runs `aws kms …` of the same environment as this interpreter."""
    tool = os.path.join(os.path.dirname(sys.executable), "aws")
    command = [sys.executable, tool, "--output", "json", "kms", *arguments]
    environment = os.environ | variables
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def answer(*arguments):
    """The parsed output of a command that succeeds."""
    done = aws(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def refusal(*arguments):
    """The message of a command that fails."""
    done = aws(*arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def key():
    """Metadata of a key made by the CLI."""
    return answer("create-key", "--description", "by the CLI", "--tags", "TagKey=a,TagValue=b")[
        "KeyMetadata"
    ]


def test_encrypt_and_decrypt_a_file(key, tmp_path):
    plaintext = os.urandom(4096)
    (tmp_path / "plain").write_bytes(plaintext)
    sealed = answer(
        "encrypt", "--key-id", key["KeyId"], "--plaintext", f"fileb://{tmp_path}/plain",
        "--encryption-context", "Purpose=test",
    )  # fmt: skip
    blob = base64.b64decode(sealed["CiphertextBlob"])
    (tmp_path / "blob").write_bytes(blob)
    opened = answer(
        "decrypt", "--ciphertext-blob", f"fileb://{tmp_path}/blob",
        "--encryption-context", "Purpose=test",
    )  # fmt: skip
    assert base64.b64decode(opened["Plaintext"]) == plaintext
    assert opened["KeyId"] == key["Arn"]
    assert "InvalidCiphertextException" in refusal(
        "decrypt", "--ciphertext-blob", f"fileb://{tmp_path}/blob"
    )


def test_sign_and_verify(tmp_path):
    (tmp_path / "message").write_bytes(b"message")
    made = answer("create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY")
    common = [
        "--key-id", made["KeyMetadata"]["Arn"], "--signing-algorithm", "ECDSA_SHA_256",
        "--message", f"fileb://{tmp_path}/message",
    ]  # fmt: skip
    signature = base64.b64decode(answer("sign", *common)["Signature"])
    (tmp_path / "signature").write_bytes(signature)
    given = ["--signature", f"fileb://{tmp_path}/signature"]
    assert answer("verify", *common, *given)["SignatureValid"] is True
    (tmp_path / "message").write_bytes(b"Message")
    assert "KMSInvalidSignatureException" in refusal("verify", *common, *given)


def test_alias_state_and_listing(key):
    alias = "alias/cli/" + key["KeyId"]
    assert answer("create-alias", "--alias-name", alias, "--target-key-id", key["KeyId"]) is None
    described = answer("describe-key", "--key-id", alias)["KeyMetadata"]
    assert described == key
    assert answer("disable-key", "--key-id", key["KeyId"]) is None
    try:
        message = refusal("generate-data-key", "--key-id", alias, "--key-spec", "AES_256")
        assert f"(DisabledException) when calling the GenerateDataKey operation: {key['Arn']} is disabled." in message  # fmt: skip
    finally:
        answer("enable-key", "--key-id", key["KeyId"])
    listed = answer("list-keys", "--page-size", "2")["Keys"]
    assert {"KeyId": key["KeyId"], "KeyArn": key["Arn"]} in listed
    aliases = answer("list-aliases", "--key-id", key["KeyId"])["Aliases"]
    assert [entry["AliasName"] for entry in aliases] == [alias]
    tags = answer("list-resource-tags", "--key-id", key["KeyId"])["Tags"]
    assert tags == [{"TagKey": "a", "TagValue": "b"}]


def test_policy_and_deletion(key):
    policy = answer("get-key-policy", "--key-id", key["KeyId"], "--policy-name", "default")
    assert json.loads(policy["Policy"])["Version"] == "2012-10-17"
    made = answer("create-key")["KeyMetadata"]["KeyId"]
    scheduled = answer("schedule-key-deletion", "--key-id", made, "--pending-window-in-days", "7")
    assert scheduled["KeyState"] == "PendingDeletion"
    assert answer("cancel-key-deletion", "--key-id", made)["KeyId"].endswith(made)


def test_random():
    random = answer("generate-random", "--number-of-bytes", "24")
    assert len(base64.b64decode(random["Plaintext"])) == 24


def test_grants(key):
    principal = "arn:aws:iam::000000000000:root"
    made = answer(
        "create-grant", "--key-id", key["Arn"], "--grantee-principal", principal,
        "--retiring-principal", principal, "--operations", "Decrypt", "Encrypt",
        "--constraints", "EncryptionContextSubset={Purpose=test}",
    )  # fmt: skip
    listed = answer("list-grants", "--key-id", key["Arn"])["Grants"]
    assert [grant["GrantId"] for grant in listed] == [made["GrantId"]]
    assert listed[0]["Constraints"] == {"EncryptionContextSubset": {"Purpose": "test"}}
    retirable = answer("list-retirable-grants", "--retiring-principal", principal)["Grants"]
    assert made["GrantId"] in {grant["GrantId"] for grant in retirable}
    answer("revoke-grant", "--key-id", key["Arn"], "--grant-id", made["GrantId"])
    assert answer("list-grants", "--key-id", key["Arn"])["Grants"] == []
