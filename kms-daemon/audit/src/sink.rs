//! Where the driver puts device entries that came with no response.

use std::ops::Range;

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use hsm_protocol::id::DeviceId;
use serde_json::json;

use super::chain::Kind;
use super::device::Lost;
use super::log::AuditLog;

impl AuditSink for AuditLog {
    fn position(&self, device: &DeviceId) -> Option<Position> {
        self.positions().of(device).map(|(position, _)| position)
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.append_blocking(Kind::DeviceEntries, &json!({}), receipts)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn lost(&self, device: &DeviceId, epoch: u64, indexes: Range<u64>) -> Result<(), String> {
        // A daemon that restarts more often than it calls a device need not say so each time.
        let known = self.positions().of(device);
        if indexes.end == u64::MAX && known.is_some_and(|(at, over)| at.epoch == epoch && over) {
            return Ok(());
        }
        let record = json!({ "lost": Lost::new(device, epoch, &indexes) });
        self.append_blocking(Kind::DeviceEntries, &record, &[])
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
