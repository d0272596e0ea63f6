//! Decides who may shake hands: issues a challenge, and holds the keys with which enrolled hosts
//! prove themselves.
//!
//! A stranger's message is refused for the price of some hashes, before any scalar multiplication,
//! and an accepted message is not accepted again. See [`hsm_protocol::channel::AdmissionKey`].

use hsm_protocol::channel::{
    ADMISSION_SIZE, AdmissionKey, AdmissionTag, CHALLENGE_SIZE, Challenge, HANDSHAKE_1_SIZE,
    MESSAGE_1_SIZE, MessageHash,
};
use hsm_protocol::domain::{Host, MAX_HOSTS};
use hsm_protocol::{ErrorCode, HostId};
use rand_core::CryptoRng;

use crate::keystore::identity::Identity;

/// Microseconds after which another challenge is drawn. The one before holds for as long again, so
/// that a host has at least this long to answer.
const LIFETIME_US: u64 = 10_000_000;
/// Handshakes of a challenge; with the next one another challenge is drawn, and no old one holds.
/// Far above what enrolled hosts do, and nobody else's count.
const MAX_TAKEN: usize = 32;

/// A challenge, and the tags that were taken for it. All of it is initialised: what is not would
/// bring along what the stack held where it was made.
struct Question {
    challenge: Challenge,
    taken: [AdmissionTag; MAX_TAKEN],
    count: usize,
}

impl Question {
    const fn new(challenge: Challenge) -> Self {
        Self { challenge, taken: [[0; ADMISSION_SIZE]; MAX_TAKEN], count: 0 }
    }

    fn has_taken(&self, tag: &AdmissionTag) -> bool {
        self.taken.iter().take(self.count).any(|taken| taken == tag)
    }

    /// Notes a tag; false if there is no room for it.
    fn note(&mut self, tag: &AdmissionTag) -> bool {
        let Some(free) = self.taken.get_mut(self.count) else { return false };
        *free = *tag;
        self.count = self.count.saturating_add(1);
        true
    }
}

/// Challenges, and a key for each enrolled host.
pub(crate) struct Admission {
    /// The one to answer now, and when it was drawn, in microseconds since boot.
    current: Option<(u64, Question)>,
    previous: Option<Question>,
    /// Derived when a handshake first needs them: the only scalar multiplications here, one for
    /// each enrolled host after a boot. In the order of the domain's hosts.
    keys: [Option<(HostId, AdmissionKey)>; MAX_HOSTS],
}

impl Admission {
    pub(crate) const fn new() -> Self {
        Self { current: None, previous: None, keys: [const { None }; MAX_HOSTS] }
    }

    /// The challenge to answer now.
    pub(crate) fn challenge(&mut self, now_us: u64, rng: &mut dyn CryptoRng) -> Challenge {
        self.expire(now_us);
        if let Some((since, question)) = &self.current
            && now_us.saturating_sub(*since) < LIFETIME_US
        {
            return question.challenge;
        }
        let mut challenge = [0; CHALLENGE_SIZE];
        rng.fill_bytes(&mut challenge);
        let next = (now_us, Question::new(challenge));
        self.previous = self.current.replace(next).map(|(_, question)| question);
        challenge
    }

    /// Takes the payload of a first handshake frame apart: message 1, if an enrolled host has
    /// answered a challenge for it, and for the first time.
    ///
    /// # Errors
    /// [`ErrorCode::HANDSHAKE_FAILED`].
    pub(crate) fn take<'m>(
        &mut self,
        payload: &'m [u8],
        now_us: u64,
        hosts: &[Host],
        own: &Identity,
    ) -> Result<&'m [u8; MESSAGE_1_SIZE], ErrorCode> {
        let (message, tag) = split(payload).ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        self.expire(now_us);
        self.derive_keys(hosts, own)?;
        let hash = MessageHash::of(message);
        let Self { current, previous, keys } = self;
        let is_right = |question: &Question| {
            // Every key is tried, so that time does not tell which host it was.
            keys.iter().flatten().fold(false, |is_right, (_, key)| {
                is_right | key.admits(&question.challenge, &hash, tag)
            })
        };
        let questions = current.iter_mut().map(|(_, question)| question).chain(previous.iter_mut());
        let question = questions.into_iter().find(|question| is_right(question));
        let question = question.ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        if question.has_taken(tag) {
            return Err(ErrorCode::HANDSHAKE_FAILED);
        }
        if !question.note(tag) {
            (*current, *previous) = (None, None);
        }
        Ok(message)
    }

    /// Forgets challenges and keys.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Drops challenges that have had their time.
    fn expire(&mut self, now_us: u64) {
        let Some((since, _)) = &self.current else { return };
        let age = now_us.saturating_sub(*since);
        if age >= LIFETIME_US {
            self.previous = None;
        }
        if age >= LIFETIME_US.saturating_mul(2) {
            self.current = None;
        }
    }

    /// Derives what is missing, and drops the keys of hosts that are gone.
    fn derive_keys(&mut self, hosts: &[Host], own: &Identity) -> Result<(), ErrorCode> {
        let hosts = hosts.iter().map(Some).chain(core::iter::repeat(None));
        for (slot, host) in self.keys.iter_mut().zip(hosts) {
            let id = host.map(|host| host.key.host_id());
            match host {
                Some(host) if slot.as_ref().map(|(of, _)| *of) != id => {
                    let key = AdmissionKey::of_device(own.curve(), own.link(), &host.key)?;
                    *slot = Some((host.key.host_id(), key));
                }
                Some(_) => {}
                None => *slot = None,
            }
        }
        Ok(())
    }
}

fn split(payload: &[u8]) -> Option<(&[u8; MESSAGE_1_SIZE], &AdmissionTag)> {
    let payload: &[u8; HANDSHAKE_1_SIZE] = payload.try_into().ok()?;
    let (message, tag) = payload.split_first_chunk()?;
    Some((message, tag.try_into().ok()?))
}
