//! Audit: one durable, chained record for every request.

mod facts;

pub use facts::{AuditFacts, AuditResource};

/// Proof of one audited device command, as the driver returned it.
#[derive(Debug, Clone)]
pub struct DeviceReceipt {}
