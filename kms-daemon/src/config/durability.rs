//! How the audit log is kept, and what of the disk is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, value};
use crate::trail::{Place, Schedule};
use kms_audit::Policy;
use kms_base::space::DiskPolicy;
use kms_installation::settings::{Compression, Settings};

/// Refusals a second that a source is told the reason of.
const REFUSAL_RATE: u32 = 50;

pub(super) fn audit_policy(given: &Settings) -> Result<Policy, ConfigError> {
    let standard = Policy::default();
    let segment_size = match &given.audit_segment_size {
        Some(text) => size("audit-segment-size", text, (64 << 10, 1 << 30))?,
        None => standard.segment_size,
    };
    let hours = given.audit_segment_age.unwrap_or(24);
    if !(1..=24).contains(&hours) {
        return Err(value("audit-segment-age must be 1 to 24 hours"));
    }
    let keep = match given.audit_keep.as_deref() {
        None | Some("forever") => None,
        Some(days) => Some(days.parse::<u32>().ok().filter(|days| *days > 0).ok_or_else(|| {
            value(format_args!("audit-keep {days:?} is neither a number of days nor forever"))
        })?),
    };
    Ok(Policy {
        segment_size,
        segment_age: Duration::from_secs(hours * 60 * 60),
        compress: given.audit_compress == Some(Compression::Gzip),
        deliver: given.audit_deliver.clone(),
        keep,
    })
}

pub(super) fn disk_policy(given: &Settings) -> Result<DiskPolicy, ConfigError> {
    let standard = DiskPolicy::default();
    let reserve = match given.disk_reserve.as_deref() {
        Some("0") => 0,
        Some(text) => size("disk-reserve", text, (1 << 20, 1 << 30))?,
        None => standard.reserve,
    };
    let warn = match &given.disk_warn {
        Some(text) => size("disk-warn", text, (0, u64::MAX))?,
        None => standard.warn,
    };
    Ok(DiskPolicy { reserve, warn })
}

/// Where the buckets of trails are, for a daemon of this Region.
pub(super) fn trail_place(given: &Settings, region: &str) -> Result<Option<Place>, ConfigError> {
    let credentials = given.trail_credentials.clone();
    let Some(text) = &given.trail_store else {
        return match credentials {
            Some(_) => Err(value(
                "trail-credentials is for trail-store; say where buckets are with --trail-store",
            )),
            None => Ok(None),
        };
    };
    if !text.contains("://") {
        return match (text.is_empty(), credentials) {
            (false, None) => Ok(Some(Place::Directory(PathBuf::from(text)))),
            (true, _) => Err(value("trail-store must be a directory or a URL")),
            (_, Some(_)) => Err(value("trail-credentials is for a trail-store with a URL")),
        };
    }
    let (endpoint, region) = text.split_once(',').unwrap_or((text, region));
    let wrong = || {
        value(format_args!(
            "trail-store {text:?} is neither a directory nor a URL such as \
             https://s3.eu-central-1.amazonaws.com,eu-central-1"
        ))
    };
    let uri: hyper::Uri = endpoint.parse().map_err(|_| wrong())?;
    let plain = uri.path() == "/" && uri.query().is_none();
    let known = ["http", "https"].contains(&uri.scheme_str().unwrap_or_default());
    let credential = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    if !plain || !known || credential || region.is_empty() {
        return Err(wrong());
    }
    let (endpoint, region) = (endpoint.trim_end_matches('/').to_owned(), region.to_owned());
    Ok(Some(Place::S3 { endpoint, region, credentials }))
}

/// How often trails are delivered.
pub(super) fn trail_schedule(given: &Settings) -> Result<Schedule, ConfigError> {
    match given.trail_interval.as_deref() {
        None => Ok(Schedule::default()),
        Some(&[files @ 1..=3600, digests @ 1..=86_400]) if digests.is_multiple_of(files) => {
            Ok(Schedule { files, digests })
        }
        Some(_) => Err(value(
            "trail-interval must be two numbers of seconds: up to 3600 between files, and a \
             multiple of that up to 86400 between digests, such as 300,3600",
        )),
    }
}

pub(super) fn refusals(given: &Settings) -> Result<u32, ConfigError> {
    match given.refusal_rate.unwrap_or(REFUSAL_RATE) {
        0 => Err(value("refusal-rate must be at least 1 a second")),
        rate => Ok(rate),
    }
}
/// Reads a number of bytes, with K, M or G for powers of 1,024.
fn size(name: &str, text: &str, (least, most): (u64, u64)) -> Result<u64, ConfigError> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let wrong = |why: fmt::Arguments<'_>| value(format_args!("{name} {text:?} {why}"));
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = number.parse::<u64>().ok().filter(|_| digits);
    let bytes = bytes.and_then(|number| number.checked_mul(factor));
    let bytes =
        bytes.ok_or_else(|| wrong(format_args!("is not a size such as 65536, 64K, 16M or 1G")))?;
    match (least..=most).contains(&bytes) {
        true => Ok(bytes),
        false => Err(wrong(format_args!("is not between {least} and {most} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_trails() {
        let place = |store: &str, credentials: Option<&str>| {
            let given = Settings {
                trail_store: Some(store.to_owned()),
                trail_credentials: credentials.map(PathBuf::from),
                ..Settings::default()
            };
            trail_place(&given, "us-east-1")
        };
        let directory = place("/far", None).unwrap().unwrap();
        assert_eq!(directory, Place::Directory(PathBuf::from("/far")));
        let s3 = |text: &str| match place(text, Some("c")).unwrap() {
            Some(Place::S3 { endpoint, region, .. }) => (endpoint, region),
            other => panic!("{other:?}"),
        };
        let own = |endpoint: &str, region: &str| (endpoint.to_owned(), region.to_owned());
        assert_eq!(s3("http://127.0.0.1:5000"), own("http://127.0.0.1:5000", "us-east-1"));
        assert_eq!(s3("https://s3.example/,x"), own("https://s3.example", "x"));
        for wrong in ["", "ftp://x", "https://a@s3.example", "https://s3.example/b", "https://x,"] {
            assert!(place(wrong, None).is_err(), "{wrong}");
        }
        assert!(place("/far", Some("c")).is_err());
        let schedule = |seconds: &[u64]| {
            let trail_interval = Some(seconds.to_vec());
            trail_schedule(&Settings { trail_interval, ..Settings::default() }).ok()
        };
        assert_eq!(schedule(&[1, 3]), Some(Schedule { files: 1, digests: 3 }));
        for wrong in [&[2, 3][..], &[0, 1], &[5], &[1, 2, 3], &[3601, 3601], &[1, 86_401]] {
            assert_eq!(schedule(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes() {
        let read = |text| size("x", text, (1 << 10, 1 << 30)).ok();
        assert_eq!(read("1024"), Some(1024));
        assert_eq!(read("64K"), Some(64 << 10));
        assert_eq!(read("16M"), Some(16 << 20));
        assert_eq!(read("1G"), Some(1 << 30));
        for text in
            ["", "K", "1", "2G", "-1", "+5K", "1.5M", "16m", "16MB", "99999999999999999999G"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let error = size("disk-reserve", "16MB", (1, 2)).unwrap_err().to_string();
        assert!(error.contains("disk-reserve") && error.contains("16M"), "{error}");
    }
}
