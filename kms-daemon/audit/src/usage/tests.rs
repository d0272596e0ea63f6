use serde_json::json;

use super::super::LineHash;
use super::*;

const DAY: i64 = 24 * 60 * 60;

fn line(kind: Kind, record: Value) -> Line {
    let (previous, hash) = (LineHash([0; 32]), LineHash([0; 32]));
    Line { sequence: 1, previous, store: None, kind, record, device: Vec::new(), hash }
}

/// Returns a tally of November 2026, seen from its end or from later.
fn november(now: i64) -> Tally {
    let mut tally = Tally::new(parse_month("2026-11").unwrap(), OffsetDateTime::UNIX_EPOCH);
    tally.now = tally.month.0 + now * DAY;
    tally
}

impl Tally {
    fn request(&mut self, day: &str, name: &str, key: &str, more: Value) {
        let mut record = json!({
            "eventTime": format!("2026-{day}T00:00:00Z"),
            "eventSource": "kms.amazonaws.com",
            "eventName": name,
            "resources": [{ "type": "AWS::KMS::Key", "ARN": key }],
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.add(&line(Kind::Request, record));
    }

    fn create(&mut self, day: &str, key: &str, spec: &str) {
        let metadata = json!({ "keyMetadata": { "arn": key, "keySpec": spec } });
        self.request(day, "CreateKey", key, json!({ "responseElements": metadata }));
    }
}

#[test]
fn keys_cost_what_they_exist() {
    let mut tally = november(40);
    tally.create("10-05", "whole", "SYMMETRIC_DEFAULT");
    tally.create("11-16", "half", "SYMMETRIC_DEFAULT");
    tally.create("10-05", "deleted", "SYMMETRIC_DEFAULT");
    tally.request("11-16", "ScheduleKeyDeletion", "deleted", json!({}));
    tally.create("10-05", "kept", "SYMMETRIC_DEFAULT");
    tally.request("11-02", "ScheduleKeyDeletion", "kept", json!({}));
    tally.request("11-09", "CancelKeyDeletion", "kept", json!({}));
    tally.create("12-01", "later", "SYMMETRIC_DEFAULT");
    // A replica costs as much as a key.
    let metadata = json!({ "arn": "replica", "keySpec": "SYMMETRIC_DEFAULT" });
    let metadata = json!({ "responseElements": { "replicaKeyMetadata": metadata } });
    tally.request("11-16", "ReplicateKey", "whole", metadata);
    tally.create("10-05", "gone", "SYMMETRIC_DEFAULT");
    tally.request("10-06", "ScheduleKeyDeletion", "gone", json!({}));
    for day in ["10-07", "11-16", "11-20"] {
        tally.request(day, "RotateKeyOnDemand", "whole", json!({}));
        // The requested rotation is reported as well, and costs nothing on top.
        let event = json!({
            "eventTime": format!("2026-{day}T00:00:00Z"),
            "eventSource": "kms.amazonaws.com",
            "eventName": "RotateKey",
            "resources": [{ "type": "AWS::KMS::Key", "ARN": "whole" }],
            "serviceEventDetails": { "rotationType": "ON_DEMAND" },
        });
        tally.add(&line(Kind::ServiceEvent, event));
    }
    let usage = tally.finish();
    assert_eq!(usage.keys, 5);
    // Key-months: whole 1, half 0.5, deleted 0.5, kept 1, replica 0.5. Rotations of the whole one:
    // 1 and 0.5.
    assert_eq!(usage.keys_price, 5_000_000);
    let halfway = {
        let mut tally = november(15);
        tally.create("10-05", "whole", "SYMMETRIC_DEFAULT");
        tally.finish()
    };
    assert_eq!(halfway.keys_price, 500_000);
}

#[test]
fn requests_have_the_price_of_their_key() {
    let mut tally = november(40);
    for spec in ["SYMMETRIC_DEFAULT", "RSA_2048", "ECC_NIST_P256"] {
        tally.create("10-05", spec, spec);
    }
    let pair = |spec: &str| json!({ "requestParameters": { "keyPairSpec": spec } });
    for (name, key, more) in [
        ("Encrypt", "SYMMETRIC_DEFAULT", json!({})),
        ("Encrypt", "RSA_2048", json!({})),
        ("DescribeKey", "RSA_2048", json!({})),
        ("Sign", "ECC_NIST_P256", json!({})),
        ("ListKeys", "", json!({})),
        ("GenerateDataKeyPair", "SYMMETRIC_DEFAULT", pair("RSA_2048")),
        ("GenerateDataKeyPairWithoutPlaintext", "SYMMETRIC_DEFAULT", pair("ECC_NIST_P256")),
        ("Encrypt", "SYMMETRIC_DEFAULT", json!({ "errorCode": "DisabledException" })),
    ] {
        tally.request("11-05", name, key, more);
    }
    // Events of other months.
    tally.request("10-31", "Encrypt", "SYMMETRIC_DEFAULT", json!({}));
    tally.request("12-01", "Encrypt", "SYMMETRIC_DEFAULT", json!({}));
    let usage = tally.finish();
    let counts: Vec<_> =
        usage.requests.iter().map(|(class, r)| (*class, r.count, r.price)).collect();
    assert_eq!(
        counts,
        [
            (PriceClass::Symmetric, 3, 9),
            (PriceClass::Rsa2048, 1, 3),
            (PriceClass::Asymmetric, 1, 15),
            (PriceClass::EccPairs, 1, 10),
            (PriceClass::RsaPairs, 1, 1200),
        ]
    );
    assert_eq!((usage.free, usage.failed), (9, 1));
    assert_eq!(usage.operations["Encrypt"], 2);
    assert_eq!(usage.price, usage.keys_price + 1237 - 9);
}

#[test]
fn months_are_read_in_one_form() {
    assert_eq!(parse_month("2024-02").unwrap().to_string(), "2024-02-01");
    for text in ["", "2024", "2024-13", "2024-2", "24-02", "2024-02-01"] {
        assert_eq!(parse_month(text), None, "{text}");
    }
    let february = Tally::new(parse_month("2024-02").unwrap(), OffsetDateTime::UNIX_EPOCH);
    assert_eq!(february.month.1 - february.month.0, 29 * DAY);
}

#[test]
fn the_copy_for_the_owner_of_a_key_is_no_request() {
    let mut tally = november(40);
    let identity = |kind: &str| json!({ "userIdentity": { "type": kind } });
    tally.request("11-05", "Encrypt", "shared", identity("IAMUser"));
    tally.request("11-05", "Encrypt", "shared", identity("AWSAccount"));
    assert_eq!(tally.finish().operations["Encrypt"], 1);
}
