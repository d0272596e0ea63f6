//! What was used in a month, and what the same use would have cost at AWS KMS: from the audit log
//! alone.
//!
//! Prices are AWS's list prices of us-east-1 as they were known in 2026, in millionths of a
//! dollar. A key costs the hours of the month in which it exists outside of a waiting period, and
//! so does each of its first two rotations.

use std::collections::BTreeMap;
use std::path::Path;

use hsm_protocol::key_spec::{KeyFamily, KeySpec};
use serde::Serialize;
use serde_json::Value;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::chain::{Kind, Line};
use super::facts::is_key_arn;
use super::segment::Segment;
use super::strangers::UNAUTHENTICATED;
use super::verify::VerifyError;
use kms_model::Operation;
use kms_model::operation::Price;

/// Price of a key in a month.
const KEY: u64 = 1_000_000;
/// Rotations of a key that cost as much as a key.
const PAID_ROTATIONS: usize = 2;
/// Requests that cost nothing in a month.
const FREE: u64 = 20_000;

/// Requests that have one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PriceClass {
    /// Symmetric and HMAC keys, and management.
    Symmetric,
    /// Cryptography with RSA_2048 keys.
    Rsa2048,
    /// Cryptography with other asymmetric keys.
    Asymmetric,
    /// Data key pairs on elliptic curves.
    EccPairs,
    /// RSA data key pairs.
    RsaPairs,
}

impl PriceClass {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric, HMAC, management",
            Self::Rsa2048 => "RSA_2048 keys",
            Self::Asymmetric => "other asymmetric keys",
            Self::EccPairs => "data key pairs, ECC",
            Self::RsaPairs => "data key pairs, RSA",
        }
    }

    /// Price of a request.
    const fn price(self) -> u64 {
        match self {
            Self::Symmetric | Self::Rsa2048 => 3,
            Self::Asymmetric => 15,
            Self::EccPairs => 10,
            Self::RsaPairs => 1200,
        }
    }
}

/// Requests of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// How many.
    pub count: u64,
    /// Their price, in millionths of a dollar.
    pub price: u64,
}

/// The use of a month.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// `YYYY-MM`.
    pub month: String,
    /// Keys that existed in the month outside of a waiting period.
    pub keys: usize,
    /// Their price, that of rotations included, in millionths of a dollar.
    pub keys_price: u64,
    /// Requests that succeeded, by class.
    pub requests: BTreeMap<PriceClass, Requests>,
    /// Requests that succeeded, by operation.
    pub operations: BTreeMap<String, u64>,
    /// What the free requests of the month take off, in millionths of a dollar.
    pub free: u64,
    /// Requests that were refused or failed; they have no price.
    pub failed: u64,
    /// Last record that is not in the directory any more: keys that were made up to it are not counted.
    pub removed: u64,
    /// Lines of the log that cannot be read; `kmsctl audit verify` says more.
    pub unreadable: u64,
    /// The whole price, in millionths of a dollar.
    pub price: u64,
}

/// Reads the log in `dir` and adds up a month: `YYYY-MM`, or the current one.
///
/// # Errors
/// [`VerifyError`] if the files cannot be read.
pub fn usage(dir: &Path, month: Option<Date>) -> Result<Usage, VerifyError> {
    let read = |source| VerifyError::Read { path: dir.to_owned(), source };
    let segments = Segment::list(dir).map_err(read)?;
    if segments.is_empty() {
        return Err(VerifyError::NoLog(dir.to_owned()));
    }
    let now = OffsetDateTime::now_utc();
    let mut tally = Tally::new(month.unwrap_or(now.date()), now);
    tally.removed = segments.first().map_or(0, |segment| segment.first - 1);
    for segment in &segments {
        let failed = |source| VerifyError::Read { path: segment.path.clone(), source };
        let mut lines = segment.lines().map_err(failed)?;
        while let Some(raw) = lines.next().map_err(failed)? {
            match raw.line {
                Some(line) => tally.add(&line),
                None => tally.unreadable += 1,
            }
        }
    }
    Ok(tally.finish())
}

/// Reads `YYYY-MM`, as the first day of the month.
#[must_use]
pub fn parse_month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-').filter(|_| text.len() == 7)?;
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, 1).ok()
}

/// The life of a key, in seconds since the epoch.
struct Life {
    /// `None` if a later release made the key, of a spec that this one does not know.
    spec: Option<KeySpec>,
    created: i64,
    rotations: Vec<i64>,
    /// When its waiting period began: what follows costs nothing, unless it is cancelled.
    pending: Option<i64>,
}

struct Tally {
    label: String,
    /// First second of the month, and the first one after it.
    month: (i64, i64),
    now: i64,
    keys: BTreeMap<String, Life>,
    requests: BTreeMap<PriceClass, Requests>,
    operations: BTreeMap<String, u64>,
    free: u64,
    failed: u64,
    removed: u64,
    unreadable: u64,
}

impl Tally {
    fn new(month: Date, now: OffsetDateTime) -> Self {
        let first = month.replace_day(1).unwrap_or(month);
        let days = i64::from(first.month().length(first.year()));
        let start = PrimitiveDateTime::new(first, Time::MIDNIGHT).assume_utc().unix_timestamp();
        Self {
            label: format!("{:04}-{:02}", first.year(), u8::from(first.month())),
            month: (start, start + days * 24 * 60 * 60),
            now: now.unix_timestamp(),
            keys: BTreeMap::new(),
            requests: BTreeMap::new(),
            operations: BTreeMap::new(),
            free: 0,
            failed: 0,
            removed: 0,
            unreadable: 0,
        }
    }

