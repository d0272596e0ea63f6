//! A digest file: what `aws cloudtrail validate-logs` follows.
//!
//! The signature is RSASSA-PKCS1-v1_5 with SHA-256 over the end of the digest, where it lies, the
//! SHA-256 of its content and the signature of the digest before it, each on a line of its own.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::record::{Chain, Trail};
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_base::hex;

/// The algorithm, as the metadata of a digest names it.
pub(super) const SIGNATURE_ALGORITHM: &str = "SHA256withRSA";
const HASH_ALGORITHM: &str = "SHA-256";

/// A digest that is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    /// Its name in the bucket.
    pub(super) object: String,
    /// Its content.
    pub(super) content: Vec<u8>,
    /// SHA-256 of it, hexadecimal.
    pub(super) hash: String,
    /// What the signature is over.
    pub(super) to_sign: String,
}

/// The digest of what a chain has, up to `end`. Everything in it follows from its arguments.
pub(super) fn digest(trail: &Trail, chain: &Chain, end: Timestamp, fingerprint: &str) -> Digest {
    let end_text = event_time(end.into());
    let object = trail.object(&name(trail, &chain.region, &end_text));
    let newest = chain.files.iter().map(|file| file.newest.as_str()).max();
    let oldest = chain.files.iter().map(|file| file.oldest.as_str()).min();
    let files = chain.files.iter().map(|file| {
        json!({
            "s3Bucket": file.bucket,
            "s3Object": file.object,
            "hashValue": file.hash,
            "hashAlgorithm": HASH_ALGORITHM,
            "newestEventTime": file.newest,
            "oldestEventTime": file.oldest,
        })
    });
    let previous = chain.previous.as_ref();
    let content = json!({
        "awsAccountId": trail.id.account,
        "digestStartTime": event_time(chain.digested.into()),
        "digestEndTime": end_text,
        "digestS3Bucket": trail.bucket,
        "digestS3Object": object,
        "digestPublicKeyFingerprint": fingerprint,
        "digestSignatureAlgorithm": SIGNATURE_ALGORITHM,
        "newestEventTime": newest,
        "oldestEventTime": oldest,
        "previousDigestS3Bucket": previous.map(|last| &last.bucket),
        "previousDigestS3Object": previous.map(|last| &last.object),
        "previousDigestHashValue": previous.map(|last| &last.hash),
        "previousDigestHashAlgorithm": previous.map(|_| HASH_ALGORITHM),
        "previousDigestSignature": previous.map(|last| &last.signature),
        "logFiles": files.collect::<Vec<Value>>(),
    });
    let content = content.to_string().into_bytes();
    let hash = hex::encode(&Sha256::digest(&content));
    let last = previous.map_or("null", |last| &last.signature);
    let to_sign = format!("{end_text}\n{}/{object}\n{hash}\n{last}", trail.bucket);
    Digest { object, content, hash, to_sign }
}

impl Digest {
    /// The content, compressed.
    pub(super) fn compressed(&self) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.content)?;
        encoder.finish()
    }
}

/// `AWSLogs/…` of a digest that ends at `end`, `YYYY-MM-DDTHH:MM:SSZ`.
fn name(trail: &Trail, region: &str, end: &str) -> String {
    let (account, home, trail) = (&trail.id.account, &trail.id.region, &trail.id.name);
    let (year, month, day) = (&end[..4], &end[5..7], &end[8..10]);
    let time: String = end.chars().filter(|c| *c != '-' && *c != ':').collect();
    format!(
        "AWSLogs/{account}/CloudTrail-Digest/{region}/{year}/{month}/{day}/{account}_\
         CloudTrail-Digest_{region}_{trail}_{home}_{time}.json.gz"
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::{LogFile, Previous, TrailId};
    use super::*;
    use crate::iam::record::Version;

    fn trail() -> Trail {
        let id = TrailId {
            account: "111122223333".to_owned(),
            region: "us-east-1".to_owned(),
            name: "main".to_owned(),
        };
        Trail {
            version: Version,
            id,
            bucket: "logs".to_owned(),
            prefix: Some("kms".to_owned()),
            multi_region: true,
            global_events: true,
            validation: true,
            created: Timestamp::default(),
            started: None,
            stopped: None,
            spans_begun: 0,
            spans: Vec::new(),
        }
    }

    fn chain(previous: Option<Previous>, files: Vec<LogFile>) -> Chain {
        let digested = Timestamp::from_millis(1_800_000_000_000);
        let region = "eu-west-1".to_owned();
        Chain { version: Version, id: trail().id, region, span: 1, digested, previous, files }
    }

    /// The names and the string to sign are those of CloudTrail's guide ("Custom implementations of
    /// CloudTrail log file integrity validation").
    #[test]
    fn a_digest_has_the_form_of_cloudtrails() {
        let end = Timestamp::from_millis(1_800_003_600_000);
        let first = digest(&trail(), &chain(None, Vec::new()), end, "f00d");
        let object = "kms/AWSLogs/111122223333/CloudTrail-Digest/eu-west-1/2027/01/15/111122223333_\
                      CloudTrail-Digest_eu-west-1_main_us-east-1_20270115T090000Z.json.gz";
        assert_eq!(first.object, object);
        let value: Value = serde_json::from_slice(&first.content).unwrap();
        assert_eq!(value["digestStartTime"], "2027-01-15T08:00:00Z");
        assert_eq!(value["digestEndTime"], "2027-01-15T09:00:00Z");
        assert_eq!(value["logFiles"], json!([]));
        for absent in ["previousDigestSignature", "previousDigestS3Object", "newestEventTime"] {
            assert_eq!(value.get(absent), Some(&Value::Null), "{absent}");
        }
        let hash = hex::encode(&Sha256::digest(&first.content));
        let expected = format!("2027-01-15T09:00:00Z\nlogs/{object}\n{hash}\nnull");
        assert_eq!(first.to_sign, expected);

        let previous = Previous {
            bucket: "logs".to_owned(),
            object: object.to_owned(),
            hash,
            signature: "5161".to_owned(),
        };
        let file = |newest: &str, oldest: &str| LogFile {
            bucket: "logs".to_owned(),
            object: "a".to_owned(),
            hash: "00".to_owned(),
            newest: newest.to_owned(),
            oldest: oldest.to_owned(),
        };
        let files = vec![
            file("2027-01-15T09:04:00Z", "2027-01-15T09:01:00Z"),
            file("2027-01-15T09:08:00Z", "2027-01-15T09:05:00Z"),
        ];
        let second = digest(&trail(), &chain(Some(previous), files), end, "f00d");
        let value: Value = serde_json::from_slice(&second.content).unwrap();
        assert_eq!(value["newestEventTime"], "2027-01-15T09:08:00Z");
        assert_eq!(value["oldestEventTime"], "2027-01-15T09:01:00Z");
        assert_eq!(value["previousDigestHashAlgorithm"], "SHA-256");
        assert_eq!(value["logFiles"][0]["s3Object"], "a");
        assert!(second.to_sign.ends_with("\n5161"), "{}", second.to_sign);
    }
}
