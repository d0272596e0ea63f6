"""/metrics, by the parsers of Prometheus's Python client: the old text format and OpenMetrics."""

import os
import time
import urllib.request

import botocore.exceptions
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

# What Prometheus sends by itself.
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"


def scrape(accept=None):
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL_KMS"] + "/metrics")
    if accept:
        request.add_header("Accept", accept)
    with urllib.request.urlopen(request) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def families(accept=None):
    kind, text = scrape(accept)
    parse = parse_openmetrics if kind.startswith("application/openmetrics-text") else parse_text
    assert parse is (parse_openmetrics if accept else parse_text)
    return {family.name: family for family in parse(text)}


@pytest.fixture(scope="module", autouse=True)
def used(kms):
    """A daemon that was asked for something, and refused something."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.encrypt(KeyId=key, Plaintext=b"x")
    with pytest.raises(botocore.exceptions.ClientError):
        kms.describe_key(KeyId="alias/none")
    deadline = time.monotonic() + 600
    while not families()["strongroom_keys"].samples:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_counters_are_counters(accept):
    """Both parsers take `_total` off the name of a counter, and know its type."""
    requests = families(accept)["strongroom_requests"]
    assert requests.type == "counter"
    found = {
        (sample.labels["operation"], sample.labels["code"]): sample.value
        for sample in requests.samples
        if sample.name == "strongroom_requests_total"
    }
    assert found["Encrypt", "OK"] == 1
    assert found["DescribeKey", "NotFoundException"] == 1
    refusals = families(accept)["strongroom_refusals"]
    assert refusals.type == "counter"
    assert [s.value for s in refusals.samples if s.labels["reason"] == "missing"] == [1]


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_every_family_has_a_type_and_help(accept):
    found = families(accept)
    for family in found.values():
        assert family.type not in ("unknown", "untyped"), family.name
        assert family.documentation, family.name
    assert found["strongroom_request_duration_seconds"].type == "histogram"
    assert found["strongroom_ready"].samples[0].value == 1
    assert found["strongroom_store_bytes"].samples[0].value > 0
    assert found["process_resident_memory_bytes"].samples[0].value > 1 << 20
    assert found["process_open_fds"].samples[0].value > 3
    assert found["process_cpu_seconds"].samples[0].value > 0
    started = found["process_start_time_seconds"].samples[0].value
    assert 0 <= time.time() - started + 2 < 3600
    (build,) = [f for name, f in found.items() if name.startswith("strongroom_build")]
    assert build.samples[0].labels["version"]


def test_both_forms_tell_the_same():
    """But for what changes between two looks."""

    def values(accept):
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in families(accept).values()
            for sample in family.samples
        }

    assert values(None) == values(OPENMETRICS)
