//! Handshakes, and changes of the domain, which are durable before they take effect.

use hsm_protocol::attestation::Measurement;
use hsm_protocol::channel::{Challenge, MESSAGE_1_SIZE};
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::{ErrorCode, HostId, Role};

use super::Module;
use super::secrets::Secrets;
use crate::drbg::Drbg;
use crate::keystore::domain::Domain;
use crate::keystore::identity::Identity;
use crate::keystore::record;
use crate::platform::{FirmwareUpdate, Platform, RecordId};

impl<P: Platform> Module<P> {
    /// The role of a host that shakes hands: anybody's on an uninitialised device.
    pub(crate) fn role(&self, host: HostId) -> Option<Role> {
        match self.state {
            ModuleState::Uninitialised => Some(Role::Bootstrap),
            _ => self.domain()?.role(host),
        }
    }

    /// What the next handshake has to answer.
    pub(crate) fn admission_challenge(&mut self) -> Result<Challenge, ErrorCode> {
        let now = self.platform.monotonic_us();
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        Ok(self.admission.challenge(now, &mut secrets.drbg))
    }

    /// The first message of a handshake that a host of the domain can be behind.
    ///
    /// # Errors
    /// [`ErrorCode::HANDSHAKE_FAILED`].
    pub(crate) fn admit<'m>(
        &mut self,
        payload: &'m [u8],
    ) -> Result<&'m [u8; MESSAGE_1_SIZE], ErrorCode> {
        let now = self.platform.monotonic_us();
        let secrets = self.secrets.as_ref().ok_or(ErrorCode::INTERNAL)?;
        let identity = secrets.identity.as_ref().ok_or(ErrorCode::INTERNAL)?;
        let hosts = match secrets.domain() {
            Some(domain) => domain.state()?.hosts.as_slice(),
            None => &[],
        };
        self.admission.take(payload, now, hosts, identity)
    }

    /// Whether somebody may shake hands whose key is not known: anybody on an uninitialised device.
    pub(crate) fn expects_unknown_keys(&self) -> bool {
        self.state == ModuleState::Uninitialised
    }

    /// The domain, if the device belongs to one.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.secrets.as_ref()?.domain()
    }

    /// Founds or joins a domain, or changes it; the change is durable when this returns.
    ///
    /// `change` makes the next domain of the present one.
    pub(crate) fn change_domain(
        &mut self,
        change: impl FnOnce(&mut Domain, &Identity, &mut Drbg) -> Result<(), ErrorCode>,
    ) -> Result<DomainSummary, ErrorCode> {
        self.reseed()?; // a new domain key has entropy of its own
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        let Secrets { drbg, identity, domain, cache, .. } = secrets;
        let identity = identity.as_ref().ok_or(ErrorCode::INTERNAL)?;
        let mut next = Domain::empty();
        next.copy_from(domain);
        change(&mut next, identity, drbg)?;
        // First: a cut between them leaves a permission that the operators have signed.
        if let Some(firmware) = next.permits() {
            permit(&mut self.platform, drbg, firmware)?;
        }
        next.store(&mut self.platform, drbg)?;
        domain.copy_from(&next);
        cache.clear(); // a key that is gone opens no token any more
        self.approvals.clear(); // who has approved may be gone
        self.state = ModuleState::Operational;
        domain.summary()
    }

    /// The firmware that the domain permits; `None` if it has not permitted any.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`].
    pub(crate) fn permitted_firmware(&mut self) -> Result<Option<Measurement>, ErrorCode> {
        permitted(&mut self.platform)
    }

    /// Confirms the firmware on trial: a host that the device knows has reached it.
    pub(crate) fn confirm_firmware(&mut self) {
        if self.is_firmware_confirmed {
            return;
        }
        // A failure is tried again with the next request; until then a restart returns to the former image.
        self.is_firmware_confirmed =
            self.platform.firmware().is_none_or(|firmware| firmware.confirm().is_ok());
    }

    /// The same with entropy of its own, for what outlives the device.
    pub(crate) fn fresh_export_parts(
        &mut self,
    ) -> Result<(&Domain, &Identity, &mut Drbg), ErrorCode> {
        self.reseed()?;
        self.export_parts()
    }

    /// Domain, identity and randomness, for an export.
    pub(crate) fn export_parts(&mut self) -> Result<(&Domain, &Identity, &mut Drbg), ErrorCode> {
        self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.export_parts()
    }
}

/// Keeps what operators permit in place of what they have permitted before, and gives up another image that
/// was not started yet.
fn permit<P: Platform>(
    platform: &mut P,
    rng: &mut Drbg,
    firmware: Measurement,
) -> Result<(), ErrorCode> {
    if permitted(platform)? == Some(firmware) {
        return Ok(());
    }
    record::write(platform, rng, RecordId::FIRMWARE, &firmware.0)?;
    match platform.firmware().map(FirmwareUpdate::cancel) {
        None | Some(Ok(()) | Err(ErrorCode::UPDATE_ABSENT | ErrorCode::UPDATE_UNCONFIRMED)) => {
            Ok(())
        }
        Some(Err(error)) => Err(error),
    }
}

fn permitted<P: Platform>(platform: &mut P) -> Result<Option<Measurement>, ErrorCode> {
    let mut buffer = record::buffer();
    let stored = record::read(platform, RecordId::FIRMWARE, &mut buffer)?;
    let measurement = |stored: &[u8]| stored.try_into().map(Measurement);
    stored.map(measurement).transpose().map_err(|_| ErrorCode::STORAGE_FAILED)
}
