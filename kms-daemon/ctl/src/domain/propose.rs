//! Proposing changes of a domain.

use std::path::PathBuf;

use host_driver::device::{Device, Options};
use host_driver::endpoint::Endpoint;
use hsm_protocol::domain::{
    Change, Class, DomainState, Holder, Host, MAX_DOMAIN_KEYS, Operator, OperatorRole, Rule, Rules,
};
use hsm_protocol::{Bytes, DeviceId, DomainId, ErrorCode, HostId, OperatorId, Role};

use super::super::hsm::{host_key, update};
use super::super::operator::read_public;
use super::super::{Failure, Outcome, Output};
use super::reach::{Found, Place, Single, refuse_removal};
use super::{Ceremony, is_file, save_new, written};
use kms_base::hex;
use kms_ceremony::{CertificateFile, HolderText, KeyPurpose, PeerText};
use kms_installation::devices::fingerprints;

/// An encoded holder of a share.
type Encoded = [u8; Holder::SIZE];

/// Changes, in the order in which they are made.
#[derive(Debug, clap::Args)]
pub(super) struct Propose {
    /// Where to write the proposal; no such file may exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Set the device CA; none: the operators look at each device themselves.
    #[arg(long, value_name = "FILE|none")]
    device_ca: Option<String>,
    /// Give the domain keys to a device: its certificate, or a line to it; repeatable. A device within a daemon is
    /// named soft-N or qemu-N, while no kmsd runs on the data directory.
    #[arg(long, value_name = "FILE|HSM")]
    add_device: Vec<String>,
    /// Remove a device from the domain; another one makes a new domain key. Repeatable.
    #[arg(long, value_name = "FINGERPRINT")]
    remove_device: Vec<String>,
    /// Let a host use keys: its key as `kmsctl hsm key` prints it; repeatable.
    #[arg(long, value_name = "HEX")]
    add_host: Vec<String>,
    /// Let a host read the audit log, and nothing else; repeatable.
    #[arg(long, value_name = "HEX")]
    add_auditor: Vec<String>,
    /// Remove a host, which is no longer admitted; repeatable.
    #[arg(long, value_name = "FINGERPRINT")]
    remove_host: Vec<String>,
    /// Add an operator: the .pub file; repeatable.
    #[arg(long, value_name = "FILE")]
    add_operator: Vec<PathBuf>,
    /// Add a security officer, an operator of whom rules can demand a number of their own; repeatable.
    #[arg(long, value_name = "FILE")]
    add_security_officer: Vec<PathBuf>,
    /// Remove an operator; repeatable.
    #[arg(long, value_name = "FINGERPRINT")]
    remove_operator: Vec<String>,
    /// How many operators have to sign: NUMBER for everything, or CLASS=NUMBER, with +OFFICERS after the number;
    /// classes are members, hosts, rules, keys, peers, roots, zeroise; repeatable. For example: 3, keys=2+1.
    #[arg(long, value_name = "[CLASS=]NUMBER[+OFFICERS]")]
    quorum: Vec<String>,
    /// Whether devices may be members that are not hardware.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    emulated_members: Option<bool>,
    /// Make a new domain key, which wraps everything from then on.
    #[arg(long)]
    rotate_key: bool,
    /// The device that makes it [default: one that responds now].
    #[arg(long, value_name = "FINGERPRINT")]
    maker: Option<String>,
    /// Erase a former domain key permanently. Refused while a token in the store is under it.
    #[arg(long, value_name = "NUMBER")]
    remove_key: Vec<u32>,
    /// Let another domain get multi-Region keys: as its `kmsctl domain show` names it; repeatable.
    #[arg(long, value_name = "DOMAIN")]
    add_peer: Vec<String>,
    /// Let another domain no longer get them; repeatable.
    #[arg(long, value_name = "DOMAIN")]
    remove_peer: Vec<String>,
    /// Let results be sealed to environments that these roots vouch for, and no others: aws-nitro, a root
    /// certificate in PEM, or none; repeatable.
    #[arg(long, value_name = "ROOT")]
    attestation_root: Vec<String>,
    /// Let any NUMBER of the holders together restore the domain from a backup; at least as many as any rule asks
    /// for. none: nobody holds shares any longer, and the domain key is rotated.
    #[arg(long, value_name = "NUMBER|none")]
    recovery: Option<String>,
    /// An operator who holds a share: the .holder file of `kmsctl operator new-share`; repeatable. Present holders
    /// who are not named no longer hold one, and the domain key is rotated.
    #[arg(long, value_name = "FILE", requires = "recovery")]
    holder: Vec<PathBuf>,
    /// Permit the devices to replace their firmware by this signed image, instead of one permitted before.
    #[arg(long, value_name = "FILE")]
    permit_firmware: Option<PathBuf>,
    /// Have a device erase every secret.
    #[arg(long, value_name = "FINGERPRINT")]
    zeroise: Option<String>,
}

