"""OpenBao unsealed by a key: its server with the seal `awskms`, started again and again.

`STRONGROOM_OPENBAO` names the program.
"""

import contextlib
import itertools
import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import boto3
import pytest


ENDPOINT = os.environ["AWS_ENDPOINT_URL_KMS"]
PROGRAM = os.environ["STRONGROOM_OPENBAO"]
#: Seconds that a server may take to answer, or to unseal itself.
PATIENCE = 600


class Server:
    """A server of OpenBao on a directory of its own, which outlives the process."""

    def __init__(self, directory, key, environment):
        self.address, cluster = f"http://{own_address()}", f"http://{own_address()}"
        self.environment = environment
        self.log = directory / "log"
        self.token = None
        (directory / "data").mkdir()
        self.configuration = directory / "bao.json"
        self.configuration.write_text(json.dumps({
            "storage": {"raft": {"path": str(directory / "data"), "node_id": "only"}},
            "listener": {"tcp": {"address": self.address[7:], "tls_disable": True}},
            "seal": {"awskms": {"kms_key_id": key, "region": os.environ["AWS_REGION"], "endpoint": ENDPOINT}},
            "api_addr": self.address,
            "cluster_addr": cluster,
        }))  # fmt: skip

    @contextlib.contextmanager
    def running(self):
        with self.log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [PROGRAM, "server", "-config", self.configuration], stdout=log, stderr=log,
                env=os.environ | self.environment,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.address}/v1/{path}", json.dumps(body).encode() if body else None, method=method,
            headers={"X-Vault-Token": self.token} if self.token else {},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def seal_status(self):
        return self.ask("GET", "sys/seal-status")

    def wait(self, what):
        """Waits until a condition on the seal's status is met."""
        by, status = time.monotonic() + PATIENCE, None
        while time.monotonic() < by:
            with contextlib.suppress(OSError):
                status = self.seal_status()
                if what(status):
                    return status
            time.sleep(0.1)
        raise AssertionError(f"{status} after {PATIENCE} s\n{self.log.read_text(encoding='utf-8')}")

    def unsealed(self):
        self.wait(lambda status: status["initialized"] and not status["sealed"])
        # Unsealed it still takes a moment to lead.
        by = time.monotonic() + PATIENCE
        while True:
            try:
                return self.ask("GET", "sys/health")
            except urllib.error.HTTPError:
                assert time.monotonic() < by, self.log.read_text(encoding="utf-8")
                time.sleep(0.1)

    def initialise(self):
        self.wait(lambda status: not status["initialized"])
        made = self.ask("POST", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        self.token = made["root_token"]
        self.unsealed()
        self.ask("POST", "sys/mounts/secret", {"type": "kv"})

    def said(self, text):
        """Waits until the server's log has this text."""
        by = time.monotonic() + PATIENCE
        while text not in self.log.read_text(encoding="utf-8"):
            assert time.monotonic() < by, self.log.read_text(encoding="utf-8")
            time.sleep(0.1)


#: Below the ports that the system chooses for others.
PORTS = itertools.count(20_000)


def own_address():
    """An address that nobody else listens on, also after a restart: of the loopback network it is this process's."""
    high, middle, low = os.getpid().to_bytes(3, "big")  # of 22 bits
    return f"127.{0x40 | high}.{middle}.{low}:{next(PORTS)}"


@pytest.fixture
def user(symmetric):
    """Access key of a user who may do with the key what OpenBao's guide asks for, and no more."""
    iam = boto3.client("iam", endpoint_url=ENDPOINT)
    name = f"openbao-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    actions = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": symmetric["Arn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="seal", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@pytest.fixture
def server(symmetric, user, tmp_path):
    return Server(pathlib.Path(tmp_path), symmetric["Arn"], user)


def test_what_is_sealed_opens_by_itself(kms, server, symmetric):
    with server.running():
        server.initialise()
        server.ask("POST", "secret/kept", {"value": "sealed by a key"})
        assert server.seal_status()["type"] == "awskms"

    def opens():
        with server.running():
            server.unsealed()
            return server.ask("GET", "secret/kept")["data"] == {"value": "sealed by a key"}

    assert opens()
    # New material for the key: what was sealed with the old one still opens.
    kms.rotate_key_on_demand(KeyId=symmetric["KeyId"])
    assert opens()


def test_a_disabled_key_keeps_it_sealed(kms, server, symmetric):
    with server.running():
        server.initialise()
        server.ask("POST", "secret/kept", {"value": "sealed by a key"})
    kms.disable_key(KeyId=symmetric["KeyId"])
    with server.running() as process:
        server.said("DisabledException")
        if process.poll() is None:
            assert server.wait(lambda status: True)["sealed"]
    kms.enable_key(KeyId=symmetric["KeyId"])
    with server.running():
        server.unsealed()
        assert server.ask("GET", "secret/kept")["data"] == {"value": "sealed by a key"}


def test_the_root_key_is_sealed_anew(kms, server, symmetric):
    """OpenBao rotates its own keys, sealing them with the KMS key as it is now."""
    with server.running():
        server.initialise()
        server.ask("POST", "secret/kept", {"value": "sealed by a key"})
        kms.rotate_key_on_demand(KeyId=symmetric["KeyId"])
        server.ask("POST", "sys/rotate/root")
        server.ask("POST", "sys/rotate/keyring")
    with server.running():
        server.unsealed()
        assert server.ask("GET", "secret/kept")["data"] == {"value": "sealed by a key"}


def test_a_key_of_nobody(kms, tmp_path, user):
    other = kms.create_key()["KeyMetadata"]
    server = Server(pathlib.Path(tmp_path), other["Arn"], user)
    with server.running():
        server.said("AccessDeniedException")
