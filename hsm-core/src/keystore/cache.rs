//! The most recently unwrapped keys, so that a busy key is not unwrapped for each request.
//!
//! An entry is found by its whole token, which was authentic when it was unwrapped: another token,
//! even for the same key, is unwrapped again. Entries zeroise themselves when they are displaced,
//! when they have been idle, and when a session ends.

use hsm_protocol::ErrorCode;
use hsm_protocol::token::{KeyAttributes, KeyToken};

use super::domain::Domain;
use super::wrap;
use crate::algorithm::{Algorithm, PublicKeyBuf};
use crate::memory::Owner;
use crate::secret::SecretBuf;

/// Microseconds after which an unused key is zeroised.
pub const IDLE_US: u64 = 60_000_000;

/// A key in the clear.
pub struct Unwrapped {
    token: [u8; KeyToken::MAX_SIZE],
    token_length: usize,
    used: u64,
    /// What the token says, authenticated.
    pub attributes: KeyAttributes,
    /// The key, as [`Algorithm::expand`] leaves it once [`Unwrapped::expand`] was called. Its
    /// exposure ends when the entry is dropped.
    pub secret: SecretBuf,
    /// Who has expanded it.
    expanded_by: Option<&'static dyn Algorithm>,
    /// The public half, once it was asked for: computing it costs as much as a signature. Empty, not
    /// absent, before: what is absent is not initialised, and an entry that is moved to its place
    /// would take along what the stack held there.
    pub public: PublicKeyBuf,
}

impl Unwrapped {
    /// An entry that stands for no token yet. What is in it is put into its place, as nothing as large should
    /// be moved there.
    const fn empty(attributes: KeyAttributes) -> Self {
        Self {
            token: [0; KeyToken::MAX_SIZE],
            token_length: 0,
            used: 0,
            attributes,
            secret: SecretBuf::new(),
            expanded_by: None,
            public: PublicKeyBuf::new(),
        }
    }

    /// Expands the secret, once.
    ///
    /// # Errors
    /// Those of [`Algorithm::expand`].
    pub fn expand(&mut self, algorithm: &'static dyn Algorithm) -> Result<(), ErrorCode> {
        if self.expanded_by.is_none() {
            algorithm.expand(&mut self.secret)?;
            self.expanded_by = Some(algorithm);
        }
        Ok(())
    }

    fn stands_for(&self, token: &[u8]) -> bool {
        self.token_length > 0 && self.token.get(..self.token_length) == Some(token)
    }
}

/// A place for a key.
pub type Slot = Option<Unwrapped>;

/// The cache.
pub struct Cache<O: Owner> {
    slots: O::Of<[Slot]>,
}

impl<O: Owner> Cache<O> {
    /// A cache of these places.
    #[must_use]
    pub const fn new(slots: O::Of<[Slot]>) -> Self {
        Self { slots }
    }

    /// The key of a token, unwrapped now or before. `now` is in microseconds since boot.
    ///
    /// # Errors
    /// Those of [`wrap::unwrap`].
    pub fn unwrap(
        &mut self,
        domain: &Domain,
        token: &[u8],
        now: u64,
    ) -> Result<&mut Unwrapped, ErrorCode> {
        let known = |slot: &Slot| slot.as_ref().is_some_and(|s| s.stands_for(token));
        let place = match self.slots.iter().position(known) {
            Some(place) => place,
            None => {
                let mut secret = SecretBuf::new();
                let attributes = wrap::unwrap(domain, token, &mut secret)?;
                let place = self.oldest();
                let slot = self.slots.get_mut(place).ok_or(ErrorCode::INTERNAL)?;
                vacate(slot);
                let fresh = slot.insert(Unwrapped::empty(attributes));
                fresh.secret.set(secret.expose())?;
                let copy = fresh.token.get_mut(..token.len()).ok_or(ErrorCode::TOKEN_MALFORMED)?;
                copy.copy_from_slice(token);
                fresh.token_length = token.len();
                place
            }
        };
        let slot = self.slots.get_mut(place).and_then(Option::as_mut);
        let key = slot.ok_or(ErrorCode::INTERNAL)?;
        key.used = now;
        Ok(key)
    }

    /// Zeroises keys unused for [`IDLE_US`]; whether there were any.
    pub fn expire(&mut self, now: u64) -> bool {
        let mut any = false;
        for slot in &mut *self.slots {
            if slot.as_ref().is_some_and(|key| now.saturating_sub(key.used) >= IDLE_US) {
                vacate(slot);
                any = true;
            }
        }
        any
    }

    /// When the next key will have been unused for [`IDLE_US`]; `None` if there is none.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        let used = self.slots.iter().flatten().map(|key| key.used).min()?;
        Some(used.saturating_add(IDLE_US))
    }

    /// Zeroises all keys.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(vacate);
    }

    /// Number of keys held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An empty slot, or else the one unused for longest.
    fn oldest(&self) -> usize {
        let slots = self.slots.iter().enumerate();
        let oldest = slots.min_by_key(|(_, slot)| slot.as_ref().map(|key| key.used));
        oldest.map_or(0, |(place, _)| place)
    }
}

/// Zeroises the key in a place, if there is one, and what its algorithm keeps of it.
fn vacate(slot: &mut Slot) {
    if let Some(Unwrapped { expanded_by: Some(algorithm), secret, .. }) = slot {
        algorithm.forget(secret);
    }
    *slot = None;
}

impl<O: Owner> Drop for Cache<O> {
    fn drop(&mut self) {
        self.clear();
    }
}
