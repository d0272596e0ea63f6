//! Has devices vouch for the audit log.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::regions::Regions;
use kms_audit::{AuditLog, checkpoint};
use kms_installation::consistency::Marks;

/// How often devices vouch for the log, if there is something new in it.
pub(super) const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Intervals after which they do so in any case.
const IDLE: u32 = 12;

/// What was vouched for last.
#[derive(Debug)]
pub(super) struct Last {
    sequence: AtomicU64,
    idle: AtomicU32,
}

impl Default for Last {
    /// Nothing: the first look makes checkpoints.
    fn default() -> Self {
        Self { sequence: AtomicU64::new(0), idle: AtomicU32::new(IDLE) }
    }
}

/// Has each device in service vouch for the log, and writes the marks, if there is something new; returns of how
/// many Regions.
pub(super) async fn make(log: &AuditLog, regions: &Regions, marks: &Marks, last: &Last) -> usize {
    let idle = last.idle.load(Ordering::Relaxed);
    last.idle.store(idle + 1, Ordering::Relaxed);
    if log.sequence() == last.sequence.load(Ordering::Relaxed) && idle < IDLE {
        return 0;
    }
    let pools = regions.pools();
    for (_, pool) in &pools {
        checkpoint(log, pool, false).await;
    }
    marks.write(log, &regions.names()).await;
    last.sequence.store(log.sequence(), Ordering::Relaxed);
    last.idle.store(1, Ordering::Relaxed);
    pools.len()
}
