//! `kmsctl hsm hosts`, `enrol` and `remove`: the hosts that use the devices of a domain.

use hsm_protocol::Role;
use hsm_protocol::domain::{Change, Host, Kind};
use hsm_protocol::identity::PublicKey;
use serde::Serialize;

use super::{Failure, Outcome, Output, Target, confirm};

#[derive(Serialize)]
struct HostRow {
    fingerprint: String,
    role: String,
    /// Whether it is the one that asks.
    this: bool,
}

#[derive(Serialize)]
struct Hosts {
    device: String,
    domain: String,
    kind: Kind,
    version: u32,
    hosts: Vec<HostRow>,
}

pub(in super::super) fn hosts(
    target: &Target,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let (device, own) = target.open(&reached)?;
    let state = device.domain_state()?;
    let row = |host: &Host| HostRow {
        fingerprint: host.key.host_id().to_string(),
        role: format!("{:?}", host.role),
        this: host.key.host_id() == own,
    };
    let list = Hosts {
        device: device.id().to_string(),
        domain: state.domain.to_string(),
        kind: state.kind,
        version: state.version,
        hosts: state.hosts.iter().map(row).collect(),
    };
    output.print(&list, |out, list| {
        writeln!(out, "device {}", list.device)?;
        writeln!(out, "domain {} ({:?}), version {}", list.domain, list.kind, list.version)?;
        writeln!(out, "{:<32}  ROLE", "HOST")?;
        list.hosts.iter().try_for_each(|host| {
            let this = if host.this { "  (this one)" } else { "" };
            writeln!(out, "{}  {}{this}", host.fingerprint, host.role)
        })
    })?;
    Ok(Outcome::Good)
}

#[derive(Serialize)]
struct Changed {
    device: String,
    host: String,
    role: String,
    /// Version of the domain's state after it.
    version: u32,
}

/// Lets a host use the devices of a domain.
pub(in super::super) fn enrol(
    target: &Target,
    key: PublicKey,
    role: Role,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let (device, _) = target.open(&reached)?;
    let host = key.host_id();
    let state = device.domain_state()?;
    let state = match state.role(host) == Some(role) {
        true => state,
        false => target.change(&reached, &device, Change::AddHost(Host { key, role }))?,
    };
    let enrolled = Changed {
        device: device.id().to_string(),
        host: host.to_string(),
        role: format!("{role:?}"),
        version: state.version,
    };
    output.print(&enrolled, |out, done| {
        writeln!(out, "device {} knows host {} as {}", done.device, done.host, done.role)
    })?;
    Ok(Outcome::Good)
}

pub(in super::super) fn remove(
    target: &Target,
    prefix: &str,
    yes: bool,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let reached = target.reach()?;
    let (device, own) = target.open(&reached)?;
    let state = device.domain_state()?;
    let host = find(&state.hosts, prefix)?;
    let id = host.key.host_id();
    let mut warning = format!(
        "Host {id} ({:?}) will be removed from the domain {}. Its sessions end and no device \
         admits it any more.",
        host.role, state.domain
    );
    if state.hosts.len() == 1 {
        return Err(Failure(format!(
            "{id} is the only host of the domain, and without one nobody reaches its devices any more; \
             let another one in first (kmsctl hsm enrol), or erase the device: kmsctl hsm zeroise {}",
            target.line
        )));
    }
    if id == own {
        warning
            .push_str("\nIt is the host of this data directory: its kmsd will then serve no keys.");
    }
    confirm::on_terminal(&id.to_string(), &warning, "host", yes)?;
    let state = target.change(&reached, &device, Change::RemoveHost(id))?;
    let removed = Changed {
        device: device.id().to_string(),
        host: id.to_string(),
        role: format!("{:?}", host.role),
        version: state.version,
    };
    output.print(&removed, |out, done| {
        writeln!(out, "device {} no longer knows host {} ({})", done.device, done.host, done.role)
    })?;
    Ok(Outcome::Good)
}

/// The host whose fingerprint begins so.
fn find(hosts: &[Host], prefix: &str) -> Result<Host, Failure> {
    let prefix = prefix.to_ascii_lowercase();
    let matching: Vec<_> = hosts
        .iter()
        .filter(|host| !prefix.is_empty() && host.key.host_id().to_string().starts_with(&prefix))
        .collect();
    match matching.as_slice() {
        [host] => Ok(**host),
        [] => Err(Failure(format!(
            "the device does not know a host {prefix:?}; `kmsctl hsm hosts` lists those that it \
             knows"
        ))),
        more => Err(Failure(format!(
            "{} hosts have fingerprints that begin with {prefix}; give more of it",
            more.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use host_driver::HostKey;

    use super::*;

    #[test]
    fn a_prefix_must_be_of_one_host() {
        // Keys whose fingerprints differ in their first digit, and two of which begin alike.
        let host = |_| Host { key: HostKey::generate().public(), role: Role::CryptoUser };
        let hosts: Vec<Host> = (0..40).map(host).collect();
        let id = |host: &Host| host.key.host_id().to_string();
        assert_eq!(find(&hosts, &id(&hosts[0])).unwrap(), hosts[0]);
        assert_eq!(find(&hosts, &id(&hosts[1])[..24].to_uppercase()).unwrap(), hosts[1]);
        // More hosts than digits.
        let first = |host: &Host| id(host)[..1].to_owned();
        let twice = hosts
            .iter()
            .find(|one| hosts.iter().filter(|other| first(other) == first(one)).count() > 1);
        assert!(find(&hosts, &first(twice.unwrap())).unwrap_err().0.contains("give more"));
        for unknown in ["", "x", &format!("{}00", id(&hosts[0]))] {
            assert!(find(&hosts, unknown).unwrap_err().0.contains("hsm hosts"), "{unknown}");
        }
    }
}
