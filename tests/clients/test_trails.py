"""Trails in a bucket of another service, held against `aws cloudtrail validate-logs` as it is, and the
history of events.

The rig passes the S3-compatible service in AWS_ENDPOINT_URL_S3, and has kmsd deliver each second, with
digests each three.
"""

import datetime
import gzip
import json
import os
import subprocess
import sys
import time
import uuid

import boto3
import pytest
from botocore.config import Config

from identities import ACCOUNT, client, document, message, refusal

REGION = os.environ["AWS_REGION"]
PATIENCE = 120


@pytest.fixture(scope="module")
def s3():
    config = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], config=config)


@pytest.fixture(scope="module")
def cloudtrail():
    return client("cloudtrail")


@pytest.fixture
def bucket(s3):
    name = f"logs-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def trail(cloudtrail, bucket):
    """A trail that logs, with digests."""
    name = f"trail-{uuid.uuid4().hex[:8]}"
    made = cloudtrail.create_trail(
        Name=name, S3BucketName=bucket, S3KeyPrefix="kms", EnableLogFileValidation=True
    )
    cloudtrail.start_logging(Name=name)
    yield made
    cloudtrail.delete_trail(Name=name)


def objects(s3, bucket, part):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return sorted(key for key in keys if part in key)


def read(s3, bucket, key):
    return json.loads(gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))


def until(found):
    by = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < by
        time.sleep(0.2)
    return value


def delivered(s3, bucket, files=2, digests=3):
    """Uses a key until so many files are in digests; the names of files and digests."""
    kms = client("kms")

    def enough():
        kms.generate_random(NumberOfBytes=1)
        keys = objects(s3, bucket, "/CloudTrail-Digest/")
        named = [
            one["s3Object"] for key in keys for one in read(s3, bucket, key)["logFiles"]
        ]
        return (named, keys) if len(named) >= files and len(keys) >= digests else None

    return until(enough)


def validate(trail, *arguments):
    """Runs the unmodified command: its exit code and what it says."""
    tool = os.path.join(os.path.dirname(sys.executable), "aws")
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    command = [
        sys.executable, tool, "cloudtrail", "validate-logs", "--trail-arn", trail["TrailARN"],
        "--start-time", start.strftime("%Y-%m-%dT%H:%M:%SZ"), "--verbose", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout + done.stderr


def replace(s3, bucket, key, body, metadata=None):
    if metadata is None:
        metadata = s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)


@pytest.fixture
def stopped(s3, cloudtrail, bucket, trail):
    """A log that came to its end: files, digests."""
    delivered(s3, bucket)
    cloudtrail.stop_logging(Name=trail["Name"])

    def last():
        status = cloudtrail.get_trail_status(Name=trail["Name"])
        keys = objects(s3, bucket, "/CloudTrail-Digest/")
        ended = read(s3, bucket, keys[-1])["digestEndTime"]
        stopped = status["StopLoggingTime"].strftime("%Y-%m-%dT%H:%M:%SZ")
        return ended > stopped

    until(last)
    keys = objects(s3, bucket, "/CloudTrail-Digest/")
    files = [one["s3Object"] for key in keys for one in read(s3, bucket, key)["logFiles"]]
    return files, keys


def test_validate_logs_accepts_what_was_delivered(s3, bucket, trail, stopped):
    files, digests = stopped
    code, text = validate(trail)
    assert code == 0, text
    assert f"{len(digests)}/{len(digests)} digest files valid" in text, text
    assert f"{len(files)}/{len(files)} log files valid" in text, text
    # All that is there is in a digest, once, and each event is delivered once.
    assert sorted(files) == objects(s3, bucket, "/CloudTrail/")
    records = [one for key in files for one in read(s3, bucket, key)["Records"]]
    ids = [record["eventID"] for record in records]
    assert len(ids) == len(set(ids))
    times = [record["eventTime"] for record in records]
    assert times == sorted(times)
    # The request that began it and the one that ended it are in it.
    names = [record["eventName"] for record in records]
    assert names[0] == "StartLogging" and "StopLogging" in names
    assert "GenerateRandom" in names
    record = records[0]
    assert record["eventSource"] == "cloudtrail.amazonaws.com" and not record["readOnly"]
    assert record["requestParameters"] == {"name": trail["Name"]}
    head = s3.head_object(Bucket=bucket, Key=digests[0])
    assert head["Metadata"]["signature-algorithm"] == "SHA256withRSA"


def tampered_file(s3, bucket, files, digests):
    content = read(s3, bucket, files[0])
    content["Records"][0]["eventName"] = "Nothing"
    replace(s3, bucket, files[0], gzip.compress(json.dumps(content).encode()))
    return "hash value doesn't match"


def removed_file(s3, bucket, files, digests):
    s3.delete_object(Bucket=bucket, Key=files[0])
    return "not found"


def removed_digest(s3, bucket, files, digests):
    s3.delete_object(Bucket=bucket, Key=digests[1])
    return "not found"


def changed_digest(s3, bucket, files, digests):
    content = read(s3, bucket, digests[1])
    content["logFiles"] = []
    replace(s3, bucket, digests[1], gzip.compress(json.dumps(content).encode()))
    return "signature verification failed"


