//! The line of an audit file, and the hash rule that ties each line to the one before.
//!
//! ```text
//! {"sequence":7,"previous":"<64 hex>","store":{…},"kind":"request","record":{…},"device":[…],"hash":"<64 hex>"}
//! hash = SHA-256("strongroom-audit-log-v1" || every byte of the line before `,"hash":`)
//! ```
//!
//! The hash is over the bytes as written, so that no canonical JSON is needed. `previous` is the
//! hash of the preceding line, zeros for the first; `sequence` counts from 1 over all files. `device`
//! and `store` are on some lines only; the latter is explained at [`StoreMark`].

use std::fmt;
use std::io::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::RequestRecord;
use super::device::Stored;
use super::mark::StoreMark;
use host_driver::audit::DeviceReceipt;
use kms_base::hex;

const LABEL: &[u8] = b"strongroom-audit-log-v1";
/// Bytes of most lines, and some more.
const USUAL: usize = 2048;
const HASH_MEMBER: &str = ",\"hash\":\"";
/// `,"hash":"`, 64 digits, `"}`.
const SUFFIX_SIZE: usize = HASH_MEMBER.len() + 64 + 2;

/// Hash of a line: SHA-256, shown and serialised as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LineHash(pub [u8; 32]);

/// Where the chain ends: the last line's number and hash. The default is the empty chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Number of the last line; 0 if there is none.
    pub sequence: u64,
    /// Hash of the last line; zeros if there is none.
    pub hash: LineHash,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One API request, as a CloudTrail record.
    Request,
    /// Something the service did by itself, as a CloudTrail record.
    ServiceEvent,
    /// The daemon started.
    Started,
    /// Records can be written again after writing had failed.
    Resumed,
    /// Device entries that no response had carried to the daemon.
    DeviceEntries,
    /// A device signed the head of its chain together with a position of this log.
    Checkpoint,
    /// Where the chain of each device stands: the first line of every file but the first.
    Positions,
}

/// A line read back, its hash checked.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub(super) sequence: u64,
    pub(super) previous: LineHash,
    /// How the store stood.
    #[serde(default)]
    pub store: Option<StoreMark>,
    /// What the line is about.
    pub kind: Kind,
    /// The record.
    pub record: Value,
    /// Entries of devices.
    #[serde(default)]
    pub device: Vec<Stored>,
    /// The hash of the line, which covers the one before it.
    pub hash: LineHash,
}

/// The part of a line that does not depend on its place: made before the place is known.
#[derive(Debug, Clone)]
pub struct Body(String);

impl Body {
    /// The part of a line with this record.
    #[must_use]
    pub fn new(kind: Kind, record: &Value, device: &[DeviceReceipt]) -> Self {
        match is_within(record, MAX_DEPTH) {
            true => Self::of(kind, record, device),
            false => Self::of(kind, &cut_at(record, MAX_DEPTH), device),
        }
    }

    /// The part of the line of a request.
    pub(super) fn of_request(record: &RequestRecord<'_>) -> Self {
        match record.is_within(MAX_DEPTH) {
            true => Self::of(Kind::Request, record, record.receipts()),
            false => Self::new(Kind::Request, &record.to_json(), record.receipts()),
        }
    }

