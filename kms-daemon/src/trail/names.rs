//! Names of trails and buckets, and prefixes of file names, as CloudTrail accepts them.

use kms_query::{Code, IamError};
use std::net::Ipv4Addr;

use super::record::TrailId;

/// Longest beginning of the names of files.
const MAX_PREFIX: usize = 200;

/// Checks the name of a trail.
///
/// # Errors
/// [`Code::InvalidTrailNameException`].
pub(crate) fn trail(name: &str) -> Result<(), IamError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let (first, last) = (name.bytes().next(), name.bytes().last());
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let pairs = name.as_bytes().windows(2);
    let adjacent = pairs.into_iter().any(|pair| pair.iter().all(|byte| b"._-".contains(byte)));
    let fits = (3..=128).contains(&name.len()) && name.bytes().all(allowed);
    if fits && ends(first) && ends(last) && !adjacent && name.parse::<Ipv4Addr>().is_err() {
        return Ok(());
    }
    Err(IamError::new(
        Code::InvalidTrailNameException,
        "Trail names have 3 to 128 letters, digits, periods, underscores and hyphens, begin and \
         end with a letter or digit, do not have two of the others side by side, and are not IP \
         addresses.",
    ))
}

/// Checks the name of a bucket.
///
/// # Errors
/// [`Code::InvalidS3BucketNameException`].
pub(crate) fn bucket(name: &str) -> Result<(), IamError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    let fits = (3..=63).contains(&name.len()) && name.bytes().all(allowed);
    if fits && name.split('.').all(label) && name.parse::<Ipv4Addr>().is_err() {
        return Ok(());
    }
    Err(IamError::new(
        Code::InvalidS3BucketNameException,
        "Bucket names have 3 to 63 lower-case letters, digits, periods and hyphens, begin and end \
         with a letter or digit, and are not IP addresses.",
    ))
}

/// Checks what the names of files are to begin with.
///
/// # Errors
/// [`Code::InvalidS3PrefixException`].
pub(crate) fn prefix(text: &str) -> Result<(), IamError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!_.'()-".contains(&byte);
    let part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed);
    if text.len() <= MAX_PREFIX && text.split('/').all(part) {
        return Ok(());
    }
    Err(IamError::new(
        Code::InvalidS3PrefixException,
        "S3KeyPrefix has up to 200 letters, digits and !_.'()-, in parts with a slash between them.",
    ))
}

/// The trail of a name or ARN, for a caller of this account in this Region.
///
/// # Errors
/// [`Code::InvalidTrailNameException`], [`Code::CloudTrailARNInvalidException`].
pub(crate) fn identify(text: &str, account: &str, region: &str) -> Result<TrailId, IamError> {
    let Some(rest) = text.strip_prefix("arn:") else {
        trail(text)?;
        let id = |text: &str| text.to_owned();
        return Ok(TrailId { account: id(account), region: id(region), name: id(text) });
    };
    let invalid = || {
        let text = "The ARN is not that of a trail of this account, such as \
                    arn:aws:cloudtrail:us-east-1:123456789012:trail/MyTrail.";
        IamError::new(Code::CloudTrailARNInvalidException, text)
    };
    let parts: Vec<&str> = rest.splitn(5, ':').collect();
    let ["aws", "cloudtrail", home, owner, resource] = parts[..] else { return Err(invalid()) };
    let name = resource.strip_prefix("trail/").ok_or_else(invalid)?;
    if owner != account || !kms_base::identifier::is_region(home) {
        return Err(invalid());
    }
    trail(name)?;
    Ok(TrailId { account: owner.to_owned(), region: home.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["abc", "my-trail_1.a", "0aa"] {
            assert!(trail(good).is_ok(), "{good}");
        }
        for bad in ["ab", "-abc", "abc-", "a..b", "a-_b", "a b", "192.168.5.4", &"a".repeat(129)] {
            assert!(trail(bad).is_err(), "{bad}");
        }
        for good in ["logs", "my.bucket-1"] {
            assert!(bucket(good).is_ok(), "{good}");
        }
        for bad in ["ab", "Logs", "a..b", "..", "a/b", "-aa", "aa.-b", "10.0.0.1", "a_b"] {
            assert!(bucket(bad).is_err(), "{bad}");
        }
        for good in ["a", "a/b.c", "(x)"] {
            assert!(prefix(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", "a%", &"a".repeat(201)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arns() {
        let of = |text: &str| identify(text, "111122223333", "eu-west-1");
        assert_eq!(
            of("main").unwrap().arn(),
            "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main"
        );
        let other = "arn:aws:cloudtrail:us-east-1:111122223333:trail/main";
        assert_eq!(of(other).unwrap().arn(), other);
        for bad in [
            "arn:aws:cloudtrail:us-east-1:999999999999:trail/main",
            "arn:aws:cloudtrail:us-east-1:111122223333:main",
            "arn:aws:kms:us-east-1:111122223333:trail/main",
            "arn:aws:cloudtrail:x/../y:111122223333:trail/main",
        ] {
            assert_eq!(of(bad).unwrap_err().code(), Code::CloudTrailARNInvalidException, "{bad}");
        }
        let bad = "arn:aws:cloudtrail:us-east-1:111122223333:trail/a/b";
        assert_eq!(of(bad).unwrap_err().code(), Code::InvalidTrailNameException);
    }
}
