//! Requests that wait for the approval of operators, and approved requests.
//!
//! Requests are kept in RAM only, so an old image of the flash cannot bring a used approval back,
//! and using an approval costs no flash write. An approval is for one host and one use. Requests
//! are lost when the device restarts, after [`VALIDITY_US`], and with every change of the domain,
//! since an operator who approved may have been removed.

use heapless::Vec;
use hsm_protocol::approval::{Challenge, RequestDigest};
use hsm_protocol::command::approval::ApprovalRequest;
use hsm_protocol::curve::Curve;
use hsm_protocol::domain::DomainState;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::token::KeyAttributes;
use hsm_protocol::{ErrorCode, HostId, MaterialId, Opcode};

/// Most requests kept at a time.
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

    /// Keeps a request. If there is no room, the new request replaces the oldest request of the
    /// same host, or the oldest of all if this host has none. A host that asks repeatedly therefore
    /// displaces only its own requests.
    pub(crate) fn ask(&mut self, asked: ApprovalRequest, now: u64) -> Result<(), ErrorCode> {
        self.expire(now);
        if self.0.is_full() {
            let own = self.0.iter().position(|slot| slot.asked.host == asked.host);
            self.remove(own.unwrap_or(0));
        }
        let slot = Slot { asked, since: now, is_approved: false };
        self.0.push(slot).map_err(|_| ErrorCode::INTERNAL)
    }

    /// Takes operators' signatures for a request, and returns the key material that the request is
    /// about.
    ///
    /// # Errors
    /// [`ErrorCode::APPROVAL_UNKNOWN`] if the request is not kept; [`ErrorCode::QUORUM_MISSING`] or
    /// [`ErrorCode::SIGNATURE_INVALID`] if the signatures do not suffice: the request then still
    /// waits.
    pub(crate) fn approve(
        &mut self,
        challenge: &Challenge,
        votes: &Votes,
        (state, curve): (&DomainState, &impl Curve),
        now: u64,
    ) -> Result<MaterialId, ErrorCode> {
        self.expire(now);
        let slot = self.0.iter_mut().find(|slot| slot.asked.challenge == *challenge);
        let slot = slot.ok_or(ErrorCode::APPROVAL_UNKNOWN)?;
        state.check_votes(votes, &slot.asked.message(), slot.asked.rule, curve)?;
        slot.is_approved = true;
        Ok(slot.asked.material)
    }

    /// Uses up the approval of exactly this request, by this host, for this key and its present
    /// rule.
    ///
    /// # Errors
    /// [`ErrorCode::APPROVAL_REQUIRED`] if there is no such approval.
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

    /// Forgets all requests.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets one request, and keeps the order of the others.
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