    fn of(kind: Kind, record: &impl Serialize, device: &[DeviceReceipt]) -> Self {
        #[derive(Serialize)]
        struct Members<'a, R> {
            kind: Kind,
            record: &'a R,
            #[serde(skip_serializing_if = "Receipts::is_empty")]
            device: Receipts<'a>,
        }
        let mut text = Vec::with_capacity(USUAL);
        serde_json::to_writer(&mut text, &Members { kind, record, device: Receipts(device) })
            .expect("values with text keys serialise");
        Self(String::from_utf8(text).expect("JSON is UTF-8"))
    }

    /// The same; that of a request is marked: its response was replaced by an error, because the
    /// record could not be written in time.
    pub(super) fn withheld(mut self) -> Self {
        if self.0.starts_with("{\"kind\":\"request\"") {
            self.0.insert_str(1, "\"responseWithheld\":true,");
        }
        self
    }

    /// Length in bytes, about that of the line.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the line after `tip` to `out`, with its end of line and what it says of the store, and
    /// returns the new tip.
    pub fn append_to(
        &self,
        tip: Position,
        store: Option<StoreMark>,
        out: &mut Vec<u8>,
    ) -> Position {
        let sequence = tip.sequence + 1;
        let start = out.len();
        // Writing to memory does not fail.
        let _ = write!(out, "{{\"sequence\":{sequence},\"previous\":\"{}\",", tip.hash);
        if let Some(StoreMark { id, revision }) = store {
            let _ = write!(out, "\"store\":{{\"id\":\"{id}\",\"revision\":{revision}}},");
        }
        out.extend_from_slice(&self.0.as_bytes()[1..self.0.len() - 1]);
        let hash = LineHash::of(&out[start..]);
        let _ = writeln!(out, "{HASH_MEMBER}{hash}\"}}");
        Position { sequence, hash }
    }
}

/// Receipts, as they stand in a line.
struct Receipts<'a>(&'a [DeviceReceipt]);

impl Receipts<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Receipts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().copied().map(Stored))
    }
}

/// Deepest nesting of a record. A reader of JSON that takes no more than some depth, as this one and
/// others do, must be able to read every line.
const MAX_DEPTH: usize = 64;

/// Whether nothing in `value` is nested more deeply than `depth`; a text or number has depth 1.
pub(super) fn is_within(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        Value::Array(items) => items.iter().all(|item| is_within(item, depth)),
        Value::Object(members) => members.values().all(|value| is_within(value, depth)),
        _ => true,
    }
}

/// The value with a text in place of what is nested more deeply.
fn cut_at(value: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::from("(nested too deeply)") };
    match value {
        Value::Array(items) => items.iter().map(|item| cut_at(item, depth)).collect(),
        Value::Object(members) => {
            let cut = members.iter().map(|(name, value)| (name.clone(), cut_at(value, depth)));
            Value::Object(cut.collect())
        }
        value => value.clone(),
    }
}

impl Line {
    /// Reads a line without its end of line. `None` if it is not a line whose hash is right.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let split = bytes.len().checked_sub(SUFFIX_SIZE)?;
        let line: Self = serde_json::from_slice(bytes).ok()?;
        let (hashed, suffix) = bytes.split_at(split);
        // The member must stand at the very end, or bytes after the hash would not be covered.
        let expected = format!("{HASH_MEMBER}{}\"}}", line.hash);
        (suffix == expected.as_bytes() && LineHash::of(hashed) == line.hash).then_some(line)
    }

    pub(super) fn position(&self) -> Position {
        Position { sequence: self.sequence, hash: self.hash }
    }

    /// The `eventID` of the record.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.record.get("eventID")?.as_str()
    }
}

