//! Domains of the tests: founded and changed without files.

use host_driver::OperatorKey;
use host_driver::ceremony;
use host_driver::provision::development_domain;
use hsm_protocol::Role;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{Change, DeviceKind, DomainState, Member};
use hsm_protocol::identity::{IdentityDocument, PublicKey};

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
