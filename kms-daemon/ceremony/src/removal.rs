//! Ballots that remove domain keys.

use hsm_protocol::DomainId;
use hsm_protocol::command::decode;
use hsm_protocol::domain::{Ballot, Change, Proposal};

/// The domain keys that a ballot removes.
#[must_use]
pub fn removed_keys(ballot: &[u8]) -> Vec<u32> {
    removed(ballot).map(|(_, keys)| keys).unwrap_or_default()
}

/// The domain, and its keys that a ballot removes. One that cannot be read removes none: the device refuses it.
#[must_use]
pub fn removed(ballot: &[u8]) -> Option<(DomainId, Vec<u32>)> {
    let ballot: Ballot<'_> = decode(ballot).ok()?;
    let proposal = Proposal::decode(ballot.proposal.0).ok()?;
    let changes = proposal.changes().filter_map(Result::ok);
    let keys: Vec<u32> = changes
        .filter_map(|change| match change {
            Change::RemoveKey(id) => Some(id),
            _ => None,
        })
        .collect();
    (!keys.is_empty()).then_some((proposal.domain, keys))
}
