//! The regular expressions of the model that are more than one class of characters.
//!
//! `cargo xtask codegen` knows them by their text (`xtask/src/codegen/patterns.rs`). Classes are
//! those of Java, without Unicode. Each function matches all of a text.

/// `[0-9]{12}`
pub(super) fn account_id(text: &str) -> bool {
    text.len() == 12 && digits(text)
}

/// `([a-z]+-){2,3}\d+`
pub(super) fn region(text: &str) -> bool {
    let Some((name, number)) = text.rsplit_once('-') else { return false };
    let words = name.split('-');
    (2..=3).contains(&words.clone().count())
        && words.into_iter().all(|word| filled(word, |b| b.is_ascii_lowercase()))
        && digits(number)
}

/// `([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+`
pub(super) fn service_principal(text: &str) -> bool {
    let label = |label| filled(label, |b| b.is_ascii_alphanumeric() || b == b'-');
    text.split('.').count() >= 3 && text.split('.').all(label)
}

/// `arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+`
pub(super) fn source_arn(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let Some(rest) = text.strip_prefix("arn:aws") else { return false };
    let mut parts = rest.splitn(5, ':');
    let mut next = || parts.next();
    let (Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
        (next(), next(), next(), next(), next())
    else {
        return false;
    };
    let line_end = |c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    partition.bytes().all(word)
        && filled(service, word)
        && region.bytes().all(word)
        && account_id(account)
        && !resource.is_empty()
        && !resource.contains(line_end)
}

/// `https://[a-zA-Z0-9.-]+`
pub(super) fn xks_uri_endpoint(text: &str) -> bool {
    let host = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    text.strip_prefix("https://").is_some_and(|rest| filled(rest, host))
}

/// `(/[a-zA-Z0-9\/_-]+/kms/xks/v\d{1,2})|(/kms/xks/v\d{1,2})`
pub(super) fn xks_uri_path(text: &str) -> bool {
    let Some((prefix, version)) = text.rsplit_once("/kms/xks/v") else { return false };
    let path = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
    let prefix_fits =
        prefix.is_empty() || prefix.strip_prefix('/').is_some_and(|rest| filled(rest, path));
    prefix_fits && version.len() <= 2 && digits(version)
}

/// `(com|eu)\.amazonaws\.vpce\.([a-z]+-){2,3}\d+\.vpce-svc-[0-9a-z]+`
pub(super) fn vpc_endpoint_service_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let Some(rest) = text.strip_prefix("com.").or_else(|| text.strip_prefix("eu.")) else {
        return false;
    };
    let Some((place, service)) =
        rest.strip_prefix("amazonaws.vpce.").and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    region(place) && service.strip_prefix("vpce-svc-").is_some_and(|id| filled(id, word))
}

fn digits(text: &str) -> bool {
    filled(text, |b| b.is_ascii_digit())
}

/// Whether a text has characters, all of them allowed.
fn filled(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        type Case = (fn(&str) -> bool, &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 7] = [
            (account_id, &["123456789012"], &["", "12345678901", "1234567890123", "12345678901a"]),
            (
                region,
                &["us-east-1", "us-gov-west-1", "eu-isoe-west-12"],
                &["", "us-1", "us-east", "us-east-", "a-b-c-d-1", "us--1", "US-east-1", "us-e2-1"],
            ),
            (
                service_principal,
                &["logs.amazonaws.com", "logs.us-east-1.amazonaws.com"],
                &["", "amazonaws.com", "logs..com", ".a.b", "a.b.", "a.b.c_d"],
            ),
            (
                source_arn,
                &["arn:aws:s3::123456789012:b", "arn:aws-cn:logs:us-east-1:123456789012:a:b:é"],
                &[
                    "",
                    "arn:aws:s3:::b",
                    "arn:aws::us-east-1:123456789012:x",
                    "arn:gcp:s3::123456789012:b",
                    "arn:aws:s3::123456789012:",
                    "arn:aws:s3::123456789012:a\nb",
                    "arn:aws:s3::123456789012",
                ],
            ),
            (
                xks_uri_endpoint,
                &["https://xks.example.com"],
                &["", "https://", "http://a", "https://a/b"],
            ),
            (
                xks_uri_path,
                &["/kms/xks/v1", "/a/b_-/kms/xks/v12", "//kms/xks/v1/kms/xks/v1"],
                &[
                    "",
                    "/kms/xks/v",
                    "/kms/xks/v123",
                    "a/kms/xks/v1",
                    "/kms/xks/v1/",
                    "//kms/xks/v1",
                ],
            ),
            (
                vpc_endpoint_service_name,
                &[
                    "com.amazonaws.vpce.us-east-1.vpce-svc-0a1",
                    "eu.amazonaws.vpce.a-b-1.vpce-svc-0",
                ],
                &[
                    "",
                    "org.amazonaws.vpce.us-east-1.vpce-svc-0",
                    "com.amazonaws.vpce.us-east-1.vpce-svc-",
                    "com.amazonaws.vpce.us-east-1",
                    "com.amazonaws.vpce.us-east.vpce-svc-0",
                ],
            ),
        ];
        for (matches, fit, unfit) in cases {
            assert!(fit.iter().all(|text| matches(text)), "{fit:?}");
            let wrong = unfit.iter().find(|text| matches(text));
            assert_eq!(wrong, None);
        }
    }
}
