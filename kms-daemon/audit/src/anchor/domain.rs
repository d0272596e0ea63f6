//! A domain as a trust anchor: the word of its members counts.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host_driver::ceremony::Ledger;
use hsm_protocol::Role;
use hsm_protocol::command::decode;
use hsm_protocol::curve::Portable;
use hsm_protocol::domain::{Ballot, DomainState, MAX_STATE};
use serde::{Deserialize, Serialize};

use super::{AnchorError, Trusted};
use kms_base::hex;
use kms_ceremony::ledger::Ballots;

/// A state of a domain, which its operators have signed: its members vouch for logs of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DomainAnchor {
    /// When this was written, by the clock of the machine.
    pub written: String,
    /// The Region that it serves.
    pub region: String,
    /// The domain.
    pub domain: String,
    /// Version of the state.
    pub version: u32,
    /// Its hash: what operators compare with what they have signed.
    pub state_hash: String,
    /// The state as devices encode it, in Base64.
    state: String,
    /// The state that changes since have led to.
    #[serde(skip)]
    latest: Option<Box<DomainState>>,
}

impl DomainAnchor {
    /// Of a state as it is now.
    ///
    /// # Errors
    /// [`hsm_protocol::ErrorCode::TOO_LARGE`] only.
    pub fn of(
        state: &DomainState,
        region: &str,
        written: String,
    ) -> Result<Self, hsm_protocol::ErrorCode> {
        let mut buffer = [0; MAX_STATE];
        Ok(Self {
            written,
            region: region.to_owned(),
            domain: state.domain.to_string(),
            version: state.version,
            state_hash: hex::encode(&state.hash()?),
            state: STANDARD.encode(state.encode(&mut buffer)?),
            latest: None,
        })
    }

    /// The state, if the members of the file fit one another.
    pub(super) fn open(&self) -> Option<DomainState> {
        let state = DomainState::decode(&STANDARD.decode(&self.state).ok()?).ok()?;
        let fits = state.domain.to_string() == self.domain
            && state.version == self.version
            && hex::encode(&state.hash().ok()?) == self.state_hash;
        fits.then_some(state)
    }

    /// Follows the changes of the domain that are kept in a data directory: each has to be signed by as
    /// many operators as the state before asks for. Without any, the state of the file counts.
    ///
    /// # Errors
    /// [`AnchorError::Ballot`] if one is there that the operators have not signed.
    pub(super) fn follow(&mut self, data: &Path) -> Result<(), AnchorError> {
        let Some(mut state) = self.open() else { return Ok(()) };
        let ballots = Ballots::of_data(data, &self.region);
        loop {
            let version = state.version.saturating_add(1);
            let refused = |reason: String| AnchorError::Ballot { version, reason };
            let found = ballots.ballot(state.domain, version);
            let Some(bytes) = found.map_err(|error| refused(error.to_string()))? else { break };
            let ballot: Ballot<'_> = decode(&bytes).map_err(|code| refused(code.to_string()))?;
            state =
                state.decide(&ballot, &Portable).map_err(|code| refused(code.to_string()))?.next;
        }
        self.latest = Some(Box::new(state));
        Ok(())
    }

    /// Version of the state that counts.
    #[must_use]
    pub fn latest_version(&self) -> u32 {
        self.latest.as_ref().map_or(self.version, |state| state.version)
    }

    pub(super) fn trusted(&self) -> Vec<Trusted> {
        let state = self.latest.as_deref().cloned().or_else(|| self.open());
        let Some(state) = state else { return Vec::new() };
        let hosts = state.hosts.iter().filter(|host| host.role == Role::CryptoUser);
        let hosts: Vec<_> = hosts.map(|host| host.key.host_id()).collect();
        let of_member = |member: &hsm_protocol::domain::Member| {
            let (device, signing) = (member.device_id(), member.signing);
            let of_host = move |host: &_| Trusted {
                device,
                signing,
                host: *host,
                checkpoint: 0,
                hash: [0; 32],
            };
            hosts.iter().map(of_host).collect::<Vec<_>>()
        };
        state.members.iter().flat_map(of_member).collect()
    }
}
