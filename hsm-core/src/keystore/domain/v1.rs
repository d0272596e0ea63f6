//! Layout 1, of devices that a single host ruled.
//!
//! ```text
//! domain: version u8 = 1 | domain [16] | domain version u32 LE | 0 [3]
//!   | active key u32 LE | keys u8 | keys × (id u32 LE, key [32])
//!   | members u8 | members × (signing [33], link [33], join [33], signature [64])
//! hosts:  version u8 = 2 | count u8 | count × (role u8, key [33])
//! ```
//! Such a domain becomes a development domain: its provisioners are its operators, as their keys lie
//! beside the data, and its other hosts stay its hosts.

use heapless::{String, Vec};
use hsm_protocol::bytes::take;
use hsm_protocol::domain::{
    DeviceKind, DomainKeyEntry, DomainState, Host, Kind, Member, Operator, OperatorRole, Rules,
};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::token::History;
use hsm_protocol::{DomainId, Role};

use super::Domain;

pub(super) const VERSION: u8 = 1;
const HOSTS_VERSION: u8 = 2;
const PROVISIONER: u8 = 1;
const CRYPTO_USER: u8 = 2;
const AUDITOR: u8 = 3;

/// Becomes the domain of two old records; `None` if they are malformed, or if no provisioner's key is known.
pub(super) fn read(domain: &mut Domain, stored: &[u8], hosts: &[u8]) -> Option<()> {
    domain.clear();
    let read = read_fields(domain, stored, hosts);
    if read.is_none() {
        domain.clear();
    }
    read
}

fn read_fields(domain: &mut Domain, stored: &[u8], hosts: &[u8]) -> Option<()> {
    let mut rest = stored;
    let input = &mut rest;
    let [VERSION] = take(input)? else { return None };
    let id = DomainId(*take(input)?);
    let version = u32::from_le_bytes(*take(input)?);
    let [0, 0, 0] = take(input)? else { return None };
    let active = u32::from_le_bytes(*take(input)?);
    let [count] = *take(input)?;
    let mut ids: Vec<u32, { super::MAX_DOMAIN_KEYS }> = Vec::new();
    for _ in 0..count {
        let id = u32::from_le_bytes(*take(input)?);
        let key = take(input)?;
        domain.put_key(id, History::UNKNOWN, |own| *own = *key).ok()?;
        ids.push(id).ok()?;
    }
    let mut members = Vec::new();
    let [count] = *take(input)?;
    for _ in 0..count {
        let (signing, _, join) = (key(input)?, key(input)?, key(input)?);
        let _signature: &[u8; 64] = take(input)?;
        let kind = DeviceKind::Emulated; // nobody has said what it is
        members.push(Member { signing, join, kind }).ok()?;
    }
    let maker = members.first()?.device_id();
    let keys = ids.iter().map(|id| DomainKeyEntry { id: *id, maker }).collect();
    let (operators, hosts) = read_hosts(hosts)?;
    let state = DomainState {
        domain: id,
        name: String::new(),
        kind: Kind::Development,
        version,
        // The states before are not known; version 1 has none.
        previous: if version == 1 { [0; 32] } else { [1; 32] },
        operators,
        rules: Rules::uniform(1),
        device_ca: None,
        members,
        keys,
        hosts,
        peers: Vec::new(),
        roots: Vec::new(),
        recovery: None,
    };
    let is_sound = rest.is_empty() && state.check().is_ok() && state.active_key() == active;
    domain.state = Some(state);
    domain.note_history();
    is_sound.then_some(())
}

type Operators = Vec<Operator, { hsm_protocol::domain::MAX_OPERATORS }>;
type Hosts = Vec<Host, { hsm_protocol::domain::MAX_HOSTS }>;

fn read_hosts(stored: &[u8]) -> Option<(Operators, Hosts)> {
    let mut rest = stored;
    let input = &mut rest;
    let [HOSTS_VERSION, count] = *take(input)? else { return None };
    let (mut operators, mut hosts) = (Operators::new(), Hosts::new());
    for _ in 0..count {
        let [role] = *take(input)?;
        let key = key(input)?;
        if key.tag == 0 {
            continue; // known by its fingerprint only
        }
        match role {
            PROVISIONER => {
                let role = OperatorRole::Development;
                operators.push(Operator { key, role }).ok()?;
            }
            CRYPTO_USER => hosts.push(Host { key, role: Role::CryptoUser }).ok()?,
            AUDITOR => hosts.push(Host { key, role: Role::Auditor }).ok()?,
            _ => return None,
        }
    }
    rest.is_empty().then_some((operators, hosts))
}

fn key(input: &mut &[u8]) -> Option<PublicKey> {
    let [tag] = *take(input)?;
    Some(PublicKey { tag, x: *take(input)? })
}
