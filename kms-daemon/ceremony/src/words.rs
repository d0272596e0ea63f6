//! Describes in words what operators sign.

use std::fmt::Write as _;

use hsm_protocol::command::Role;
use hsm_protocol::domain::{
    Change, Class, DeviceKind, DomainState, Holder, Host, Kind, Member, Operator, OperatorRole,
    Recovery, Rule, Rules,
};
use hsm_protocol::id::OperatorId;
use hsm_protocol::identity::PublicKey;

use super::{Ceremony, PeerText};
use kms_base::hex;

/// A fingerprint in groups of four digits, as people compare it.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    let groups = digits.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join("-")
}

/// Everything about a ceremony that an operator has to see before signing it, except for its fingerprint: that
/// comes from the others, by another way.
#[must_use]
pub fn in_words(ceremony: &Ceremony) -> String {
    let mut text = String::new();
    let next = ceremony.next();
    match ceremony.before() {
        None => {
            let _ = writeln!(text, "A NEW DOMAIN is founded:\n");
            text.push_str(&describe(next));
        }
        Some(before) => {
            let (from, to) = (before.version, next.version);
            let _ = writeln!(text, "{} is changed, from version {from} to {to}:\n", naming(before));
            for (number, change) in ceremony.changes().unwrap_or_default().iter().enumerate() {
                let _ = writeln!(text, "  {}. {}", number + 1, change_in_words(change, before));
            }
            let _ = writeln!(text, "\nAfter it:\n");
            text.push_str(&describe(next));
        }
    }
    let standing = ceremony.standing();
    let _ = writeln!(text, "\nIt needs:");
    for (class, rule) in &standing.needed {
        let _ = writeln!(text, "  {} for {}", rule_in_words(*rule), class_in_words(*class));
    }
    let list = |operators: &[Operator]| match operators {
        [] => "nobody".to_owned(),
        some => some.iter().map(operator_in_words).collect::<Vec<_>>().join(", "),
    };
    let _ = writeln!(text, "\nSigned by: {}", list(&standing.signed));
    let _ = writeln!(text, "Not signed by: {}", list(&standing.unsigned));
    let state = if standing.is_complete { "It can be submitted." } else { "More have to sign." };
    let _ = writeln!(text, "{state}");
    text
}

/// A state in words.
#[must_use]
pub fn describe(state: &DomainState) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "  {}", naming(state));
    let kind = match state.kind {
        Kind::Development => {
            "A DEVELOPMENT domain: its operator's key lies beside the data, and whoever reads that \
             owns every key. Make it a production domain with: kmsctl domain harden"
        }
        Kind::Production => "A production domain: only its operators together can change it.",
    };
    let _ = writeln!(text, "  {kind}");
    let _ = writeln!(text, "  Version {}.", state.version);
    let _ = writeln!(text, "  Operators:");
    for operator in &state.operators {
        let _ = writeln!(text, "    {}", operator_in_words(operator));
    }
    let _ = writeln!(text, "  Rules, of {}:", operators(state.operators.len()));
    text.push_str(&rules_in_words(&state.rules, "    "));
    let _ = writeln!(text, "  Devices:");
    for member in &state.members {
        let _ = writeln!(text, "    {}", member_in_words(member));
    }
    let vouched = match &state.device_ca {
        Some(ca) => format!("{} vouches for devices.", key(ca)),
        None => "nobody: the operators look at each device themselves.".to_owned(),
    };
    let _ = writeln!(text, "  Device CA: {vouched}");
    let keys = state
        .keys
        .iter()
        .map(|key| format!("{} (made by {})", key.id, fingerprint(key.maker.as_bytes())));
    let _ = writeln!(text, "  Domain keys: {}", keys.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "  Hosts:");
    for host in &state.hosts {
        let _ = writeln!(text, "    {}", host_in_words(host));
    }
    for peer in &state.peers {
        let _ = writeln!(text, "  Exchanges multi-Region keys with: {}", PeerText(*peer));
    }
    if let Some(Recovery { threshold, holders }) = &state.recovery {
        let count = holders.len();
        let _ = writeln!(
            text,
            "  Recovery shares: any {threshold} of these {count} operators together restore every \
             key:"
        );
        for holder in holders {
            let share = fingerprint(holder.key.operator_id().as_bytes());
            let _ = writeln!(
                text,
                "    {} (share key {share})",
                fingerprint(holder.operator.as_bytes())
            );
        }
    }
    for root in &state.roots {
        let _ = writeln!(text, "  Trusts attestation documents under: {}", hex::encode(root));
    }
    text
}

fn naming(state: &DomainState) -> String {
    match state.name.as_str() {
        "" => format!("Domain {}", state.domain),
        name => format!("Domain {:?} ({})", name, state.domain),
    }
}

fn operators(count: usize) -> String {
    match count {
        1 => "1 operator".to_owned(),
        count => format!("{count} operators"),
    }
}

/// How many have to sign.
#[must_use]
pub fn rule_in_words(rule: Rule) -> String {
    let total = operators(rule.total.into());
    match rule.officers {
        0 => total,
        1 => format!("{total}, 1 of them a security officer"),
        officers => format!("{total}, {officers} of them security officers"),
    }
}

fn rules_in_words(rules: &Rules, indent: &str) -> String {
    let mut text = String::new();
    let first = rules.of(Class::Members);
    if Class::ALL.iter().all(|class| rules.of(*class) == first) {
        let _ = writeln!(text, "{indent}{} for everything", rule_in_words(first));
    } else {
        for class in Class::ALL {
            let rule = rule_in_words(rules.of(class));
            let _ = writeln!(text, "{indent}{rule} for {}", class_in_words(class));
        }
    }
    let emulated = match rules.emulated_members {
        true => {
            "Devices that are NOT HARDWARE may be members: whoever owns their host can read them"
        }
        false => "Only hardware may be a member",
    };
    let _ = writeln!(text, "{indent}{emulated}");
    text
}

