//! The secrets that are erased when the module fails or is zeroised.

use hsm_protocol::ErrorCode;

use super::pairs::Pairs;
use crate::drbg::Drbg;
use crate::keystore::cache::{Cache, Slot};
use crate::keystore::domain::Domain;
use crate::keystore::identity::Identity;
use crate::memory::Owner;

/// The module's secrets, in the place where they stay: they are filled in and erased here, as a value
/// that is moved leaves its bytes behind.
pub(super) struct Secrets<O: Owner> {
    /// Whether the rest is there.
    loaded: bool,
    pub(super) drbg: Drbg,
    pub(super) identity: Option<Identity>,
    pub(super) domain: Domain,
    pub(super) cache: Cache<O>,
    pub(super) pairs: Pairs,
}

impl<O: Owner> Secrets<O> {
    /// The place, empty, with room for unwrapped keys.
    pub(super) fn none(keys: O::Of<[Slot]>) -> Self {
        Self {
            loaded: false,
            drbg: Drbg::uninstantiated(),
            identity: None,
            domain: Domain::empty(),
            cache: Cache::new(keys),
            pairs: Pairs::new(),
        }
    }

    /// The secrets may be used from now on.
    pub(super) const fn set_loaded(&mut self) {
        self.loaded = true;
    }

    /// Zeroises all.
    pub(super) fn erase(&mut self) {
        self.loaded = false;
        self.drbg.uninstantiate();
        self.identity = None;
        self.domain.clear();
        self.cache.clear();
        self.pairs.clear();
    }

    /// The secrets, if there are any.
    pub(super) const fn as_ref(&self) -> Option<&Self> {
        if self.loaded { Some(self) } else { None }
    }

    /// The secrets, if there are any.
    pub(super) const fn as_mut(&mut self) -> Option<&mut Self> {
        if self.loaded { Some(self) } else { None }
    }

    /// The domain, if the device belongs to one.
    pub(super) fn domain(&self) -> Option<&Domain> {
        Some(&self.domain).filter(|domain| domain.exists())
    }

    /// Domain, identity and randomness, for an export.
    pub(super) fn export_parts(&mut self) -> Result<(&Domain, &Identity, &mut Drbg), ErrorCode> {
        let Self { drbg, identity, domain, .. } = self;
        let identity = identity.as_ref().ok_or(ErrorCode::INTERNAL)?;
        match domain.exists() {
            true => Ok((domain, identity, drbg)),
            false => Err(ErrorCode::INTERNAL),
        }
    }
}
