//! How the audit log is kept, and what of the disk is.

use std::fmt;
use std::time::Duration;

use super::settings::Settings;
use super::{Compression, ConfigError, value};
use crate::audit::Policy;
use crate::space::DiskPolicy;

/// Refusals a second that a source is told the reason of.
const REFUSAL_RATE: u32 = 50;

impl Settings {
    pub(super) fn audit_policy(&self) -> Result<Policy, ConfigError> {
        let standard = Policy::default();
        let segment_size = match &self.audit_segment_size {
            Some(text) => size("audit-segment-size", text, (64 << 10, 1 << 30))?,
            None => standard.segment_size,
        };
        let hours = self.audit_segment_age.unwrap_or(24);
        if !(1..=24).contains(&hours) {
            return Err(value("audit-segment-age is 1 to 24 hours"));
        }
        let keep = match self.audit_keep.as_deref() {
            None | Some("forever") => None,
            Some(days) => {
                Some(days.parse::<u32>().ok().filter(|days| *days > 0).ok_or_else(|| {
                    value(format_args!(
                        "audit-keep {days:?} is neither a number of days nor forever"
                    ))
                })?)
            }
        };
        Ok(Policy {
            segment_size,
            segment_age: Duration::from_secs(hours * 60 * 60),
            compress: self.audit_compress == Some(Compression::Gzip),
            deliver: self.audit_deliver.clone(),
            keep,
        })
    }

    pub(super) fn disk_policy(&self) -> Result<DiskPolicy, ConfigError> {
        let standard = DiskPolicy::default();
        let reserve = match self.disk_reserve.as_deref() {
            Some("0") => 0,
            Some(text) => size("disk-reserve", text, (1 << 20, 1 << 30))?,
            None => standard.reserve,
        };
        let warn = match &self.disk_warn {
            Some(text) => size("disk-warn", text, (0, u64::MAX))?,
            None => standard.warn,
        };
        Ok(DiskPolicy { reserve, warn })
    }

    pub(super) fn refusals(&self) -> Result<u32, ConfigError> {
        match self.refusal_rate.unwrap_or(REFUSAL_RATE) {
            0 => Err(value("refusal-rate is at least 1 a second")),
            rate => Ok(rate),
        }
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
        bytes.ok_or_else(|| wrong(format_args!("is no size like 65536, 64K, 16M or 1G")))?;
    match (least..=most).contains(&bytes) {
        true => Ok(bytes),
        false => Err(wrong(format_args!("is not between {least} and {most} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