fn class_in_words(class: Class) -> &'static str {
    match class {
        Class::Members => "devices (which have the domain keys)",
        Class::Hosts => "hosts (which may use them)",
        Class::Rules => "operators, rules, the device CA and the kind of domain",
        Class::Keys => "rotation and removal of domain keys",
        Class::Peers => "other domains that get multi-Region keys",
        Class::Roots => "roots of attestation documents",
        Class::Zeroise => "erasing a device",
    }
}

pub(super) fn operator_in_words(operator: &Operator) -> String {
    let role = match operator.role {
        OperatorRole::Development => "development operator, KEY BESIDE THE DATA",
        OperatorRole::Operator => "operator",
        OperatorRole::SecurityOfficer => "security officer",
    };
    format!("{} ({role})", fingerprint(operator.id().as_bytes()))
}

fn member_in_words(member: &Member) -> String {
    format!("{} ({})", fingerprint(member.device_id().as_bytes()), kind_in_words(member.kind))
}

fn kind_in_words(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Hardware => "hardware",
        DeviceKind::Emulated => "EMULATED: whoever owns its host can read its keys",
        DeviceKind::InProcess => "IN PROCESS: whoever owns its host can read its keys",
    }
}

fn host_in_words(host: &Host) -> String {
    let role = match host.role {
        Role::CryptoUser => "uses keys",
        Role::Auditor => "reads the audit log",
        Role::Bootstrap => "unknown role",
    };
    format!("{} ({role})", fingerprint(host.key.host_id().as_bytes()))
}

fn key(key: &PublicKey) -> String {
    fingerprint(key.operator_id().as_bytes())
}

fn change_in_words(change: &Change<'_>, before: &DomainState) -> String {
    match change {
        Change::AddMember { identity, kind, certificate } => {
            let member = Member { signing: identity.signing, join: identity.join, kind: *kind };
            let by = match (certificate, &before.device_ca) {
                (Some(_), _) => "the domain's device CA has certified it",
                (None, _) => "vouched for only by itself: look at the device",
            };
            format!("The device {} gets the domain keys; {by}", member_in_words(&member))
        }
        Change::RemoveMember(device) => {
            format!("The device {} is removed", fingerprint(device.as_bytes()))
        }
        Change::AddHost(host) => format!("The host {} is admitted", host_in_words(host)),
        Change::RemoveHost(host) => {
            format!("The host {} is no longer admitted", fingerprint(host.as_bytes()))
        }
        Change::AddOperator(operator) => format!("New: {}", operator_in_words(operator)),
        Change::RemoveOperator(operator) => {
            let known = before.operator(*operator);
            let shown = known.map_or_else(|| fingerprint(operator.as_bytes()), operator_in_words);
            format!("No longer an operator: {shown}")
        }
        Change::SetRules(rules) => {
            format!("The rules become:\n{}", rules_in_words(rules, "       ").trim_end())
        }
        Change::SetDeviceCa(Some(ca)) => format!("The device CA becomes {}", key(ca)),
        Change::SetDeviceCa(None) => "There is no longer a device CA".to_owned(),
        Change::SetKind(Kind::Production) => "It becomes a production domain".to_owned(),
        Change::SetKind(Kind::Development) => "It becomes a DEVELOPMENT domain".to_owned(),
        Change::RotateKey { maker } => format!(
            "The device {} makes a new domain key, which wraps everything from then on",
            fingerprint(maker.as_bytes())
        ),
        Change::RemoveKey(id) => {
            let hosts = before.hosts.iter().filter(|host| host.role == Role::CryptoUser).count();
            let others = match hosts {
                0 | 1 => "",
                _ => ", of another host of the domain,",
            };
            format!(
                "Domain key {id} is erased: WHATEVER IS STILL WRAPPED BY IT IS PERMANENTLY LOST. \
                 The device cannot know what that is. kmsd refuses this while its own store has \
                 such a token; another store{others} or a backup made before everything was \
                 rewrapped may have some"
            )
        }
        Change::AddPeer(peer) => format!(
            "The domain {} GETS MULTI-REGION KEYS of this one ({})",
            peer.domain,
            PeerText(*peer)
        ),
        Change::RemovePeer(domain) => {
            format!("The domain {domain} no longer gets multi-Region keys")
        }
        Change::SetRoots(roots) if roots.0.is_empty() => {
            "No attestation document is trusted any longer".to_owned()
        }
        Change::SetRoots(roots) => {
            let roots = roots.0.chunks(32).map(hex::encode).collect::<Vec<_>>().join(", ");
            format!("Attestation documents are trusted under these roots only: {roots}")
        }
        Change::Zeroise(device) => {
            format!("The device {} ERASES EVERY SECRET", fingerprint(device.as_bytes()))
        }
        Change::PermitFirmware(measurement) => format!(
            "The devices MAY REPLACE THEIR FIRMWARE, which has every key, by the image whose SHA-256 is {}; compare \
             it with that of your own build",
            hex::encode(&measurement.0)
        ),
        Change::SetRecovery { threshold: 0, .. } => {
            "Nobody holds recovery shares any longer".to_owned()
        }
        Change::SetRecovery { threshold, holders } => {
            let rows = holders.0.chunks(Holder::SIZE);
            let count = rows.len();
            let ids = rows.map(|row| fingerprint(row.get(..OperatorId::SIZE).unwrap_or(row)));
            format!(
                "Of these {count} operators any {threshold} together hold recovery shares that \
                 restore EVERY KEY of the domain: {}",
                ids.collect::<Vec<_>>().join(", ")
            )
        }
    }
}
