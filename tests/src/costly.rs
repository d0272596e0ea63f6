//! Key policies that are as costly as allowed, and requests that make them so.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::http::call;

/// The longest key policy there can be, in bytes.
const LONGEST: usize = 32_768;

/// A key policy that lets the account do everything, and denies it if one of `count` patterns
/// matches a value of the encryption context. None does, which takes a search of all of it.
#[must_use]
pub fn policy(pattern: &str, count: usize) -> String {
    let patterns: Vec<String> =
        (0..count).map(|number| pattern.replace('#', &format!("{number:x}"))).collect();
    let principal = json!({ "AWS": "arn:aws:iam::000000000000:root" });
    json!({ "Version": "2012-10-17", "Statement": [
        {
            "Sid": "Patterns", "Effect": "Deny", "Principal": principal, "Resource": "*",
            "Action": ["kms:Encrypt", "kms:Decrypt"],
            "Condition": { "StringLike": { "kms:EncryptionContext:k": patterns } },
        },
        { "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*" },
    ] })
    .to_string()
}

/// The longest policy of such patterns that fits into the bytes a key policy has.
#[must_use]
pub fn longest(pattern: &str) -> String {
    let each = pattern.len() + 6;
    policy(pattern, (LONGEST - 600) / each)
}

/// The body of an `Encrypt` with the longest encryption context there can be.
#[must_use]
pub fn encrypt(key: &str) -> Value {
    json!({ "KeyId": key, "Plaintext": "AAAA", "EncryptionContext": { "k": "a".repeat(8000) } })
}

/// Puts the policy with the most patterns that can be put; how many that are.
///
/// # Panics
/// If not even one can be put.
pub fn put_the_worst(daemon: &Daemon, key: &str, pattern: &str) -> usize {
    let put = |count| {
        let body =
            json!({ "KeyId": key, "PolicyName": "default", "Policy": policy(pattern, count) });
        call(daemon, "PutKeyPolicy", &body).status == 200
    };
    let (mut most, mut too_many) = (1, LONGEST / pattern.len());
    assert!(put(most), "a pattern can be put");
    while too_many - most > 1 {
        let middle = most.midpoint(too_many);
        *(if put(middle) { &mut most } else { &mut too_many }) = middle;
    }
    assert!(put(most), "what could be put can be");
    most
}
