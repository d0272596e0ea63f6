//! The domain state: keys that wrap tokens, and the devices that share them.
//!
//! ```text
//! layout 1: version u8 = 1 | domain [16] | domain version u32 LE
//!   | rules version u16 LE = 0 | operators u8 = 0
//!   | active key u32 LE | keys u8 | keys × (id u32 LE, key [32])
//!   | members u8 | members × identity document [163]
//! ```
//! Rules and operators have their place; quorum control fills it.

use core::fmt;

use hsm_protocol::bytes::{concat, take};
use hsm_protocol::command::domain::{DomainSummary, MAX_MEMBERS};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::{DeviceId, DomainId, ErrorCode};
use rand_core::CryptoRng;

use super::record::{self, MAX_DATA};
use crate::platform::{Platform, RecordId};
use crate::secret::Secret;

/// Layout version.
const VERSION: u8 = 1;
/// Domain keys a device holds: the active one and those that tokens may still be under.
pub const MAX_DOMAIN_KEYS: usize = 4;
/// Bytes of an identity document.
const DOCUMENT: usize = 3 * PublicKey::SIZE + Signature::SIZE;
/// Longest encoded state, in bytes.
pub(crate) const MAX_STATE: usize =
    1 + 16 + 4 + 3 + 4 + 1 + MAX_DOMAIN_KEYS * 36 + 1 + MAX_MEMBERS * DOCUMENT;

const _: () = assert!(MAX_STATE <= MAX_DATA, "a domain state fits a record");

struct DomainKey {
    id: u32,
    key: Secret<32>,
}

/// The domain a device belongs to. The keys zeroise themselves on drop.
pub struct Domain {
    id: DomainId,
    version: u32,
    active: u32,
    keys: [Option<DomainKey>; MAX_DOMAIN_KEYS],
    members: [Option<IdentityDocument>; MAX_MEMBERS],
}

impl Domain {
    /// A new domain with one key and one member.
    #[must_use]
    pub fn create(own: &IdentityDocument, rng: &mut dyn CryptoRng) -> Self {
        let mut domain = Self::empty();
        domain.found(own, rng);
        domain
    }

    /// Becomes a new domain with one key and one member.
    pub(crate) fn found(&mut self, own: &IdentityDocument, rng: &mut dyn CryptoRng) {
        self.clear();
        rng.fill_bytes(&mut self.id.0);
        (self.version, self.active) = (1, 1);
        if let Some(slot) = self.keys.first_mut() {
            let key = slot.insert(DomainKey { id: 1, key: Secret::zeroed() });
            rng.fill_bytes(key.key.expose_mut());
        }
        if let Some(slot) = self.members.first_mut() {
            *slot = Some(*own);
        }
    }

    /// Becomes no domain; the keys are zeroised where they are.
    pub(crate) fn clear(&mut self) {
        *self = Self::empty(); // the old keys zeroise themselves
    }

