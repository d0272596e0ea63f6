//! What the pool of a Region asks the daemon: whether a device may serve it, and where its audit entries
//! go.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use hsm_protocol::{DeviceId, DomainId};

use crate::audit::{AuditLog, Behind, behind_code};
use crate::consistency::{About, Acceptance, Domains};

/// The daemon, as the devices of a Region see it.
pub(super) struct Gate {
    /// The Region.
    pub(super) region: String,
    /// Takes audit entries.
    pub(super) audit: Arc<AuditLog>,
    /// Knows which domain the keys are of.
    pub(super) domains: Arc<Domains>,
    /// Knows what a person has accepted.
    pub(super) acceptance: Acceptance,
    /// Whether a device was refused.
    pub(super) refused: AtomicBool,
}

impl Gate {
    /// Whether a device was refused: then it needs a person, not time.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// What is said of a device that is older than the log.
    fn refuse(&self, behind: &Behind) -> String {
        self.refused.store(true, Ordering::Relaxed);
        let (reason, code) = (behind.explain(), behind_code(behind));
        if let Err(error) = self.acceptance.ask(&code, About::Device, &reason) {
            tracing::error!(%error, "cannot ask for an acceptance");
        }
        format!(
            "{reason}. It is kept out of service until somebody has looked at it, whether the latest \
             flash was put back or the older one is all there is: {}",
            self.acceptance.command(&code)
        )
    }
}

impl AuditSink for Gate {
    fn position(&self, device: &DeviceId) -> Option<Position> {
        self.audit.position(device)
    }

    fn admit(&self, device: &DeviceId, domain: &DomainId) -> Result<(), String> {
        let bound = self.domains.bind(&self.region, domain, device);
        bound.inspect_err(|_| self.refused.store(true, Ordering::Relaxed))?;
        let Some(behind) = self.audit.behind(device) else { return Ok(()) };
        let code = behind_code(&behind);
        if !self.acceptance.is_given(&code).map_err(|error| error.to_string())? {
            return Err(self.refuse(&behind));
        }
        self.audit.accept_device(&behind).map_err(|error| error.to_string())?;
        tracing::warn!(%device, code, "a device that is older than the audit log was accepted");
        self.acceptance.settle(&code).map_err(|error| error.to_string())
    }

    fn behind(&self, device: &DeviceId, found: Position, stored: Position) -> String {
        match self.audit.device_behind(device, found, stored) {
            Ok(behind) => self.refuse(&behind),
            Err(error) => error.to_string(),
        }
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.audit.missed(receipts)
    }

    fn lost(&self, device: &DeviceId, epoch: u64, indexes: Range<u64>) -> Result<(), String> {
        self.audit.lost(device, epoch, indexes)
    }
}
