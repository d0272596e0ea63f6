//! Points in time, as policies write them: W3C's profiles of ISO 8601, or seconds since the
//! epoch.
//!
//! The calendar is two formulas of its own, so that the engine has no more packages than its policies
//! need. The tests' second evaluator reads the same texts with the crate `time`, which would hold nothing
//! against this one if both were the same. What is accepted would be written here in any case: no library
//! takes just these profiles.

/// A point in time: nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(i128);

const NANOS: i128 = 1_000_000_000;

impl Instant {
    /// A whole number of seconds since the epoch.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        Self(i128::from(seconds).saturating_mul(NANOS))
    }

    /// Reads `YYYY-MM`, `YYYY-MM-DD`, `YYYY-MM-DDThh:mm[:ss[.f]]` with `Z` or an offset, or a
    /// whole number of seconds since the epoch.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<i64>() {
            return Some(Self::from_seconds(seconds));
        }
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut fields = date.split('-');
        let year = digits(fields.next()?, 4)?;
        let month = digits(fields.next()?, 2)?;
        let day = match fields.next() {
            Some(day) => digits(day, 2)?,
            None if time.is_none() => 1,
            None => return None,
        };
        if fields.next().is_some() || !(1..=days_of(year, month)?).contains(&day) {
            return None;
        }
        let nanos = match time {
            Some(time) => time_of_day(time)?,
            None => 0,
        };
        let days = i128::from(days_since_epoch(year, month, day));
        days.checked_mul(86_400)?.checked_mul(NANOS)?.checked_add(nanos).map(Self)
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`, the form of `aws:CurrentTime`.
pub(crate) fn format(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute) = (second.div_euclid(3_600), second.div_euclid(60).rem_euclid(60));
    let second = second.rem_euclid(60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Nanoseconds from midnight UTC to `hh:mm[:ss[.f]]` with its offset.
fn time_of_day(text: &str) -> Option<i128> {
    let (time, offset) = match text.strip_suffix('Z') {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = text.split_at_checked(text.rfind(['+', '-'])?)?;
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let minutes = minute_of_day(hours, minutes)?;
            (time, if offset.starts_with('-') { minutes.checked_neg()? } else { minutes })
        }
    };
    let (hour, rest) = time.split_once(':')?;
    let (minute, seconds) = match rest.split_once(':') {
        Some((minute, seconds)) => (minute, Some(seconds)),
        None => (rest, None),
    };
    let minutes = minute_of_day(hour, minute)?.checked_sub(offset)?;
    let nanos = match seconds {
        None => 0,
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let whole = digits(whole, 2).filter(|second| *second <= 59)?;
            let length = fraction.len();
            let fraction = digits(fraction, (1..=9).contains(&length).then_some(length)?)?;
            let scale = 10_i128.checked_pow(u32::try_from(9_usize.checked_sub(length)?).ok()?)?;
            let fraction = i128::from(fraction).checked_mul(scale)?;
            i128::from(whole).checked_mul(NANOS)?.checked_add(fraction)?
        }
    };
    i128::from(minutes).checked_mul(60)?.checked_mul(NANOS)?.checked_add(nanos)
}

fn minute_of_day(hour: &str, minute: &str) -> Option<i64> {
    let hour = digits(hour, 2).filter(|hour| *hour <= 23)?;
    let minute = digits(minute, 2).filter(|minute| *minute <= 59)?;
    hour.checked_mul(60)?.checked_add(minute)
}

/// A number of exactly `length` digits.
fn digits(text: &str, length: usize) -> Option<i64> {
    let all = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last.
#[allow(clippy::arithmetic_side_effects, reason = "years have four digits")]
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that many days after 1970-01-01.
#[allow(clippy::arithmetic_side_effects, reason = "a day count is a small part of an i64")]
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = years + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i128> {
        Instant::parse(text).map(|instant| instant.0 / NANOS)
    }

    #[test]
    fn profiles_of_iso_8601_are_read() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1970-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-11-26T00:00Z", 1_795_651_200),
            ("2026-11-26T01:30:00+01:30", 1_795_651_200),
            ("2026-11-25T19:00-05:00", 1_795_651_200),
            ("2026-11-26T00:00:59.999999999Z", 1_795_651_259),
            ("1969-12-31T23:59:59Z", -1),
            ("1795651200", 1_795_651_200),
            ("-1", -1),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert!(Instant::parse("2026-01-01T00:00:00.5Z") > Instant::parse("2026-01-01"));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-11-00",
            "2026-1-1",
            "26-11-26",
            "2026-11-26T",
            "2026-11-26T00:00",
            "2026-11-26T00:00:00",
            "2026-11-26T24:00Z",
            "2026-11-26T00:60Z",
            "2026-11-26T00:00:60Z",
            "2026-11-26T00:00:00.Z",
            "2026-11-26T00:00:00.1234567890Z",
            "2026-11T00:00Z",
            "2026-11-26 00:00Z",
            "2026-11-26T00:00+1:00",
            "2026-11-26T00:00+é1:00",
            "1.5",
            "*",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn formatting_is_the_inverse() {
        for seconds in [0, -1, 951_782_399, 951_782_400, 1_795_651_259, 253_402_300_799] {
            assert_eq!(Instant::parse(&format(seconds)), Some(Instant::from_seconds(seconds)));
        }
        assert!(!format(i64::MAX / 2).is_empty() && !format(i64::MIN / 2).is_empty());
    }
}