impl LineHash {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::new().chain_update(LABEL).chain_update(bytes).finalize().into())
    }

    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let lower = !text.bytes().any(|c| c.is_ascii_uppercase());
        hex::decode(text).filter(|_| lower).map(Self)
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LineHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in hex"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{AuditFacts, Caller, Outcome, StoreId};
    use kms_base::principal::Principal;

    fn line(tip: Position, record: &Value) -> (Vec<u8>, Position) {
        line_with(tip, None, record)
    }

    fn line_with(tip: Position, store: Option<StoreMark>, record: &Value) -> (Vec<u8>, Position) {
        let mut out = Vec::new();
        let tip = Body::new(Kind::Request, record, &[]).append_to(tip, store, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        (out, tip)
    }

    #[test]
    fn a_record_of_any_depth_is_a_line_that_can_be_read() {
        for depth in [1, MAX_DEPTH - 2, MAX_DEPTH, 125, 126, 127, 1000] {
            let deep = (0..depth).fold(json!("x"), |value, _| json!({ "a": value }));
            let (bytes, tip) = line(Position::default(), &json!({ "eventID": "e", "p": deep }));
            let line = Line::parse(&bytes).unwrap_or_else(|| panic!("{depth}"));
            assert_eq!((line.event_id(), line.position()), (Some("e"), tip));
            let is_whole = line.record["p"] == deep;
            assert_eq!(is_whole, depth <= MAX_DEPTH - 2, "{depth}");
        }
    }

    #[test]
    fn so_is_that_of_a_request_with_parameters_of_any_depth() {
        let principal = Principal::root("000000000000", "AKIA");
        for depth in [1, MAX_DEPTH - 2, MAX_DEPTH - 1, 1000] {
            let deep = (1..depth).fold(json!("x"), |value, _| json!({ "a": value }));
            let mut facts = AuditFacts::default();
            facts.parameter("p", deep.clone());
            let record = RequestRecord {
                request_id: Uuid::from_u128(1),
                event_id: Uuid::from_u128(2),
                source: "kms.amazonaws.com",
                operation: "Encrypt",
                read_only: true,
                caller: Caller::Verified(&principal),
                region: "us-east-1",
                account: "000000000000",
                source_ip: Ipv4Addr::LOCALHOST.into(),
                user_agent: None,
                tls: None,
                host: None,
                completed: UNIX_EPOCH,
                outcome: Outcome::Success,
                no_room: false,
                facts: &facts,
            };
            let mut out = Vec::new();
            Body::of_request(&record).append_to(Position::default(), None, &mut out);
            let line = Line::parse(out.trim_ascii_end()).unwrap_or_else(|| panic!("{depth}"));
            let is_whole = line.record["requestParameters"]["p"] == deep;
            assert_eq!(is_whole, depth <= MAX_DEPTH - 2, "{depth}");
        }
    }

    /// As above.
    #[test]
    fn golden_line_with_the_store() {
        let mark = StoreMark { id: StoreId([0xab; 16]), revision: 123 };
        let (bytes, _) = line_with(Position::default(), Some(mark), &json!({ "eventID": "e" }));
        let text = String::from_utf8(bytes.clone()).unwrap();
        let start = concat!(
            r#"{"sequence":1,"previous":"0000000000000000000000000000000000000000000000000000"#,
            r#"000000000000","store":{"id":"abababababababababababababababab","revision":123},"#,
            r#""kind":"request","record":{"eventID":"e"},"hash":"#,
        );
        assert!(text.starts_with(start), "{text}");
        assert_eq!(Line::parse(&bytes).unwrap().store, Some(mark));
        // What it says of the store is as much a part of the line as the rest.
        let changed = text.replace(":123}", ":122}");
        assert!(Line::parse(changed.as_bytes()).is_none());
    }

    /// The format is read years later: if this fails, revert the change, not the test.
    #[test]
    fn golden_line() {
        let (bytes, tip) = line(Position::default(), &json!({ "eventID": "e", "x": {} }));
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            concat!(
                r#"{"sequence":1,"previous":"0000000000000000000000000000000000000000000000000000"#,
                r#"000000000000","kind":"request","record":{"eventID":"e","x":{}},"hash":"#,
                r#""b0ac371a1f5279bd1917749a94a05ab0a9d005cc3c3c3694d8581def5a2a6233"}"#,
            )
        );
        assert_eq!(tip.sequence, 1);
    }

    #[test]
    fn round_trip_and_chaining() {
        let (_, first) = line(Position::default(), &json!({ "eventID": "a" }));
        let (bytes, second) = line(first, &json!({ "eventID": "b" }));
        let read = Line::parse(&bytes).unwrap();
        assert_eq!((read.position(), read.previous), (second, first.hash));
        assert_eq!(read.event_id(), Some("b"));
        assert_eq!(read.kind, Kind::Request);
    }

    #[test]
    fn every_changed_byte_shows() {
        let (bytes, _) = line(Position::default(), &json!({ "eventID": "a", "n": 1 }));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Line::parse(&changed).is_none(), "byte {at} bit {bit}");
            }
        }
        let longer = [bytes.as_slice(), b" "].concat();
        assert!(Line::parse(&longer).is_none());
        assert!(Line::parse(&bytes[..bytes.len() - 1]).is_none());
    }
}
