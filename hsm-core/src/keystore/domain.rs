//! The domain that a device belongs to: its public state, and the keys that wrap tokens.
//!
//! ```text
//! layout 2: version u8 = 2 | keys u8 | keys × (id u32 LE, history u8, key [32]) | encoded state
//! ```
//! The history of a domain key is that of all that it wraps: who could have opened it. It grows with the
//! state, and goes along to other members.
//!
//! The encoded state is [`hsm_protocol::domain`]'s. Layout 1, of devices that a single host ruled, is
//! read as a development domain of that host ([`v1`]).

use core::fmt;

use hsm_protocol::attestation::Measurement;
use hsm_protocol::bytes::{concat, take};
use hsm_protocol::command::domain::DomainSummary;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Ballot, Certificate, DeviceKind, DomainKeyEntry, DomainState, Kind, MAX_DOMAIN_KEYS,
    MAX_STATE as MAX_PUBLIC, Member,
};
use hsm_protocol::token::History;
use hsm_protocol::{DeviceId, DomainId, ErrorCode, HostId, Role};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::identity::Identity;
use super::record::{self, MAX_DATA};
use crate::platform::{Platform, RecordId};
use crate::secret::Secret;

mod v1;

/// Layout version.
const VERSION: u8 = 2;
/// Longest encoded domain, in bytes.
pub(crate) const MAX_ENCODED: usize = 2 + MAX_DOMAIN_KEYS * 37 + MAX_PUBLIC;

const _: () = assert!(MAX_ENCODED <= MAX_DATA, "a domain fits a record");

struct DomainKey {
    id: u32,
    history: History,
    key: Secret<32>,
}

/// A device that runs on somebody's computer takes no part in a domain that calls it hardware: all that is
/// said of the domain's keys would be untrue.
fn check_kind(said: DeviceKind, is: DeviceKind) -> Result<(), ErrorCode> {
    match said == DeviceKind::Hardware && is != DeviceKind::Hardware {
        true => Err(ErrorCode::KIND_DENIED),
        false => Ok(()),
    }
}

/// Who can open what is under the keys of a domain in this state.
fn history_of(state: &DomainState) -> History {
    let fact = |holds: bool, fact| if holds { fact } else { History::CLEAN };
    let is_soft = state.members.iter().any(|member| member.kind != DeviceKind::Hardware);
    fact(is_soft, History::SOFT_MEMBER)
        .and(fact(state.kind == Kind::Development, History::DEVELOPMENT))
        .and(fact(state.recovery.is_some(), History::RECOVERABLE))
}

/// A place for a domain. The keys zeroise themselves on drop.
pub struct Domain {
    state: Option<DomainState>,
    /// The firmware that the change just made permits; the module keeps it.
    permits: Option<Measurement>,
    keys: [Option<DomainKey>; MAX_DOMAIN_KEYS],
}

/// What a change asks the module to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// The device goes on in the new state.
    Stays,
    /// The device is to be erased, or is no longer a member.
    Ends,
}

impl Domain {
    /// No domain: a place for one.
    #[must_use]
    pub const fn empty() -> Self {
        Self { state: None, permits: None, keys: [const { None }; MAX_DOMAIN_KEYS] }
    }

    /// Becomes no domain; the keys are zeroised where they are.
    pub(crate) fn clear(&mut self) {
        *self = Self::empty(); // the old keys zeroise themselves
    }