pub(super) fn run(
    propose: &Propose,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    // Before the domain's own devices are started, which may be the same.
    let joiners = propose.add_device.iter().map(|text| joiner(text, place));
    let joiners = joiners.collect::<Result<Vec<_>, _>>()?;
    let found = place.reach()?.found()?;
    let roots = match propose.attestation_root.as_slice() {
        [none] if none == "none" => Vec::new(),
        roots => fingerprints(roots)?.concat(),
    };
    if let Some(counted) = &found.rewrap {
        refuse_removal(counted, &propose.remove_key)?;
    }
    let holders = propose.holders(&found.state)?;
    let recovery = holders.as_ref().map(|(threshold, holders)| Change::SetRecovery {
        threshold: *threshold,
        holders: Bytes(holders.as_flattened()),
    });
    let changes = propose.changes(&found, joiners, &roots, recovery)?;
    if changes.is_empty() {
        return Err(Failure("nothing is proposed; name a change, see --help".to_owned()));
    }
    let rules = found.state.rules;
    let ceremony =
        Ceremony::change(found.state, &changes).map_err(|code| propose.refused(code, &rules))?;
    if ceremony.next().hosts.is_empty() {
        let text = "without a host, nobody could reach the domain's devices";
        return Err(Failure(text.to_owned()));
    }
    save_new(&ceremony, &propose.output)?;
    written(&propose.output, &ceremony, output)
}

impl Propose {
    /// What is wrong, for people.
    fn refused(&self, code: ErrorCode, rules: &Rules) -> Failure {
        let most = rules.quorum.iter().map(|rule| rule.total).max().unwrap_or_default();
        let rotates = self.rotate_key || !self.remove_device.is_empty();
        let advice = match code {
            ErrorCode::TABLE_FULL if rotates => format!(
                ": a domain has at most {MAX_DOMAIN_KEYS} keys, and this needs a new one; in the \
                 same proposal remove the oldest, once no token is under it: --remove-key NUMBER"
            ),
            ErrorCode::CHANGE_INVALID if self.recovery.is_some() => format!(
                "; as many shares as the largest rule asks operators for ({} here), each holder an operator, with a \
                 share key of their own",
                most
            ),
            ErrorCode::CHANGE_INVALID if !self.remove_key.is_empty() => {
                "; a domain key can be removed only once an earlier change has replaced it, and \
                 only once"
                    .to_owned()
            }
            _ => String::new(),
        };
        Failure(format!("this cannot be proposed: {code}{advice}"))
    }

