//! Trails as they are stored.
//!
//! ```text
//! trails/<account>/<home Region>/<name>                   the trail, which its owner changes
//! trail-progress/<account>/<home Region>/<name>           up to where it was delivered
//! trail-chains/<account>/<home Region>/<name>/<Region>    the digests of a Region
//! trail-keys/<Region>                                     the key that signs them
//! ```

use serde::{Deserialize, Serialize};

use kms_base::clock::Timestamp;
use kms_base::record::{Record, Version};

/// Start of all trails.
pub(super) const TRAILS: &str = "trails/";

/// Which trail it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrailId {
    /// Whose records it delivers.
    pub account: String,
    /// Its home Region.
    pub region: String,
    /// Its name.
    pub name: String,
}

impl TrailId {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:cloudtrail:{}:{}:trail/{}", self.region, self.account, self.name)
    }

    fn path(&self) -> String {
        format!("{}/{}/{}", self.account, self.region, self.name)
    }

    pub(super) fn key(&self) -> Vec<u8> {
        format!("{TRAILS}{}", self.path()).into_bytes()
    }

    pub(super) fn progress_key(&self) -> Vec<u8> {
        format!("trail-progress/{}", self.path()).into_bytes()
    }

    /// Start of the keys of its chains.
    pub(super) fn chains(&self) -> String {
        format!("trail-chains/{}/", self.path())
    }
}

/// A time in which a trail logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Span {
    /// Number of the span: no two of a trail have the same.
    pub number: u64,
    /// Records behind this line are of it.
    pub after: u64,
    /// When it began, whole seconds.
    pub begun: Timestamp,
    /// When it ended, or is about to, whole seconds: records of this time are of it no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// A trail, as its owner wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trail {
    /// Version of the form.
    pub version: Version,
    /// Which one it is.
    pub id: TrailId,
    /// Where its files go.
    pub bucket: String,
    /// What their names begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether it is about all Regions.
    pub multi_region: bool,
    /// Whether records of services without Regions are delivered, if it is about one Region.
    pub global_events: bool,
    /// Whether there are digests.
    pub validation: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When logging was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it was stopped last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
    /// Number of its last span; at first, when it was made.
    pub spans_begun: u64,
    /// Those that are not delivered whole, the oldest first.
    pub spans: Vec<Span>,
}

impl Record for Trail {
    fn key(&self) -> Vec<u8> {
        self.id.key()
    }
}

impl Trail {
    /// Whether it logs now.
    #[must_use]
    pub fn is_logging(&self) -> bool {
        self.spans.last().is_some_and(|span| span.ended.is_none())
    }

    /// The name of an object, with what all of its names begin with.
    pub(super) fn object(&self, name: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{name}"),
            None => name.to_owned(),
        }
    }
}

/// Up to where a trail was delivered. Only its delivery changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// Version of the form.
    pub version: Version,
    /// Of which trail.
    pub id: TrailId,
    /// The span that is delivered.
    pub span: u64,
    /// Lines up to this one are delivered, or are not of the trail.
    pub position: u64,
    /// The end of the last interval that is delivered whole.
    pub window: Timestamp,
    /// The end of the last digest of each Region.
    pub digested: Timestamp,
    /// Lines up to this one are in the files that are being delivered: it is written before the
    /// first of them, so that a second try has the same content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// When the last file was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Timestamp>,
    /// When the last digest was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_delivered: Option<Timestamp>,
}

impl Record for Progress {
    fn key(&self) -> Vec<u8> {
        self.id.progress_key()
    }
}

/// The digests of a trail in a Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chain {
    /// Version of the form.
    pub version: Version,
    /// Of which trail.
    pub id: TrailId,
    /// Of which Region.
    pub region: String,
    /// The span that it is of: each begins a chain of its own.
    pub span: u64,
    /// The end of the last digest; the beginning of the span if there is none.
    pub digested: Timestamp,
    /// The last digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Files that are in none yet. At 250 bytes each, the room of a record is for some 4,000: an hour
    /// in which the log grew by 60 GiB.
    pub files: Vec<LogFile>,
}

impl Record for Chain {
    fn key(&self) -> Vec<u8> {
        format!("{}{}", self.id.chains(), self.region).into_bytes()
    }
}

/// A digest that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Previous {
    /// Its bucket.
    pub bucket: String,
    /// Its name there.
    pub object: String,
    /// SHA-256 before it was compressed, hexadecimal.
    pub hash: String,
    /// The signature, hexadecimal.
    pub signature: String,
}

/// A file of records that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogFile {
    /// Its bucket.
    pub bucket: String,
    /// Its name there.
    pub object: String,
    /// SHA-256 before it was compressed, hexadecimal.
    pub hash: String,
    /// The latest `eventTime` in it.
    pub newest: String,
    /// The earliest.
    pub oldest: String,
}
