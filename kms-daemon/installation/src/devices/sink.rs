//! The daemon's side of a Region's pool: decides whether a device may serve the Region, and stores its
//! audit entries.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use host_driver::ceremony::Ledger;
use host_driver::device::Device;
use host_driver::pool::Held;
use host_driver::{block_on, ceremony};
use hsm_protocol::command::audit::SignedCheckpoint;
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::{DeviceId, DomainId};

use super::members::Records;
use crate::consistency::{About, Acceptance, Domains};
use kms_audit::{AuditLog, Behind, VouchError, behind_code};
use serde_json::json;

/// The daemon, as the devices of a Region see it.
pub(super) struct Gate {
    /// The Region.
    pub(super) region: String,
    /// How its domain came to its state.
    pub(super) ledger: Arc<dyn Ledger + Send + Sync>,
    /// Takes audit entries.
    pub(super) audit: Arc<AuditLog>,
    /// Knows which domain the keys are of.
    pub(super) domains: Arc<Domains>,
    /// Knows what a person has accepted.
    pub(super) acceptance: Acceptance,
    /// Whether a device was refused.
    pub(super) refused: AtomicBool,
    /// What is recorded of the lines.
    pub(super) records: Arc<Records>,
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

    fn follow(&self, device: &Device, others: &[&Device]) -> Result<(), String> {
        match ceremony::follow(device, &*self.ledger, others) {
            Ok(false) => Ok(()),
            Ok(true) => {
                tracing::info!(device = %device.id(), "made changes of its domain that it had missed");
                Ok(())
            }
            Err(error) => Err(format!("cannot follow the changes of its domain: {error}")),
        }
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

    fn quarantined(&self, line: &str, reason: &str) {
        let held = Held::Quarantined(reason.into());
        let kept = self.records.change(&self.region, |registry| registry.hold(line, Some(&held)));
        if let Err(error) = kept {
            tracing::error!(line, %error, "a quarantined device may be back at the next start");
        }
        let details = json!({ "region": self.region, "device": line, "reason": reason });
        let recorded = block_on(self.audit.installation_event("QuarantineDevice", &details));
        if let Err(error) = recorded {
            tracing::error!(line, error, "cannot record that a device was quarantined");
        }
    }

    fn vouched(&self, last: &SignedCheckpoint, identity: &IdentityDocument) -> Result<(), String> {
        let device = last.checkpoint.device;
        let cut = match self.audit.vouched(last, &identity.signing) {
            Ok(()) => return Ok(()),
            Err(VouchError::Log(error)) => return Err(error.to_string()),
            Err(VouchError::Cut(cut)) => cut,
        };
        let (reason, code) = (cut.explain(&device), cut.code(&device));
        if self.acceptance.is_given(&code).map_err(|error| error.to_string())? {
            self.audit.accept_cut(&device, &cut).map_err(|error| error.to_string())?;
            tracing::warn!(%device, code, "an audit log that a device does not vouch for was accepted");
            return self.acceptance.settle(&code).map_err(|error| error.to_string());
        }
        self.refused.store(true, Ordering::Relaxed);
        if let Err(error) = self.acceptance.ask(&code, About::Device, &reason) {
            tracing::error!(%error, "cannot ask for an acceptance");
        }
        Err(format!(
            "{reason}. The device is kept out of service until the log is restored, or somebody goes on \
             with it as it is, which stays on record: {}",
            self.acceptance.command(&code)
        ))
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.audit.missed(receipts)
    }

    fn lost(&self, device: &DeviceId, epoch: u64, indexes: Range<u64>) -> Result<(), String> {
        self.audit.lost(device, epoch, indexes)
    }
}