    fn add(&mut self, line: &Line) {
        if !matches!(line.kind, Kind::Request | Kind::ServiceEvent) {
            return;
        }
        let record = &line.record;
        // IAM and STS cost nothing.
        if record["eventSource"] != "kms.amazonaws.com" {
            return;
        }
        // Requests are their caller's; this is the copy for the owner of a key.
        if record["userIdentity"]["type"] == "AWSAccount" {
            return;
        }
        let Some(time) = record["eventTime"].as_str().and_then(seconds) else { return };
        if time >= self.month.1 {
            return;
        }
        if line.kind == Kind::ServiceEvent && record["eventName"] == UNAUTHENTICATED {
            let counts = &record["serviceEventDetails"]["eventSources"];
            let refused = counts["kms.amazonaws.com"].as_u64().unwrap_or(0);
            self.failed += if time >= self.month.0 { refused } else { 0 };
            return;
        }
        let failed = !record["errorCode"].is_null();
        let name = record["eventName"].as_str().unwrap_or_default();
        if !failed {
            self.follow(name, time, record);
        }
        if line.kind != Kind::Request || time < self.month.0 {
            return;
        }
        if failed {
            self.failed += 1;
            return;
        }
        let (class, has_free) = self.class(name, record);
        let requests = self.requests.entry(class).or_default();
        requests.count += 1;
        requests.price += class.price();
        *self.operations.entry(name.to_owned()).or_default() += 1;
        self.free += u64::from(has_free);
    }

    /// Follows the lives of keys.
    fn follow(&mut self, name: &str, time: i64, record: &Value) {
        let made = match name {
            "CreateKey" => Some("keyMetadata"),
            "ReplicateKey" => Some("replicaKeyMetadata"),
            _ => None,
        };
        if let Some(member) = made {
            let metadata = &record["responseElements"][member];
            let text = |member: &str| metadata[member].as_str().unwrap_or_default().to_owned();
            let spec = KeySpec::from_aws_name(&text("keySpec"));
            let life = Life { spec, created: time, rotations: Vec::new(), pending: None };
            self.keys.insert(text("arn"), life);
            return;
        }
        if name == "Reset" {
            self.keys.values_mut().for_each(|life| life.pending = life.pending.or(Some(time)));
            return;
        }
        let key = key_of(record).and_then(|arn| self.keys.get_mut(arn));
        let Some(life) = key else { return };
        match name {
            "ScheduleKeyDeletion" | "DeleteKey" => life.pending = life.pending.or(Some(time)),
            "CancelKeyDeletion" => life.pending = None,
            // The request that asked for it is a record of its own.
            "RotateKey" if record["serviceEventDetails"]["rotationType"] == "ON_DEMAND" => {}
            "RotateKey" | "RotateKeyOnDemand" => life.rotations.push(time),
            _ => {}
        }
    }

    /// The class of a request, and whether it is one of those that are free at first.
    fn class(&self, name: &str, record: &Value) -> (PriceClass, bool) {
        let price = Operation::from_name(name).map_or(Price::Flat, |row| row.facts().price);
        match price {
            Price::Flat => (PriceClass::Symmetric, true),
            Price::OfPair => {
                let spec = record["requestParameters"]["keyPairSpec"].as_str().unwrap_or_default();
                let is_rsa = family(KeySpec::from_aws_name(spec)) == Some(KeyFamily::Rsa);
                (if is_rsa { PriceClass::RsaPairs } else { PriceClass::EccPairs }, false)
            }
            Price::OfKey => self.class_of_key(record),
        }
    }

    /// The class of cryptography with the key that a record names.
    fn class_of_key(&self, record: &Value) -> (PriceClass, bool) {
        let life = key_of(record).and_then(|arn| self.keys.get(arn));
        // Without a key it is management.
        let Some(life) = life else { return (PriceClass::Symmetric, true) };
        match (life.spec, family(life.spec)) {
            (_, Some(KeyFamily::Symmetric | KeyFamily::Hmac)) => (PriceClass::Symmetric, true),
            (Some(KeySpec::RSA_2048), _) => (PriceClass::Rsa2048, false),
            _ => (PriceClass::Asymmetric, false),
        }
    }

    fn finish(self) -> Usage {
        let (start, end) = self.month;
        let (mut keys, mut keys_price) = (0, 0);
        for life in self.keys.values() {
            let until = life.pending.unwrap_or(self.now).min(end);
            let paid = |from: i64| u64::try_from(until - from.max(start)).unwrap_or(0);
            let rotations = life.rotations.iter().take(PAID_ROTATIONS).map(|time| paid(*time));
            let seconds = paid(life.created) + rotations.sum::<u64>();
            keys += usize::from(paid(life.created) > 0);
            keys_price += seconds * KEY / u64::try_from(end - start).unwrap_or(u64::MAX);
        }
        let free = self.free.min(FREE) * PriceClass::Symmetric.price();
        let requests: u64 = self.requests.values().map(|requests| requests.price).sum();
        Usage {
            month: self.label,
            keys,
            keys_price,
            requests: self.requests,
            operations: self.operations,
            free,
            failed: self.failed,
            removed: self.removed,
            unreadable: self.unreadable,
            price: keys_price + requests - free,
        }
    }
}

fn family(spec: Option<KeySpec>) -> Option<KeyFamily> {
    spec?.row().map(|row| row.family)
}

/// The ARN of the first key of a record.
fn key_of(record: &Value) -> Option<&str> {
    let resources = record["resources"].as_array()?;
    resources.iter().filter_map(|one| one["ARN"].as_str()).find(|arn| is_key_arn(arn))
}

fn seconds(time: &str) -> Option<i64> {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    Some(PrimitiveDateTime::parse(time, form).ok()?.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests;
