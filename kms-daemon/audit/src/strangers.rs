//! What is written about requests that nobody vouches for.
//!
//! Whoever reaches the port can send requests that are refused, as fast as the line is, and a
//! record of each would fill the disk. So of each source a few are recorded whole, and the rest is
//! counted. A [`Summary`] tells how many there were since the one before, so sums over all records
//! are exact.
//!
//! * A source is an IPv4 address, or the /64 of an IPv6 address: one machine has all of that.
//! * In a minute, the first [`SAMPLES`] requests of a source are recorded whole; one, if the source
//!   had more than that in the minute before.
//! * What was counted is written when the minute ends, when the log is closed, and before the answer
//!   whenever as many were counted as the log tells of that source: at 20, 40, 80, …. A crash loses at
//!   most as many as were written of the source in this minute and the one before.
//! * At most [`SOURCES`] sources have a count of their own, and samples and early summaries of all of
//!   them have [`ROOM`] bytes a minute. What goes beyond that is counted together, as "other
//!   sources", by the same rule.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::record::event_time;
use super::service_event;

/// Requests of a source that are recorded whole, in a minute.
pub(super) const SAMPLES: u64 = 10;
/// Sources that are told apart in a minute.
const SOURCES: usize = 64;
/// Bytes a minute of samples and early summaries, of all sources that are told apart.
const ROOM: usize = 96 << 10;
/// What a summary takes at most, in bytes of its line.
const SUMMARY: usize = 2048;
/// How long requests are counted until a summary is due.
const WINDOW: Duration = Duration::from_secs(60);
/// Error codes that a summary tells apart.
const CODES: usize = 8;
/// The one for the rest.
const OTHER_CODES: &str = "other";

/// Services that a summary tells apart.
const SERVICES: usize = 8;
/// The one for the rest.
const OTHER_SERVICES: &str = "other";

/// Why requests are counted instead of recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Why {
    /// Nobody has vouched for them.
    Unverified,
    /// Their records have no room on the disk.
    NoRoom,
}

impl Why {
    const fn event_name(self) -> &'static str {
        match self {
            Self::Unverified => UNAUTHENTICATED,
            Self::NoRoom => "RequestsRefusedOnFullDisk",
        }
    }

    const fn samples(self) -> u64 {
        match self {
            Self::Unverified => SAMPLES,
            Self::NoRoom => 0,
        }
    }
}

/// `eventName` of a summary of requests that nobody has vouched for.
pub(super) const UNAUTHENTICATED: &str = "UnauthenticatedRequests";

/// Where requests come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Source {
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(Ipv6Addr),
    /// Any, beyond the bound on sources.
    Others,
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(prefix) => write!(f, "{prefix}/64"),
            Self::Others => f.write_str("other sources"),
        }
    }
}

type Key = (Why, Source);

/// A request that may be counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) why: Why,
    pub(super) address: IpAddr,
    pub(super) code: &'a str,
    pub(super) service: &'a str,
    /// Account and Region of the daemon.
    pub(super) place: (&'a str, &'a str),
    pub(super) time: SystemTime,
}

/// What is to be done about a request.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// It is recorded whole.
    pub(super) whole: bool,
    /// Its source sends more than it may.
    pub(super) throttled: bool,
    /// What must be durable before it is answered.
    pub(super) summaries: Vec<Value>,
}

/// Counts what is not recorded whole.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Refusals a minute that a source is told the reason of.
    allowed: u64,
    begin: Option<Instant>,
    tallies: HashMap<Key, Tally>,
    /// How many requests sources had in the minute before.
    before: HashMap<Key, u64>,
    /// Bytes that are left of [`ROOM`].
    room: usize,
    /// Account and Region of summaries.
    place: (String, String),
}

/// The requests of a source in a minute.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    /// How many the log tells of, those of the minute before included.
    told: u64,
    samples: u64,
    counted: Counted,
}

/// Requests that no record tells of yet.
#[derive(Debug, Default)]
struct Counted {
    requests: u64,
    throttled: u64,
    codes: BTreeMap<String, u64>,
    services: BTreeMap<String, u64>,
    times: Option<(SystemTime, SystemTime)>,
}

