//! Open sessions: the host at the other end, and the keys of the channel.

use hsm_protocol::channel::Keys;
use hsm_protocol::{HostId, Role};

/// Sessions a device can have. A host that crashed leaves one behind; the one unused for longest
/// gives way to a new one.
pub const MAX_SESSIONS: usize = 4;

/// An open session.
pub struct Session {
    /// In the header of its frames; never 0.
    pub id: u16,
    /// The host key.
    pub host: HostId,
    /// Its role when the session was opened. Changing the role ends the session.
    pub role: Role,
    /// The channel.
    pub keys: Keys,
    /// When a record last opened, in units of [`Sessions::clock`].
    used: u64,
}

/// The session table. A session that goes takes its keys along; they zeroise themselves.
pub struct Sessions {
    slots: [Option<Session>; MAX_SESSIONS],
    last_id: u16,
    /// Counts uses, to find the session unused for longest.
    clock: u64,
}

impl Sessions {
    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [const { None }; MAX_SESSIONS], last_id: 0, clock: 0 }
    }

    /// An id that no open session has.
    pub fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && self.slots.iter().flatten().all(|s| s.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Adds a session, in the place of the one unused for longest if the table is full.
    pub fn open(&mut self, id: u16, host: HostId, role: Role, keys: Keys) {
        let used = self.tick();
        let slot = self.slots.iter_mut().min_by_key(|slot| slot.as_ref().map(|s| s.used));
        if let Some(slot) = slot {
            *slot = Some(Session { id, host, role, keys, used });
        }
    }

    /// The session with this id.
    pub fn find(&mut self, id: u16) -> Option<&mut Session> {
        let now = self.tick();
        let session = self.slots.iter_mut().flatten().find(|session| session.id == id)?;
        session.used = now;
        Some(session)
    }

    /// Ends sessions for which `ends` is true.
    pub fn close(&mut self, mut ends: impl FnMut(&Session) -> bool) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(&mut ends) {
                *slot = None;
            }
        }
    }

    /// Whether the next session takes the place of another.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    /// Number of open sessions.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // at most MAX_SESSIONS
    pub fn count(&self) -> u8 {
        self.slots.iter().flatten().count() as u8
    }

    fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use hsm_protocol::channel::{Initiator, Responder, Welcome};
    use hsm_protocol::curve::{KeyPair, Portable};

    use super::*;

    fn keys() -> Keys {
        let mut rng = crate::testing::TestRng(1);
        let mut pair = || KeyPair::generate(&Portable, &mut rng).unwrap();
        let (host, device) = (pair(), pair());
        let (_, message) = Initiator::start(host.secret(), &device.public(), &mut rng).unwrap();
        let responder = Responder::read(&Portable, &device, &message).unwrap();
        responder.accept(&Portable, Welcome { session: 1 }, &mut rng).unwrap().0
    }

    #[test]
    fn the_longest_unused_session_gives_way() {
        let mut sessions = Sessions::new();
        for _ in 0..MAX_SESSIONS {
            let id = sessions.next_id();
            sessions.open(id, HostId([0; 16]), Role::CryptoUser, keys());
        }
        assert!(sessions.find(1).is_some());
        let id = sessions.next_id();
        sessions.open(id, HostId([0; 16]), Role::CryptoUser, keys());
        assert!(sessions.find(1).is_some(), "used lately");
        assert!(sessions.find(2).is_none(), "unused for longest");
        assert_eq!(usize::from(sessions.count()), MAX_SESSIONS);
    }

    #[test]
    fn ids_are_never_zero_nor_shared() {
        let mut sessions = Sessions::new();
        sessions.last_id = u16::MAX - 1;
        let id = sessions.next_id();
        assert_eq!(id, u16::MAX);
        sessions.open(1, HostId([0; 16]), Role::Auditor, keys());
        assert_eq!(sessions.next_id(), 2);
    }
}
