//! The time of a request and its window.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::DATE;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{bounded, incomplete, invalid};
use kms_base::error::KmsError;

const BASIC: StaticFormatDescription =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// When the client says it signed: from `X-Amz-Date`, or else from `Date`.
#[derive(Debug)]
pub(super) struct RequestDate {
    time: OffsetDateTime,
    iso: String,
    header: &'static str,
}

impl RequestDate {
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, KmsError> {
        let text = |name: &str| {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            match values.as_slice() {
                [] => None,
                [value] => Some(value.to_str().unwrap_or_default()),
                [_, _, ..] => Some(""), // it is not known which of them was signed
            }
        };
        let (header, text) = match text("x-amz-date") {
            Some(text) => ("x-amz-date", text),
            None => ("date", text(DATE.as_str()).unwrap_or_default()),
        };
        if let Some(time) = parse_basic(text) {
            return Ok(Self { time, iso: text.to_owned(), header });
        }
        let time = match header {
            "date" => httpdate::parse_http_date(text).ok().map(OffsetDateTime::from),
            _ => None,
        };
        let time = time.ok_or_else(|| bad_date(text))?;
        Ok(Self { time, iso: basic(time), header })
    }

    /// Seconds since the epoch; 0 for what is before.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.time.unix_timestamp()).unwrap_or(0)
    }

    /// `YYYYMMDD`.
    pub(super) fn day(&self) -> &str {
        self.iso.split('T').next().unwrap_or_default()
    }

    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) fn iso(&self) -> &str {
        &self.iso
    }

    /// Lower-case name of the header the date came from.
    pub(super) fn header(&self) -> &'static str {
        self.header
    }

    /// Refuses a request signed more than `window` before or after `now`.
    pub(super) fn check_window(&self, now: SystemTime, window: Duration) -> Result<(), KmsError> {
        let now = OffsetDateTime::from(now);
        let minutes = window.as_secs().div_ceil(60);
        let (oldest, newest) = (now - window, now + window);
        if self.time < oldest {
            return Err(invalid(format!(
                "Signature expired: {} is now earlier than {} ({} - {minutes} min.)",
                self.iso,
                basic(oldest),
                basic(now)
            )));
        }
        if self.time > newest {
            return Err(invalid(format!(
                "Signature not yet current: {} is still later than {} ({} + {minutes} min.)",
                self.iso,
                basic(newest),
                basic(now)
            )));
        }
        Ok(())
    }
}

/// `YYYYMMDDTHHMMSSZ` and nothing else: no sign, no fraction.
fn parse_basic(text: &str) -> Option<OffsetDateTime> {
    let plain = text.len() == 16 && !text.starts_with(['+', '-']);
    let time = plain.then(|| PrimitiveDateTime::parse(text, BASIC).ok()).flatten()?;
    Some(time.assume_utc())
}

/// `YYYYMMDDTHHMMSSZ`.
pub(super) fn basic(time: OffsetDateTime) -> String {
    time.format(BASIC).unwrap_or_default()
}

fn bad_date(text: &str) -> KmsError {
    incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", bounded(text)))
}
