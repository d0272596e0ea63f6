//! The document of `/readyz`, which `kmsd` writes and `kmsctl status` reads.

use kms_base::space::Level;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::devices::DeviceReport;
use crate::loss::Loss;

mod rewrap;
pub mod scrub;

pub use self::rewrap::RewrapReport;

/// What the data directory is called where anybody reads it.
pub const ANY_DIR: &str = "DIR";

/// The document of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether requests are served: a device of each Region is in service, the store and the audit
    /// log work, and there is room on the disk.
    pub ready: bool,
    /// Version of the daemon.
    pub version: String,
    /// The installation's name, which is also in the file `instance` of its data directory.
    #[serde(default)]
    pub instance: String,
    /// Region of the endpoint.
    pub region: String,
    /// The account.
    pub account: String,
    /// Whether it is for development only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub development: bool,
    /// Seconds since the daemon served its first request.
    pub uptime_seconds: u64,
    /// Whether the store answers.
    pub store_available: bool,
    /// Whether audit records can be written.
    pub audit_writable: bool,
    /// Number of the last durable audit record.
    pub audit_sequence: u64,
    /// That record and its hash, for `kmsctl audit verify --at-least`.
    #[serde(default)]
    pub audit_position: String,
    /// Records not yet durable.
    pub audit_pending: u64,
    /// Whether the daemon's memory is kept out of swap.
    #[serde(default)]
    pub memory_locked: bool,
    /// Bytes of the audit log.
    #[serde(default)]
    pub audit_bytes: u64,
    /// Room on the disk of the data directory: `enough`, `low`, or `reserve`, when only administration
    /// is served.
    #[serde(default)]
    pub disk_space: Level,
    /// Free bytes of that disk.
    #[serde(default)]
    pub disk_free_bytes: u64,
    /// How many of them can be used until only administration is served.
    #[serde(default)]
    pub disk_until_reserve_bytes: u64,
    /// What is wrong, and what to do, each in a sentence or some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The devices.
    pub devices: Vec<DeviceReport>,
    /// The daemons of other Regions. Requests are served also while one does not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerReport>,
    /// The trails that log, and how far they are delivered. Requests are served also while one is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trails: Vec<TrailReport>,
    /// External key stores whose proxies are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_stores: Vec<XksReport>,
    /// Custom key stores on tokens that are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterReport>,
    /// The last backup that came to its end.
    #[serde(default)]
    pub last_backup: Option<BackupTold>,
    /// Regions whose domain is a development domain: whoever reads the data directory owns their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub development_domains: Vec<String>,
    /// How far key tokens are under the newest keys of their domains, where a domain key was rotated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewraps: Vec<RewrapReport>,
    /// What would be lost forever with a device, or with all that are on one disk.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// The facts about the last backup that everybody may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupTold {
    /// When its snapshot was taken, ISO 8601.
    pub created: String,
}

/// How it stands with the daemon of another Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// The Region.
    pub region: String,
    /// Where its link is.
    pub address: String,
    /// Whether it answered when it was last asked.
    pub reachable: bool,
    /// When it last answered, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<u64>,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What it has yet to be told.
    #[serde(default)]
    pub errands: usize,
}

/// How it stands with a trail, for `/readyz`, `kmsctl status` and the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailReport {
    /// Its ARN.
    pub arn: String,
    /// Seconds since the time up to which it is delivered.
    pub lag_seconds: u64,
    /// Whether the last attempt delivered all that was due. Why not is told by `GetTrailStatus`, to
    /// those who may ask it: `/readyz` answers anybody, and the reason may name hosts and paths.
    pub delivered: bool,
}

/// How it stands with the proxy of an external key store, for `/readyz` and `kmsctl status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XksReport {
    /// The id of the custom key store.
    pub store: String,
    /// Whether the proxy answered the last call, as the API of proxies says it should.
    pub answers: bool,
    /// How the last call that failed failed: a name, as in the metrics.
    pub last_error: Option<String>,
    /// Calls since the store was connected, or the daemon started.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Milliseconds that the last call took.
    pub latency_ms: u64,
    /// Days until the certificate ends that the proxy has shown last.
    pub certificate_days: Option<u64>,
}

/// How it stands with the tokens of a custom key store, for `/readyz` and `kmsctl status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The id of the custom key store.
    pub store: String,
    /// The id of its cluster.
    pub cluster: String,
    /// The tokens.
    pub tokens: Vec<TokenReport>,
}

/// How it stands with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// The label.
    pub label: String,
    /// Whether the last call was answered.
    pub answers: bool,
    /// How the last call that failed failed: a name.
    pub last_error: Option<String>,
    /// Calls since the store was connected, or the daemon started.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Processes that were started for its module.
    pub starts: u64,
    /// Milliseconds that the last call took.
    pub latency_ms: u64,
}

/// Replaces a part of every text in a document.
pub fn replace_in_texts(document: &mut Value, from: &str, to: &str) {
    match document {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(items) => {
            items.iter_mut().for_each(|item| replace_in_texts(item, from, to));
        }
        Value::Object(members) => {
            members.values_mut().for_each(|value| replace_in_texts(value, from, to));
        }
        _ => {}
    }
}
