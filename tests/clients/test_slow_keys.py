"""Keys that take long to make, for more callers at a time than a device serves within their patience."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import boto3

#: Seconds that all of them are to take together: longer than the 50 s after which the daemon answers
#: that it is not done yet, and shorter than five tries of boto3.
TOGETHER = 120


def make(kms):
    """A key, and how often the SDK tried again."""
    made = kms.create_key(KeySpec="RSA_4096", KeyUsage="SIGN_VERIFY")
    return made["KeyMetadata"]["KeyId"], made["ResponseMetadata"]["RetryAttempts"]


def test_none_of_many_callers_fails(monkeypatch):
    """By boto3 as it comes: whoever has to try again keeps its place."""
    for name in ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    begin = time.monotonic()
    for _ in range(4):  # what is in stock, and what is found meanwhile, aside
        make(boto3.client("kms"))
    each = max((time.monotonic() - begin) / 4, 0.1)
    count = min(max(int(TOGETHER / each), 4), 48)
    clients = [boto3.client("kms") for _ in range(count)]
    begin = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        made = list(pool.map(make, clients))
    assert len({key for key, _ in made}) == count
    again = [retries for _, retries in made if retries]
    took = time.monotonic() - begin
    print(f"{count} keys in {took:.0f} s, {len(again)} callers tried again, {sum(again)} times")