    /// Becomes a copy of another domain, key by key, so that no secret is moved.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.clear();
        (self.id, self.version, self.active) = (other.id, other.version, other.active);
        for (slot, key) in self.keys.iter_mut().zip(other.keys.iter().map(Option::as_ref)) {
            let Some(DomainKey { id, key }) = key else { continue };
            let slot = slot.insert(DomainKey { id: *id, key: Secret::zeroed() });
            *slot.key.expose_mut() = *key.expose();
        }
        self.members = other.members;
    }

    /// Whether there is a domain here.
    pub(crate) const fn exists(&self) -> bool {
        self.version != 0
    }

    /// No domain: a place for one.
    pub(crate) const fn empty() -> Self {
        Self {
            id: DomainId([0; 16]),
            version: 0,
            active: 0,
            keys: [const { None }; MAX_DOMAIN_KEYS],
            members: [None; MAX_MEMBERS],
        }
    }

    /// The domain's id.
    #[must_use]
    pub const fn id(&self) -> &DomainId {
        &self.id
    }

    /// Version of the state; every change adds one.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What may be known outside.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most MAX_MEMBERS
    pub fn summary(&self) -> DomainSummary {
        DomainSummary {
            domain: self.id,
            version: self.version,
            active_key: self.active,
            members: self.members.iter().flatten().count() as u8,
        }
    }

    /// The key that wraps new tokens, and its id.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`]: a domain always has one.
    pub(crate) fn active_key(&self) -> Result<(u32, &Secret<32>), ErrorCode> {
        self.key(self.active).map(|key| (self.active, key)).ok_or(ErrorCode::INTERNAL)
    }

    /// The key with this id.
    pub(crate) fn key(&self, id: u32) -> Option<&Secret<32>> {
        self.keys.iter().flatten().find(|key| key.id == id).map(|key| &key.key)
    }

    /// Whether a device is a member.
    #[must_use]
    pub fn has_member(&self, device: &DeviceId) -> bool {
        self.members.iter().flatten().any(|member| member.device_id() == *device)
    }

    /// Adds a member; adding it again changes nothing.
    ///
    /// # Errors
    /// [`ErrorCode::MEMBERS_FULL`].
    pub(crate) fn add_member(&mut self, member: &IdentityDocument) -> Result<(), ErrorCode> {
        if self.has_member(&member.device_id()) {
            return Ok(());
        }
        let slot = self.members.iter_mut().find(|slot| slot.is_none());
        *slot.ok_or(ErrorCode::MEMBERS_FULL)? = Some(*member);
        self.version = self.version.checked_add(1).ok_or(ErrorCode::INTERNAL)?;
        Ok(())
    }

    /// Loads the domain, or none if the device belongs to none.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`] if the record is damaged; there is no domain here then.
    pub(crate) fn load<P: Platform>(&mut self, platform: &mut P) -> Result<(), ErrorCode> {
        let mut buffer = record::buffer();
        match record::read(platform, RecordId::DOMAIN, &mut buffer)? {
            Some(stored) => self.read(stored).ok_or(ErrorCode::STORAGE_FAILED),
            None => {
                self.clear();
                Ok(())
            }
        }
    }

    /// Stores the domain.
    ///
    /// # Errors
    /// Storage errors.
    pub(crate) fn store<P: Platform>(
        &self,
        platform: &mut P,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), ErrorCode> {
        let mut buffer = record::buffer();
        let length = self.write(&mut *buffer)?;
        let state = buffer.get(..length).ok_or(ErrorCode::INTERNAL)?;
        record::write(platform, rng, RecordId::DOMAIN, state)
    }

    /// Writes the encoded state, secrets in clear, and returns its length. The caller zeroises
    /// or encrypts `out`.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`MAX_STATE`] and the state needs it.
    pub(crate) fn write(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let mut writer = Writer { out, end: 0 };
        let keys = count(self.keys.iter().flatten().count())?;
        let members = count(self.members.iter().flatten().count())?;
        writer.put(&[&[VERSION], self.id.as_bytes(), &self.version.to_le_bytes(), &[0; 3]])?;
        writer.put(&[&self.active.to_le_bytes(), &[keys]])?;
        for key in self.keys.iter().flatten() {
            writer.put(&[&key.id.to_le_bytes(), key.key.expose()])?;
        }
        writer.put(&[&[members]])?;
        for member in self.members.iter().flatten() {
            let keys = [&member.signing, &member.link, &member.join].map(PublicKey::to_bytes);
            let [signing, link, join] = &keys;
            writer.put(&[signing, link, join, &member.signature.to_bytes()])?;
        }
        Ok(writer.end)
    }

    /// Becomes an encoded state; `None` for any other layout, and there is no domain here then.
    pub(crate) fn read(&mut self, stored: &[u8]) -> Option<()> {
        self.clear();
        let read = self.read_fields(stored);
        if read.is_none() {
            self.clear();
        }
        read
    }

    fn read_fields(&mut self, stored: &[u8]) -> Option<()> {
        let mut rest = stored;
        let input = &mut rest;
        let [VERSION] = take(input)? else { return None };
        self.id = DomainId(*take(input)?);
        self.version = u32::from_le_bytes(*take(input)?);
        let [0, 0, 0] = take(input)? else { return None };
        self.active = u32::from_le_bytes(*take(input)?);
        let [keys] = *take(input)?;
        for index in 0..usize::from(keys) {
            let id = u32::from_le_bytes(*take(input)?);
            let slot = self.keys.get_mut(index)?;
            let slot = slot.insert(DomainKey { id, key: Secret::zeroed() });
            *slot.key.expose_mut() = *take(input)?;
        }
        let [members] = *take(input)?;
        for index in 0..usize::from(members) {
            *self.members.get_mut(index)? = Some(document(take(input)?)?);
        }
        let complete = self.exists() && rest.is_empty() && self.key(self.active).is_some();
        complete.then_some(())
    }
}

fn count(count: usize) -> Result<u8, ErrorCode> {
    u8::try_from(count).map_err(|_| ErrorCode::INTERNAL)
}

fn document(bytes: &[u8; DOCUMENT]) -> Option<IdentityDocument> {
    let mut rest: &[u8] = bytes;
    let input = &mut rest;
    let mut key = || {
        let [tag] = *take(input)?;
        Some(PublicKey { tag, x: *take(input)? })
    };
    let (signing, link, join) = (key()?, key()?, key()?);
    Some(IdentityDocument { signing, link, join, signature: Signature::from_bytes(take(input)?) })
}

struct Writer<'o> {
    out: &'o mut [u8],
    end: usize,
}

impl Writer<'_> {
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), ErrorCode> {
        let free = self.out.get_mut(self.end..).ok_or(ErrorCode::TOO_LARGE)?;
        let written = concat(free, parts).ok_or(ErrorCode::TOO_LARGE)?.len();
        self.end = self.end.saturating_add(written);
        Ok(())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({}, version {})", self.id, self.version)
    }
}
