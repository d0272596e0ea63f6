//! Audit: durable, chained records of every request.
//!
//! A response leaves the daemon only after [`AuditLog::append`] has returned, and that returns
//! only after the record is on disk. Concurrent records share one sync (group commit). When a
//! record cannot be written the request fails, further requests are refused before they are
//! carried out, and writing resumes by itself once the disk takes records again.
//!
//! Refusals of callers whom nobody vouches for are counted once there are many, and a count is written
//! before as many are missing from the log as it tells of (ADR 16).
//!
//! [`verify`] recomputes both chains offline: that of the log and those of the devices.

mod anchor;
pub mod chain;
mod checkpoint;
mod cloudtrail;
mod copies;
mod created;
mod device;
mod disk;
mod facts;
mod history;
mod journal;
mod keeping;
mod log;
mod mark;
mod older;
mod positions;
mod query;
mod reading;
mod record;
mod recovery;
mod segment;
mod service_event;
mod sink;
mod snapshot;
mod strangers;
mod usage;
mod verify;
mod writer;

pub use anchor::{AnchorError, DeviceAnchor, DeviceAnchors, DomainAnchor, TrustAnchor};
pub use chain::{Kind, LineHash, Position};
pub use checkpoint::checkpoint;
pub use cloudtrail::{Records, Summary, file_name, place};
pub use cloudtrail::{TrailFile, export};
pub use created::created_keys;
pub use facts::{AuditFacts, AuditResource, KeyEvent};
pub use history::HistoryError;
pub use history::{Attribute, Lookup, Page, resources as event_resources, username};
pub use keeping::{KeepingError, Policy, keep_log};
pub use log::{AuditError, AuditLog, LogOptions, Opened, Recorded, Size};
pub use mark::{StoreId, StoreMark, StoreNow};
pub use older::{Behind, Cut, VouchError, behind_code};
pub use query::resources;
pub use query::{Network, Query, parse_time};
pub use reading::{Item, Reader, holds_files, read_log};
pub use record::{Caller, Outcome, RequestRecord};
pub use record::{event_time, member_time};
pub use recovery::{Found, Holds, Repair};
pub use snapshot::AuditSnapshot;
pub use usage::{PriceClass, Requests, Usage, parse_month, usage};
pub use verify::{
    DeviceChain, Expected, Fault, Live, Proof, Report, Signer, Verdict, VerifyError, VerifyOptions,
    verify, verify_with,
};