def replaced_signature(s3, bucket, files, digests):
    content = s3.get_object(Bucket=bucket, Key=digests[1])
    other = s3.head_object(Bucket=bucket, Key=digests[0])["Metadata"]
    replace(s3, bucket, digests[1], content["Body"].read(), other)
    return "signature verification failed"


def no_signature(s3, bucket, files, digests):
    content = s3.get_object(Bucket=bucket, Key=digests[1])
    replace(s3, bucket, digests[1], content["Body"].read(), {})
    return "signature verification failed"


def moved_digest(s3, bucket, files, digests):
    content = s3.get_object(Bucket=bucket, Key=digests[0])
    replace(s3, bucket, digests[1], content["Body"].read(), content["Metadata"])
    return "has been moved from its original location"


def other_key(s3, bucket, files, digests):
    """Somebody who has the bucket makes a digest anew, with a key of their own."""
    import rsa

    content = read(s3, bucket, digests[-1])
    content["logFiles"] = content["logFiles"][:-1]
    _, own = rsa.newkeys(2048)
    body = json.dumps(content).encode()
    import hashlib

    text = "\n".join([
        content["digestEndTime"],
        f"{bucket}/{digests[-1]}",
        hashlib.sha256(body).hexdigest(),
        content["previousDigestSignature"],
    ])  # fmt: skip
    signature = rsa.sign(text.encode(), own, "SHA-256").hex()
    metadata = {"signature": signature, "signature-algorithm": "SHA256withRSA"}
    replace(s3, bucket, digests[-1], gzip.compress(body), metadata)
    return "signature verification failed"


@pytest.mark.parametrize(
    "tamper",
    [
        tampered_file,
        removed_file,
        removed_digest,
        changed_digest,
        replaced_signature,
        no_signature,
        moved_digest,
        other_key,
    ],
)
def test_validate_logs_finds_each_tampering(s3, bucket, trail, stopped, tamper):
    assert validate(trail)[0] == 0
    says = tamper(s3, bucket, *stopped)
    code, text = validate(trail)
    assert code == 1 and says in text, text


def test_a_bucket_with_object_lock_locks_what_is_delivered(s3, cloudtrail):
    bucket, name = f"locked-{uuid.uuid4().hex[:12]}", f"locked-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
    )
    made = cloudtrail.create_trail(Name=name, S3BucketName=bucket, EnableLogFileValidation=True)
    cloudtrail.start_logging(Name=name)
    files, digests = delivered(s3, bucket, files=1, digests=2)
    cloudtrail.delete_trail(Name=name)
    for key in [files[0], digests[0]]:
        assert s3.head_object(Bucket=bucket, Key=key)["ObjectLockMode"] == "COMPLIANCE"
    assert made["LogFileValidationEnabled"]


def test_what_trails_say_of_themselves(cloudtrail, s3, bucket, trail):
    name, arn = trail["Name"], trail["TrailARN"]
    assert arn == f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}"
    assert trail["S3KeyPrefix"] == "kms" and not trail["IsMultiRegionTrail"]
    described = cloudtrail.describe_trails(trailNameList=[name])["trailList"]
    assert [one["TrailARN"] for one in described] == [arn]
    assert described[0]["HomeRegion"] == REGION
    assert arn in [one["TrailARN"] for one in cloudtrail.describe_trails()["trailList"]]
    assert cloudtrail.describe_trails(trailNameList=["nothing"])["trailList"] == []
    assert cloudtrail.get_trail(Name=arn)["Trail"] == described[0]
    pages = cloudtrail.get_paginator("list_trails").paginate()
    assert arn in [one["TrailARN"] for page in pages for one in page["Trails"]]
    delivered(s3, bucket, files=1, digests=1)
    status = cloudtrail.get_trail_status(Name=name)
    assert status["IsLogging"] and "LatestDeliveryError" not in status
    assert status["LatestDeliveryTime"] and status["LatestDigestDeliveryTime"]
    changed = cloudtrail.update_trail(Name=name, S3KeyPrefix="", IsMultiRegionTrail=True)
    assert "S3KeyPrefix" not in changed and changed["IsMultiRegionTrail"]
    keys = cloudtrail.list_public_keys()["PublicKeyList"]
    assert len(keys) == 1 and len(keys[0]["Fingerprint"]) == 32
    past = datetime.datetime(2020, 1, 1)
    assert cloudtrail.list_public_keys(StartTime=past, EndTime=past)["PublicKeyList"] == []