impl Strangers {
    /// `rate`: refusals a second that a source is told the reason of.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            allowed: u64::from(rate) * WINDOW.as_secs(),
            begin: None,
            tallies: HashMap::new(),
            before: HashMap::new(),
            room: ROOM,
            place: Default::default(),
        }
    }

    /// Decides how a request is recorded, and counts it if not whole. `length` tells the bytes that a
    /// record of its own takes.
    pub(super) fn admit(
        &mut self,
        refused: &Refused<'_>,
        now: Instant,
        length: impl FnOnce() -> usize,
    ) -> Admission {
        let mut admission = Admission { summaries: self.end_window(now), ..Admission::default() };
        self.begin.get_or_insert(now);
        self.place = (refused.place.0.to_owned(), refused.place.1.to_owned());
        let key = self.key(refused);
        let before = self.before.get(&key).copied().unwrap_or(0);
        let others = key.1 == Source::Others;
        let samples = match refused.why.samples() {
            _ if others => 0,
            samples if before > samples => samples.min(1),
            samples => samples,
        };
        let tally =
            self.tallies.entry(key).or_insert_with(|| Tally { told: before, ..Tally::default() });
        tally.seen += 1;
        admission.throttled = refused.why == Why::Unverified && tally.seen > self.allowed;
        if tally.samples < samples && take(&mut self.room, length()) {
            tally.samples += 1;
            tally.told += 1;
            admission.whole = true;
            return admission;
        }
        let due = tally.counted.requests + 1 >= tally.told.max(SAMPLES);
        if due && !others && !take(&mut self.room, SUMMARY) {
            // A request that cannot be reported in time under its source is reported under `other sources`.
            let others = self.tallies.entry((refused.why, Source::Others)).or_default();
            others.seen += 1;
            let summary = others.count(refused, admission.throttled);
            admission.summaries.extend(
                summary.map(|counted| counted.to_json((refused.why, Source::Others), &self.place)),
            );
            return admission;
        }
        let summary = tally.count(refused, admission.throttled);
        admission.summaries.extend(summary.map(|counted| counted.to_json(key, &self.place)));
        admission
    }

    /// What is to be written because the minute is over.
    pub(super) fn end_window(&mut self, now: Instant) -> Vec<Value> {
        match self.begin {
            Some(begin) if now.saturating_duration_since(begin) >= WINDOW => self.close(),
            _ => Vec::new(),
        }
    }

    /// What is to be written of all that was counted.
    pub(super) fn close(&mut self) -> Vec<Value> {
        self.begin = None;
        self.room = ROOM;
        let mut tallies: Vec<_> = self.tallies.drain().collect();
        tallies.sort_by_key(|(key, _)| *key);
        self.before = tallies.iter().map(|(key, tally)| (*key, tally.seen)).collect();
        let counted = tallies.into_iter().filter(|(_, tally)| tally.counted.requests > 0);
        counted.map(|(key, tally)| tally.counted.to_json(key, &self.place)).collect()
    }

    fn key(&self, refused: &Refused<'_>) -> Key {
        let key = (refused.why, Source::of(refused.address));
        let known = self.tallies.contains_key(&key);
        if known || self.tallies.len() < SOURCES { key } else { (refused.why, Source::Others) }
    }
}

impl Tally {
    /// Counts a request; returns what is to be written before it is answered.
    fn count(&mut self, refused: &Refused<'_>, throttled: bool) -> Option<Counted> {
        self.counted.add(refused, throttled);
        if self.counted.requests < self.told.max(SAMPLES) {
            return None;
        }
        self.told += self.counted.requests;
        Some(std::mem::take(&mut self.counted))
    }
}

impl Counted {
    fn add(&mut self, refused: &Refused<'_>, throttled: bool) {
        self.requests += 1;
        self.throttled += u64::from(throttled);
        let known = self.codes.contains_key(refused.code) || self.codes.len() < CODES;
        let code = if known { refused.code } else { OTHER_CODES };
        *self.codes.entry(code.to_owned()).or_default() += 1;
        // What services they say they are for, nobody has vouched for.
        let known = self.services.contains_key(refused.service) || self.services.len() < SERVICES;
        let service = if known { refused.service } else { OTHER_SERVICES };
        *self.services.entry(service.to_owned()).or_default() += 1;
        let (first, last) = self.times.get_or_insert((refused.time, refused.time));
        (*first, *last) = ((*first).min(refused.time), (*last).max(refused.time));
    }

    fn to_json(&self, (why, source): Key, (account, region): &(String, String)) -> Value {
        let (first, last) = self.times.unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH));
        let details = json!({
            "requests": self.requests,
            "errorCodes": self.codes,
            "eventSources": self.services,
            "throttled": self.throttled,
            "firstEventTime": event_time(first),
            "lastEventTime": event_time(last),
        });
        let name = why.event_name();
        let mut record = service_event::record(name, (account, region), last, &json!([]), &details);
        record["sourceIPAddress"] = json!(source.to_string());
        record
    }
}

/// Takes `length` of `room`, if there is as much.
fn take(room: &mut usize, length: usize) -> bool {
    let left = room.checked_sub(length);
    *room = left.unwrap_or(*room);
    left.is_some()
}

#[cfg(test)]
mod tests;
