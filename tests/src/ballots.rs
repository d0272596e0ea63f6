//! Domains for tests, founded and changed without files.

use host_driver::OperatorKey;
use host_driver::ceremony;
use host_driver::provision::development_domain;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Ballot, Change, DeviceKind, DomainState, Member, Proposal, signed_message,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey};
use hsm_protocol::{Bytes, Role};

/// The first state of a development domain, and its operator's signature.
///
/// # Panics
/// If there are more hosts than a domain has.
#[must_use]
pub fn first_state(
    operator: &OperatorKey,
    identity: &IdentityDocument,
    hosts: &[(PublicKey, Role)],
) -> (DomainState, Votes) {
    let (signing, join) = (identity.signing, identity.join);
    let member = Member { signing, join, kind: DeviceKind::Emulated };
    development_domain("tests", &member, operator, hosts).expect("it is short")
}

/// The ballot for changes of a state, signed by one operator, and the state that it leads to.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn ballot(
    operator: &OperatorKey,
    state: &DomainState,
    changes: &[Change<'_>],
) -> (Vec<u8>, DomainState) {
    let proposed = ceremony::propose(state, changes).expect("it can be made");
    let vote = operator.sign(&proposed.message).expect("signed");
    (proposed.ballot(&[vote]).expect("one signature"), proposed.outcome.next)
}

/// The ballot for changes of a state that no tool would propose, signed by these operators as if it led to
/// `next`: if a device does not refuse it for what it is, it makes it.
///
/// # Panics
/// If there are more signatures than a domain has operators.
#[must_use]
pub fn forced(
    operators: &[&OperatorKey],
    state: &DomainState,
    changes: &[Change<'_>],
    next: Option<&DomainState>,
) -> Vec<u8> {
    let mut encoded = Vec::new();
    for change in changes {
        encoded = postcard::to_extend(change, encoded).expect("it has an encoding");
    }
    let hash = |state: &DomainState| state.hash().expect("it is short");
    let (domain, version) = (state.domain, state.version + 1);
    let proposal = Proposal { domain, version, previous: hash(state), changes: Bytes(&encoded) };
    let proposal = postcard::to_extend(&proposal, Vec::new()).expect("it has an encoding");
    let message = signed_message(&proposal, &next.map_or([0; 32], hash));
    let votes = operators.iter().map(|operator| operator.sign(&message).expect("signed"));
    let votes: Vec<_> = votes.collect();
    let votes = Votes::from_slice(&votes).expect("as many as there are");
    let ballot = Ballot { proposal: Bytes(&proposal), votes };
    postcard::to_extend(&ballot, Vec::new()).expect("it has an encoding")
}