def test_refusals(cloudtrail, bucket):
    create = cloudtrail.create_trail

    def code(call, **parameters):
        return refusal(call, **parameters)

    assert code(create, Name="a", S3BucketName=bucket) == ("InvalidTrailNameException", 400)
    assert code(create, Name="abc", S3BucketName="A") == ("InvalidS3BucketNameException", 400)
    absent = code(create, Name="abc", S3BucketName="no-such-bucket")
    assert absent == ("S3BucketDoesNotExistException", 400)
    prefix = code(create, Name="abc", S3BucketName=bucket, S3KeyPrefix="../x")
    assert prefix == ("InvalidS3PrefixException", 400)
    encrypted = code(create, Name="abc", S3BucketName=bucket, KmsKeyId="alias/x")
    assert encrypted == ("UnsupportedOperationException", 400)
    for call in [cloudtrail.get_trail, cloudtrail.start_logging, cloudtrail.delete_trail]:
        assert code(call, Name="nothing") == ("TrailNotFoundException", 400)
    other = "arn:aws:cloudtrail:us-east-1:999999999999:trail/abc"
    assert code(cloudtrail.get_trail, Name=other) == ("CloudTrailARNInvalidException", 400)
    elsewhere = f"arn:aws:cloudtrail:eu-west-1:{ACCOUNT}:trail/abc"
    assert code(cloudtrail.stop_logging, Name=elsewhere) == ("InvalidHomeRegionException", 400)
    lookup = cloudtrail.lookup_events
    late, early = datetime.datetime(2026, 2, 1), datetime.datetime(2026, 1, 1)
    assert code(lookup, StartTime=late, EndTime=early) == ("InvalidTimeRangeException", 400)
    assert code(lookup, NextToken="x") == ("InvalidNextTokenException", 400)
    two = [{"AttributeKey": "EventName", "AttributeValue": "x"}] * 2
    assert code(lookup, LookupAttributes=two) == ("InvalidLookupAttributesException", 400)
    assert code(cloudtrail.list_channels) == ("UnknownOperationException", 400)


def test_policies_decide_who_manages_trails(bucket):
    iam, name = client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    own = client("cloudtrail", key)
    assert refusal(own.describe_trails) == ("AccessDeniedException", 400)
    assert refusal(own.lookup_events) == ("AccessDeniedException", 400)
    arn = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}"
    text = document(Action=["cloudtrail:CreateTrail", "cloudtrail:Start*"], Resource=arn)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=text)
    own.create_trail(Name=name, S3BucketName=bucket)
    own.start_logging(Name=name)
    assert refusal(own.stop_logging, Name=name) == ("AccessDeniedException", 400)
    assert "cloudtrail:StopLogging" in message(own.stop_logging, Name=name)
    denied = refusal(own.create_trail, Name=f"{name}-2", S3BucketName=bucket)
    assert denied == ("AccessDeniedException", 400)
    client("cloudtrail").delete_trail(Name=name)


def test_the_history_of_events(cloudtrail):
    kms = client("kms")
    key = kms.create_key(Description=uuid.uuid4().hex)["KeyMetadata"]
    for _ in range(5):
        kms.describe_key(KeyId=key["KeyId"])

    def found(attribute, value, **more):
        attributes = [{"AttributeKey": attribute, "AttributeValue": value}]
        pages = cloudtrail.get_paginator("lookup_events").paginate(
            LookupAttributes=attributes, PaginationConfig={"PageSize": 2}, **more
        )
        return [event for page in pages for event in page["Events"]]

    events = found("ResourceName", key["Arn"])
    assert [event["EventName"] for event in events] == ["DescribeKey"] * 5 + ["CreateKey"]
    first = events[-1]
    assert first["Username"] == "root" and first["ReadOnly"] == "false"
    assert first["EventSource"] == "kms.amazonaws.com"
    assert {"ResourceType": "AWS::KMS::Key", "ResourceName": key["Arn"]} in first["Resources"]
    record = json.loads(first["CloudTrailEvent"])
    assert record["eventID"] == first["EventId"]
    assert record["responseElements"]["keyMetadata"]["keyId"] == key["KeyId"]
    assert [event["EventId"] for event in found("EventId", first["EventId"])] == [first["EventId"]]
    later = first["EventTime"] + datetime.timedelta(days=1)
    assert found("ResourceName", key["Arn"], StartTime=later) == []
    assert found("ResourceName", key["Arn"], EndTime=later) == events
    # One page, as the first of several pages ends it.
    page = cloudtrail.lookup_events(MaxResults=2)
    more = cloudtrail.lookup_events(MaxResults=2, NextToken=page["NextToken"])
    ids = [event["EventId"] for event in page["Events"] + more["Events"]]
    assert len(set(ids)) == 4
    other = [{"AttributeKey": "EventName", "AttributeValue": "CreateKey"}]
    wrong = refusal(
        cloudtrail.lookup_events, LookupAttributes=other, NextToken=page["NextToken"]
    )
    assert wrong == ("InvalidNextTokenException", 400)
    assert found("EventName", "LookupEvents")[0]["EventSource"] == "cloudtrail.amazonaws.com"


def test_the_history_by_the_cli():
    tool = os.path.join(os.path.dirname(sys.executable), "aws")
    command = [
        sys.executable, tool, "--output", "json", "cloudtrail", "lookup-events", "--max-items",
        "3", "--lookup-attributes", "AttributeKey=EventSource,AttributeValue=kms.amazonaws.com",
    ]  # fmt: skip
    client("kms").generate_random(NumberOfBytes=1)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    events = json.loads(done.stdout)["Events"]
    assert events and events[0]["EventName"] == "GenerateRandom"
