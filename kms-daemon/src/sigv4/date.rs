//! The time of a request and its window.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::DATE;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{bounded, incomplete, invalid};
use crate::error::KmsError;

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
        let only = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?;
            Some(if values.next().is_some() { "" } else { value.to_str().unwrap_or_default() })
        };
        if let Some(text) = only("x-amz-date") {
            let time = PrimitiveDateTime::parse(text, BASIC).map_err(|_| bad_date(text))?;
            return Ok(Self {
                time: time.assume_utc(),
                iso: text.to_owned(),
                header: "x-amz-date",
            });
        }
        let text = only(DATE.as_str()).unwrap_or_default();
        let time = httpdate::parse_http_date(text).map_err(|_| bad_date(text))?;
        Ok(Self { time: time.into(), iso: basic(time.into()), header: "date" })
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

pub(super) fn basic(time: OffsetDateTime) -> String {
    time.format(BASIC).unwrap_or_default()
}

fn bad_date(text: &str) -> KmsError {
    incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", bounded(text)))
}
