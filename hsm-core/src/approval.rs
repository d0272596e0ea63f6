//! Requests that wait for operators' approval, and those that have it.
//!
//! A request is kept in RAM only, so that no used approval comes back with an old image of the flash, and a
//! use costs no write. It is for one host and one use. It ends with the boot, after [`VALIDITY_US`], and
//! with every change of the domain, since someone who has approved may no longer be an operator.

use heapless::Vec;
use hsm_protocol::approval::{Challenge, RequestDigest};
use hsm_protocol::command::approval::ApprovalRequest;
use hsm_protocol::domain::DomainState;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::token::KeyAttributes;
use hsm_protocol::{ErrorCode, HostId, MaterialId, Opcode};

/// Requests kept.
const SLOTS: usize = 8;
/// Microseconds after which a request is forgotten: 24 hours.
const VALIDITY_US: u64 = 24 * 3_600_000_000;

/// The requests, oldest first.
pub(crate) struct Approvals(Vec<Slot, SLOTS>);

struct Slot {
    asked: ApprovalRequest,
    since: u64,
    is_approved: bool,
}

impl Approvals {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps a request. If there is no room, the oldest of the same host gives way, and of a host that has
    /// none the oldest of all: so a host that asks and asks takes its own places only.
    pub(crate) fn ask(&mut self, asked: ApprovalRequest, now: u64) -> Result<(), ErrorCode> {
        self.expire(now);
        if self.0.is_full() {
            let own = self.0.iter().position(|slot| slot.asked.host == asked.host);
            self.remove(own.unwrap_or(0));
        }
        let slot = Slot { asked, since: now, is_approved: false };
        self.0.push(slot).map_err(|_| ErrorCode::INTERNAL)
    }

    /// Takes operators' signatures for a request; returns the material that it is about.
    ///
    /// # Errors
    /// [`ErrorCode::APPROVAL_UNKNOWN`]; [`ErrorCode::QUORUM_MISSING`], [`ErrorCode::SIGNATURE_INVALID`]: the
    /// request still waits.
    pub(crate) fn approve(
        &mut self,
        challenge: &Challenge,
        votes: &Votes,
        state: &DomainState,
        now: u64,
    ) -> Result<MaterialId, ErrorCode> {
        self.expire(now);
        let slot = self.0.iter_mut().find(|slot| slot.asked.challenge == *challenge);
        let slot = slot.ok_or(ErrorCode::APPROVAL_UNKNOWN)?;
        state.check_votes(votes, &slot.asked.message(), slot.asked.rule)?;
        slot.is_approved = true;
        Ok(slot.asked.material)
    }

    /// Uses an approval up: of this very request, by this host, for this key and its rule as it is now.
    ///
    /// # Errors
    /// [`ErrorCode::APPROVAL_REQUIRED`] if there is none.
    pub(crate) fn claim(
        &mut self,
        host: Option<HostId>,
        key: &KeyAttributes,
        (opcode, request): (Opcode, &RequestDigest),
        now: u64,
    ) -> Result<(), ErrorCode> {
        self.expire(now);
        let is_it = |Slot { asked, is_approved, .. }: &Slot| {
            *is_approved
                && Some(asked.host) == host
                && Some(asked.rule) == key.approval
                && (asked.domain, asked.key, asked.material) == (key.domain, key.key, key.material)
                && (asked.opcode, &asked.request) == (opcode, request)
        };
        let place = self.0.iter().position(is_it).ok_or(ErrorCode::APPROVAL_REQUIRED)?;
        self.remove(place);
        Ok(())
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets one, and keeps the order of the others.
    fn remove(&mut self, place: usize) {
        let mut places = 0..;
        self.0.retain(|_| places.next() != Some(place));
    }

    fn expire(&mut self, now: u64) {
        self.0.retain(|slot| now.saturating_sub(slot.since) < VALIDITY_US);
    }
}

#[cfg(test)]
mod tests;