    fn changes<'r>(
        &self,
        Found { state, present, .. }: &Found,
        joiners: Vec<Change<'r>>,
        roots: &'r [u8],
        recovery: Option<Change<'r>>,
    ) -> Result<Vec<Change<'r>>, Failure> {
        let mut changes = Vec::new();
        // Who holds a share and is to hold none any more takes no key along that is used on.
        let leaves = self.loses_holder(state, recovery.as_ref());
        match self.device_ca.as_deref() {
            None => {}
            Some("none") => changes.push(Change::SetDeviceCa(None)),
            Some(file) => {
                let ca = read_public(file.as_ref(), KeyPurpose::DeviceCa)?.key;
                changes.push(Change::SetDeviceCa(Some(ca)));
            }
        }
        changes.extend(joiners);
        let removed = self.remove_device.iter().map(|text| device(state, text));
        let removed = removed.collect::<Result<Vec<_>, _>>()?;
        changes.extend(removed.iter().copied().map(Change::RemoveMember));
        let hosts = [(&self.add_host, Role::CryptoUser), (&self.add_auditor, Role::Auditor)];
        for (keys, role) in hosts {
            for text in keys {
                changes.push(Change::AddHost(Host { key: host_key(text)?, role }));
            }
        }
        for text in &self.remove_host {
            let all = state.hosts.iter().map(|host| *host.key.host_id().as_bytes());
            changes.push(Change::RemoveHost(HostId(named(text, all, "host")?)));
        }
        let operators = [
            (&self.add_operator, OperatorRole::Operator),
            (&self.add_security_officer, OperatorRole::SecurityOfficer),
        ];
        for (files, role) in operators {
            for file in files {
                let key = read_public(file, KeyPurpose::Operator)?.key;
                changes.push(Change::AddOperator(Operator { key, role }));
            }
        }
        for text in &self.remove_operator {
            let all = state.operators.iter().map(|operator| *operator.id().as_bytes());
            changes.push(Change::RemoveOperator(OperatorId(named(text, all, "operator")?)));
        }
        if !self.quorum.is_empty() || self.emulated_members.is_some() {
            changes.push(Change::SetRules(self.rules(state.rules)?));
        }
        // Before the rotation: a domain that has as many keys as it can has room for another one then.
        changes.extend(self.remove_key.iter().copied().map(Change::RemoveKey));
        changes.extend(recovery);
        if self.rotate_key || !removed.is_empty() || leaves {
            let maker = match &self.maker {
                Some(text) => device(state, text)?,
                None => {
                    let able =
                        |id: &&DeviceId| state.member(**id).is_some() && !removed.contains(id);
                    let advice = "no device of the domain that could make a new domain key \
                                  responds now; name one: --maker FINGERPRINT";
                    *present.iter().find(able).ok_or_else(|| Failure(advice.to_owned()))?
                }
            };
            changes.push(Change::RotateKey { maker });
        }
        for text in &self.add_peer {
            changes.push(Change::AddPeer(text.parse::<PeerText>()?.0));
        }
        for text in &self.remove_peer {
            let all = state.peers.iter().map(|peer| *peer.domain.as_bytes());
            changes.push(Change::RemovePeer(DomainId(named(text, all, "peer")?)));
        }
        if !self.attestation_root.is_empty() {
            changes.push(Change::SetRoots(Bytes(roots)));
        }
        if let Some(file) = &self.permit_firmware {
            let file = update::File::read(file)?;
            changes.push(Change::PermitFirmware(file.image()?.measurement()));
        }
        if let Some(text) = &self.zeroise {
            changes.push(Change::Zeroise(device(state, text)?));
        }
        Ok(changes)
    }

    /// How many shares bring the domain back, and who holds one; `None` if that is not to be changed.
    fn holders(&self, state: &DomainState) -> Result<Option<(u8, Vec<Encoded>)>, Failure> {
        let threshold = match self.recovery.as_deref() {
            None => return Ok(None),
            Some("none") if self.holder.is_empty() => return Ok(Some((0, Vec::new()))),
            Some("none") => {
                return Err(Failure("either nobody holds shares, or holders do".to_owned()));
            }
            Some(number) => number.parse::<u8>().ok().filter(|number| *number > 0),
        };
        let threshold = threshold.ok_or_else(|| {
            Failure("--recovery takes the number of shares that are enough, or `none`".to_owned())
        })?;
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
            let holder: HolderText =
                text.parse().map_err(|error| Failure(format!("{}: {error}", path.display())))?;
            match holder.domain == state.domain {
                true => Ok(holder.holder),
                false => Err(Failure(format!(
                    "{} is of domain {}, not of {}; have it made for this one: kmsctl operator new-share",
                    path.display(),
                    holder.domain,
                    state.domain
                ))),
            }
        };
        let holders = self.holder.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Some((threshold, holders)))
    }

    /// Whether somebody who holds a share holds none, or another one, after this.
    fn loses_holder(&self, state: &DomainState, recovery: Option<&Change<'_>>) -> bool {
        let before = state.recovery.iter().flat_map(|recovery| &recovery.holders);
        let removed = |operator: &OperatorId| {
            let id = operator.to_string();
            self.remove_operator
                .iter()
                .any(|text| id.starts_with(&text.replace('-', "").to_lowercase()))
        };
        before.into_iter().any(|holder| {
            let key = [holder.operator.as_bytes(), &holder.key.to_bytes()[..]].concat();
            let is_named = match recovery {
                Some(Change::SetRecovery { holders, .. }) => {
                    holders.chunks(Holder::SIZE).any(|row| row.starts_with(&key))
                }
                _ => true,
            };
            !is_named || removed(&holder.operator)
        })
    }

    fn rules(&self, mut rules: Rules) -> Result<Rules, Failure> {
        for text in &self.quorum {
            let malformed = || {
                Failure(format!(
                    "{text:?} is not a quorum; write 3, keys=2, or keys=2+1 with an officer"
                ))
            };
            let (class, rule) = match text.split_once('=') {
                None => (None, text.as_str()),
                Some((class, rule)) => (Some(class_of(class).ok_or_else(malformed)?), rule),
            };
            let (total, officers) = rule.split_once('+').unwrap_or((rule, "0"));
            let number = |text: &str| text.parse::<u8>().map_err(|_| malformed());
            let rule = Rule { total: number(total)?, officers: number(officers)? };
            for (row, of) in rules.quorum.iter_mut().zip(Class::ALL) {
                if class.is_none_or(|class| class == of) {
                    *row = rule;
                }
            }
        }
        if let Some(may) = self.emulated_members {
            rules.emulated_members = may;
        }
        Ok(rules)
    }
}

