//! Hosts and the domain: durable before they count.

use hsm_protocol::channel::{Challenge, MESSAGE_1_SIZE};
use hsm_protocol::command::ModuleState;
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{ErrorCode, HostId, Role};

use super::Module;
use super::secrets::Secrets;
use crate::drbg::Drbg;
use crate::hosts::{self, Hosts};
use crate::keystore::domain::Domain;
use crate::keystore::identity::Identity;
use crate::keystore::record;
use crate::platform::{Platform, RecordId};

impl<P: Platform> Module<P> {
    /// The enrolled hosts.
    pub(crate) const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The role of a host that shakes hands: anybody's on an uninitialised device.
    pub(crate) fn role(&self, host: HostId) -> Option<Role> {
        match self.state {
            ModuleState::Uninitialised => Some(Role::Bootstrap),
            _ => self.hosts.role(host),
        }
    }

    /// What the next handshake has to answer.
    pub(crate) fn admission_challenge(&mut self) -> Result<Challenge, ErrorCode> {
        let now = self.platform.monotonic_us();
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        Ok(self.admission.challenge(now, &mut secrets.drbg))
    }

    /// The first message of a handshake that an enrolled host can be behind.
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
        self.admission.take(payload, now, &self.hosts, identity.link())
    }

    /// Whether somebody may shake hands whose key is not known: on an uninitialised device anybody,
    /// later a host that is enrolled by its fingerprint and has not come yet.
    pub(crate) fn expects_unknown_keys(&self) -> bool {
        !self.hosts.has_all_keys() || self.state == ModuleState::Uninitialised
    }

    /// Notes the key of a host that has shaken hands; durable when this returns.
    pub(crate) fn learn_host(&mut self, key: &PublicKey) -> Result<(), ErrorCode> {
        let mut hosts = self.hosts;
        if !hosts.learn(key) {
            return Ok(());
        }
        self.change_hosts(|hosts| Ok(hosts.learn(key)))
            .map(drop)
            .inspect_err(|error| self.fail_on(*error))
    }

    /// Changes the host table; the change is durable when this returns.
    pub(crate) fn change_hosts<T>(
        &mut self,
        change: impl FnOnce(&mut Hosts) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        let mut hosts = self.hosts;
        let answer = change(&mut hosts)?;
        let mut stored = [0; hosts::MAX_STORED];
        let stored = hosts.write(&mut stored)?;
        record::write(&mut self.platform, &mut secrets.drbg, RecordId::HOSTS, stored)?;
        self.hosts = hosts;
        if self.state == ModuleState::Uninitialised {
            self.state = ModuleState::Initialised;
        }
        Ok(answer)
    }

    /// The domain, if the device belongs to one.
    pub(crate) fn domain(&self) -> Option<&Domain> {
        self.secrets.as_ref()?.domain()
    }

    /// Makes or joins a domain, or changes it; the change is durable when this returns.
    ///
    /// `change` makes the next domain of the present one.
    pub(crate) fn change_domain(
        &mut self,
        change: impl FnOnce(&mut Domain, &Identity, &mut Drbg) -> Result<(), ErrorCode>,
    ) -> Result<&Domain, ErrorCode> {
        self.reseed()?; // a new domain key has entropy of its own
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        let Secrets { drbg, identity, domain, .. } = secrets;
        let identity = identity.as_ref().ok_or(ErrorCode::INTERNAL)?;
        let mut next = Domain::empty();
        next.copy_from(domain);
        change(&mut next, identity, drbg)?;
        next.store(&mut self.platform, drbg)?;
        domain.copy_from(&next);
        self.state = ModuleState::Operational;
        Ok(&*domain)
    }

    /// Domain, identity and randomness, for an export.
    pub(crate) fn export_parts(&mut self) -> Result<(&Domain, &Identity, &mut Drbg), ErrorCode> {
        self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.export_parts()
    }
}
