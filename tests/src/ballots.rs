//! Domains of the tests: founded and changed without files.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use host_driver::OperatorKey;
use host_driver::ceremony::{self, Ledger};
use hsm_protocol::DomainId;
use hsm_protocol::Role;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{
    Change, DeviceKind, DomainKeyEntry, DomainState, Host, Kind, Member, OperatorRole, Rules,
    signed_message,
};
use hsm_protocol::identity::{IdentityDocument, PublicKey};

/// Ballots in memory.
#[derive(Debug, Default)]
pub struct Ballots(Mutex<BTreeMap<(DomainId, u32), Vec<u8>>>);

impl Ledger for Ballots {
    fn keep(&self, domain: DomainId, version: u32, ballot: &[u8]) -> io::Result<()> {
        let mut kept = self.0.lock().expect("no panic");
        match kept.entry((domain, version)).or_insert_with(|| ballot.to_vec()) == ballot {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn ballot(&self, domain: DomainId, version: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("no panic").get(&(domain, version)).cloned())
    }

    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()> {
        self.0.lock().expect("no panic").remove(&(domain, version));
        Ok(())
    }
}

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
    let device = identity.device_id();
    let (signing, join) = (identity.signing, identity.join);
    let member = Member { signing, join, kind: DeviceKind::Emulated };
    let mut state = DomainState {
        domain: DomainId([0; 16]),
        name: "tests".try_into().expect("a short name"),
        kind: Kind::Development,
        version: 1,
        previous: [0; 32],
        operators: [operator.operator(OperatorRole::Development)].into_iter().collect(),
        rules: Rules { emulated_members: true, ..Rules::uniform(1) },
        device_ca: None,
        members: [member].into_iter().collect(),
        keys: [DomainKeyEntry { id: 1, maker: device }].into_iter().collect(),
        hosts: hosts.iter().map(|&(key, role)| Host { key, role }).collect(),
        peers: Default::default(),
        roots: Default::default(),
        recovery: None,
    };
    state.domain = state.founding_id().expect("it is short");
    let message = signed_message(&[], &state.hash().expect("it is short"));
    (state, [operator.sign(&message).expect("signed")].into_iter().collect())
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