fn class_of(name: &str) -> Option<Class> {
    Some(match name {
        "members" => Class::Members,
        "hosts" => Class::Hosts,
        "rules" => Class::Rules,
        "keys" => Class::Keys,
        "peers" => Class::Peers,
        "roots" => Class::Roots,
        "zeroise" => Class::Zeroise,
        _ => return None,
    })
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it must be yes or no"),
    }
}

/// A device that is to join.
fn joiner(text: &str, place: &Place) -> Result<Change<'static>, Failure> {
    if is_file(text) {
        let CertificateFile { identity, certificate } = CertificateFile::load(text.as_ref())?;
        let kind = certificate.kind;
        return Ok(Change::AddMember { identity, kind, certificate: Some(certificate) });
    }
    let of = |device: &Device| Change::AddMember {
        identity: *device.identity(),
        kind: host_driver::provision::kind_of(&device.info().board),
        certificate: None::<hsm_protocol::domain::Certificate>,
    };
    if let Ok(Endpoint::Line(line)) = text.parse::<Endpoint>() {
        return Ok(of(&Device::open(&*line.connector(), None, Options::default())?));
    }
    // The device ends with `devices`.
    let Single { device, devices: _devices, lock: _lock, .. } = place.single(text)?;
    Ok(of(&device))
}

fn device(state: &DomainState, text: &str) -> Result<DeviceId, Failure> {
    let all = state.members.iter().map(|member| *member.device_id().as_bytes());
    Ok(DeviceId(named(text, all, "device")?))
}

/// The one id that begins so, in groups or not.
fn named(text: &str, all: impl Iterator<Item = [u8; 16]>, what: &str) -> Result<[u8; 16], Failure> {
    let prefix: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    let mut fitting = all.filter(|id| !prefix.is_empty() && hex::encode(id).starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure(format!(
            "the domain has no {what} {text:?}; `kmsctl domain show` lists what it has"
        ))),
        (Some(_), Some(_)) => Err(Failure(format!(
            "several fingerprints of a {what} begin with {text}; give more of it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        propose: Propose,
    }

    fn propose(flags: &[&str]) -> Propose {
        Line::try_parse_from([&["x", "--output", "f"], flags].concat()).unwrap().propose
    }

    #[test]
    fn quorums_are_for_everything_or_for_a_class() {
        let rules = |flags: &[&str]| propose(flags).rules(Rules::uniform(2));
        let all = rules(&["--quorum", "3"]).unwrap();
        assert_eq!(all, Rules::uniform(3));
        let some = rules(&["--quorum", "3", "--quorum", "keys=4+1", "--emulated-members", "yes"]);
        let some = some.unwrap();
        assert_eq!(some.of(Class::Keys), Rule { total: 4, officers: 1 });
        assert!(Class::ALL.iter().filter(|class| some.of(**class).total == 3).count() == 6);
        assert!(some.emulated_members);
        let names = ["members", "hosts", "rules", "keys", "peers", "roots", "zeroise"];
        assert_eq!(names.map(|name| class_of(name).unwrap()), Class::ALL);
        for wrong in ["", "x", "key=2", "keys=", "keys=2+", "256", "keys=-1", "2+x", "keys=2=2"] {
            assert!(rules(&["--quorum", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_one() {
        let all = || [[0xab; 16], [0xac; 16], [0xcd; 16]].into_iter();
        assert_eq!(named("c", all(), "host").unwrap(), [0xcd; 16]);
        assert_eq!(named("ABAB-abab", all(), "host").unwrap(), [0xab; 16]);
        assert!(named("a", all(), "host").unwrap_err().0.contains("give more"));
        for unknown in ["", "-", "ef", "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd00"] {
            assert!(named(unknown, all(), "host").unwrap_err().0.contains("domain show"));
        }
    }
}
