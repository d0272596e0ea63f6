"""Keys that take long to make, for more callers at a time than a device serves within their patience."""

import time
from concurrent.futures import ThreadPoolExecutor

import boto3

#: Seconds after which the daemon answers that it is not done yet, and some more.
PATIENCE = 60


def make(kms):
    """A key, and how often the SDK tried again."""
    made = kms.create_key(KeySpec="RSA_4096", KeyUsage="SIGN_VERIFY")
    return made["KeyMetadata"]["KeyId"], made["ResponseMetadata"]["RetryAttempts"]


def test_none_of_many_callers_fails(monkeypatch):
    """By boto3 as it comes: whoever has to try again keeps its place."""
    for name in ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    # As many as take longer together than one try waits, on this machine; less than twice that long.
    count = 6
    while True:
        clients = [boto3.client("kms") for _ in range(count)]
        begin = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            made = list(pool.map(make, clients))
        took = time.monotonic() - begin
        assert len({key for key, _ in made}) == count
        again = [retries for _, retries in made if retries]
        print(f"{count} keys in {took:.0f} s; {len(again)} callers tried again, {sum(again)} times")
        if took > PATIENCE:
            assert again, "some have waited longer than one try does"
            return
        count *= 2