    /// Becomes a copy of another domain, key by key, so that no secret is moved.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.state.clone_from(&other.state);
        for key in other.keys.iter().flatten() {
            // As many places as there: there is room.
            let _ = self.put_key(key.id, key.history, |own| *own = *key.key.expose());
        }
    }

    /// Whether there is a domain here.
    pub(crate) const fn exists(&self) -> bool {
        self.state.is_some()
    }

    /// The public state.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] if there is no domain.
    pub fn state(&self) -> Result<&DomainState, ErrorCode> {
        self.state.as_ref().ok_or(ErrorCode::INTERNAL)
    }

    /// The domain's id; zeros if there is none.
    #[must_use]
    pub fn id(&self) -> &DomainId {
        const NONE: DomainId = DomainId([0; 16]);
        self.state.as_ref().map_or(&NONE, |state| &state.domain)
    }

    /// The role of a host.
    pub(crate) fn role(&self, host: HostId) -> Option<Role> {
        self.state.as_ref()?.role(host)
    }

    /// What may be known outside.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] if there is no domain.
    #[allow(clippy::cast_possible_truncation)] // at most MAX_MEMBERS
    pub fn summary(&self) -> Result<DomainSummary, ErrorCode> {
        let state = self.state()?;
        Ok(DomainSummary {
            domain: state.domain,
            kind: state.kind,
            version: state.version,
            state: state.hash()?,
            active_key: state.active_key(),
            has_keys: self.has_keys(),
            members: state.members.len() as u8,
        })
    }

    /// The key that wraps new tokens, and its id.
    ///
    /// # Errors
    /// [`ErrorCode::KEYS_MISSING`] if the device has not received it yet.
    pub(crate) fn active_key(&self) -> Result<(u32, &Secret<32>), ErrorCode> {
        let id = self.state()?.active_key();
        Ok((id, self.key(id)?))
    }

    /// The key with this id.
    ///
    /// # Errors
    /// [`ErrorCode::KEYS_MISSING`] if the domain has it and this device does not yet;
    /// [`ErrorCode::TOKEN_INVALID`] if the domain has no such key.
    pub(crate) fn key(&self, id: u32) -> Result<&Secret<32>, ErrorCode> {
        if let Some(key) = self.keys.iter().flatten().find(|key| key.id == id) {
            return Ok(&key.key);
        }
        match self.state()?.keys.iter().any(|key| key.id == id) {
            true => Err(ErrorCode::KEYS_MISSING),
            false => Err(ErrorCode::TOKEN_INVALID),
        }
    }

    /// What is known of the key with this id, and so of all that it wraps.
    ///
    /// # Errors
    /// Those of [`Domain::key`].
    pub(crate) fn history(&self, id: u32) -> Result<History, ErrorCode> {
        self.key(id)?;
        let key = self.keys.iter().flatten().find(|key| key.id == id);
        Ok(key.ok_or(ErrorCode::TOKEN_INVALID)?.history)
    }

    /// Adds what the state says to the history of every key.
    fn note_history(&mut self) {
        let Some(facts) = self.state.as_ref().map(history_of) else { return };
        for key in self.keys.iter_mut().flatten() {
            key.history = key.history.and(facts);
        }
    }

    /// Whether every key of the domain is here.
    pub(crate) fn has_keys(&self) -> bool {
        let Some(state) = &self.state else { return false };
        state.keys.iter().all(|key| self.key(key.id).is_ok())
    }

    /// Becomes a new domain: the first state that its operators have signed, with a fresh key.
    ///
    /// # Errors
    /// [`ErrorCode::DOMAIN_STATE_INVALID`]; [`ErrorCode::CHANGE_INVALID`] if this device is not its
    /// one member and the maker of its one key; [`ErrorCode::CERTIFICATE_INVALID`]; those of
    /// [`DomainState::check_founding`]; [`ErrorCode::KIND_DENIED`].
    pub(crate) fn found(
        &mut self,
        state: &[u8],
        votes: &Votes,
        certificate: Option<&Certificate>,
        (own, kind): (&Identity, DeviceKind),
        rng: &mut dyn CryptoRng,
    ) -> Result<(), ErrorCode> {
        let state = DomainState::decode(state)?;
        let document = own.document();
        let device = own.device_id();
        let [member] = state.members.as_slice() else { return Err(ErrorCode::CHANGE_INVALID) };
        let is_own = member.signing == document.signing
            && member.join == document.join
            && state.keys.as_slice() == [DomainKeyEntry { id: 1, maker: device }];
        if !is_own {
            return Err(ErrorCode::CHANGE_INVALID);
        }
        match (&state.device_ca, certificate) {
            (None, None) => {}
            (Some(ca), Some(certificate)) if certificate.kind == member.kind => {
                certificate.verify_with(own.curve(), ca, document)?;
            }
            _ => return Err(ErrorCode::CERTIFICATE_INVALID),
        }
        check_kind(member.kind, kind)?;
        state.check_founding(votes, own.curve())?;
        self.clear();
        let facts = history_of(&state);
        self.state = Some(state);
        self.put_key(1, facts, |key| rng.fill_bytes(key))
    }

    /// Makes a change that the operators have signed; a domain key that this device has to make is
    /// drawn, and keys that the domain has no more are zeroised.
    ///
    /// # Errors
    /// Those of [`DomainState::decide`].
    pub(crate) fn change(
        &mut self,
        ballot: &Ballot<'_>,
        own: &Identity,
        rng: &mut dyn CryptoRng,
    ) -> Result<Fate, ErrorCode> {
        let outcome = self.state()?.decide(ballot, own.curve())?;
        let device = own.device_id();
        if outcome.zeroised == Some(device) || outcome.next.member(device).is_none() {
            return Ok(Fate::Ends);
        }
        for slot in &mut self.keys {
            let is_gone =
                |key: &DomainKey| outcome.next.keys.iter().all(|entry| entry.id != key.id);
            if slot.as_ref().is_some_and(is_gone) {
                *slot = None;
            }
        }
        self.permits = outcome.firmware;
        self.state = Some(outcome.next);
        self.note_history();
        let facts = history_of(self.state()?);
        match outcome.new_key {
            Some(key) if key.maker == device => {
                self.put_key(key.id, facts, |key| rng.fill_bytes(key))?;
            }
            _ => {}
        }
        Ok(Fate::Stays)
    }

    /// The firmware that the change that was made last permits, if it is about firmware.
    pub(crate) const fn permits(&self) -> Option<Measurement> {
        self.permits
    }

    /// Becomes what another member has exported; see [`super::transfer`].
    ///
    /// # Errors
    /// [`ErrorCode::DOMAIN_TOKEN_INVALID`] unless this device is a member of it and all keys are there;
    /// [`ErrorCode::KIND_DENIED`].
    pub(crate) fn join(
        &mut self,
        exported: &Self,
        own: &Identity,
        kind: DeviceKind,
    ) -> Result<(), ErrorCode> {
        let member = exported.own_member(own).ok_or(ErrorCode::DOMAIN_TOKEN_INVALID)?;
        if !exported.has_keys() {
            return Err(ErrorCode::DOMAIN_TOKEN_INVALID);
        }
        check_kind(member.kind, kind)?;
        self.copy_from(exported);
        Ok(())
    }

    /// Checks that this device is a member, with its own keys, and of a kind that it is.
    ///
    /// # Errors
    /// [`ErrorCode::CHANGE_INVALID`]; [`ErrorCode::KIND_DENIED`].
    pub(crate) fn check_own(&self, own: &Identity, kind: DeviceKind) -> Result<(), ErrorCode> {
        let member = self.own_member(own).ok_or(ErrorCode::CHANGE_INVALID)?;
        check_kind(member.kind, kind)
    }

    fn own_member(&self, own: &Identity) -> Option<&Member> {
        let document = own.document();
        let member = self.state.as_ref()?.member(own.device_id())?;
        let is_own = member.signing == document.signing && member.join == document.join;
        is_own.then_some(member)
    }

    /// Takes the keys that are missing here from what another member has exported.
    ///
    /// # Errors
    /// [`ErrorCode::DOMAIN_TOKEN_INVALID`] if its state is another.
    pub(crate) fn receive(&mut self, exported: &Self) -> Result<(), ErrorCode> {
        if exported.state != self.state {
            return Err(ErrorCode::DOMAIN_TOKEN_INVALID);
        }
        for key in exported.keys.iter().flatten() {
            if self.key(key.id).err() == Some(ErrorCode::KEYS_MISSING) {
                self.put_key(key.id, key.history, |own| *own = *key.key.expose())?;
            }
        }
        Ok(())
    }

    /// Fills a key in, where it stays.
    fn put_key(
        &mut self,
        id: u32,
        history: History,
        fill: impl FnOnce(&mut [u8; 32]),
    ) -> Result<(), ErrorCode> {
        let slot = self.keys.iter_mut().find(|slot| slot.is_none()).ok_or(ErrorCode::INTERNAL)?;
        fill(slot.insert(DomainKey { id, history, key: Secret::zeroed() }).key.expose_mut());
        Ok(())
    }

    /// Loads the domain, or none if the device belongs to none.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`] if the record is damaged; there is no domain here then.
    pub(crate) fn load<P: Platform>(
        &mut self,
        platform: &mut P,
        own: Option<&Identity>,
    ) -> Result<(), ErrorCode> {
        let mut buffer = record::buffer();
        let Some(stored) = record::read(platform, RecordId::DOMAIN, &mut buffer)? else {
            self.clear();
            return Ok(());
        };
        let read = match stored.first() {
            Some(&v1::VERSION) => {
                let mut hosts = record::buffer();
                let hosts = record::read(platform, RecordId::HOSTS, &mut hosts)?;
                v1::read(self, stored, hosts.unwrap_or_default())
            }
            _ => self.read(stored),
        };
        let is_member = self
            .state
            .as_ref()
            .zip(own)
            .is_some_and(|(state, own)| state.member(own.device_id()).is_some());
        match (read, is_member) {
            (Some(()), true) => Ok(()),
            _ => {
                self.clear();
                Err(ErrorCode::STORAGE_FAILED)
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
        let encoded = buffer.get(..length).ok_or(ErrorCode::INTERNAL)?;
        record::write(platform, rng, RecordId::DOMAIN, encoded)
    }

    /// Writes the encoded domain, secrets in the clear, and returns its length. The caller zeroises or
    /// encrypts `out`.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is shorter than [`MAX_ENCODED`] and the domain needs it.
    pub(crate) fn write(&self, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let mut writer = Writer { out, end: 0 };
        let keys = self.keys.iter().flatten();
        let count = u8::try_from(keys.clone().count()).map_err(|_| ErrorCode::INTERNAL)?;
        writer.put(&[&[VERSION, count]])?;
        for key in keys {
            writer.put(&[&key.id.to_le_bytes(), &[key.history.bits()], key.key.expose()])?;
        }
        let mut public = [0; MAX_PUBLIC];
        writer.put(&[self.state()?.encode(&mut public)?])?;
        Ok(writer.end)
    }

    /// Becomes an encoded domain; `None` for any other layout, and there is no domain here then.
    pub(crate) fn read(&mut self, encoded: &[u8]) -> Option<()> {
        self.clear();
        let read = self.read_fields(encoded);
        if read.is_none() {
            self.clear();
        }
        read
    }

    fn read_fields(&mut self, encoded: &[u8]) -> Option<()> {
        let mut rest = encoded;
        let input = &mut rest;
        let [VERSION, keys] = *take(input)? else { return None };
        for _ in 0..keys {
            let id = u32::from_le_bytes(*take(input)?);
            let [history] = *take(input)?;
            let key = take(input)?;
            self.put_key(id, History::from_bits(history)?, |own| *own = *key).ok()?;
        }
        self.state = Some(DomainState::decode(rest).ok()?);
        let is_of_domain = |key: &DomainKey| {
            self.state
                .as_ref()
                .is_some_and(|state| state.keys.iter().any(|entry| entry.id == key.id))
        };
        self.keys.iter().flatten().all(is_of_domain).then_some(())?;
        // What the state says is true whatever was written.
        self.note_history();
        Some(())
    }

    /// Whether a device is a member.
    #[must_use]
    pub fn has_member(&self, device: DeviceId) -> bool {
        self.state.as_ref().is_some_and(|state| state.member(device).is_some())
    }
}

#[cfg(any(test, feature = "test-platform"))]
impl Domain {
    /// A development domain of this one device, for tests of what is under its key: nobody has founded it.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn for_tests(own: &Identity, rng: &mut dyn CryptoRng) -> Result<Self, ErrorCode> {
        use hsm_protocol::domain::{Operator, OperatorRole, Rules};
        use hsm_protocol::identity::IdentityDocument;

        let IdentityDocument { signing, join, .. } = *own.document();
        let operator = Operator { key: signing, role: OperatorRole::Development };
        let member = Member { signing, join, kind: DeviceKind::Emulated };
        let mut state = DomainState {
            domain: DomainId([0; 16]),
            name: heapless::String::new(),
            kind: Kind::Development,
            version: 1,
            previous: [0; 32],
            operators: [operator].into_iter().collect(),
            rules: Rules::uniform(1),
            device_ca: None,
            members: [member].into_iter().collect(),
            keys: [DomainKeyEntry { id: 1, maker: own.device_id() }].into_iter().collect(),
            hosts: heapless::Vec::new(),
            peers: heapless::Vec::new(),
            roots: heapless::Vec::new(),
            recovery: None,
        };
        state.domain = state.founding_id()?;
        let mut domain = Self::empty();
        let facts = history_of(&state);
        domain.state = Some(state);
        domain.put_key(1, facts, |key| rng.fill_bytes(key))?;
        Ok(domain)
    }
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

/// A buffer for an encoded domain; zeroised on drop.
pub(crate) fn buffer() -> Zeroizing<[u8; MAX_ENCODED]> {
    Zeroizing::new([0; MAX_ENCODED])
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.state.as_ref().map_or(0, |state| state.version);
        write!(f, "Domain({}, version {version})", self.id())
    }
}
