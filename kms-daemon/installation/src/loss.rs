//! What would be lost with a device: keys open in devices of their domain only, so those of a
//! domain of one device are lost with it, unless a backup holds that device's flash.

use std::collections::BTreeMap;

use host_driver::health::DeviceHealth;
use hsm_protocol::DomainId;
use serde::{Deserialize, Serialize};

use crate::last_backup::LastBackup;

/// What would be lost if one thing were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Whose keys they are.
    pub region: String,
    /// How many keys would be lost, if that is known.
    pub keys: Option<u64>,
    /// The devices that alone have the domain key: one, or several on one disk.
    pub devices: Vec<String>,
    /// The same for people, and what to do.
    pub text: String,
}

/// Who has the key of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// Those that are known here, by the names of their lines.
    pub devices: Vec<String>,
    /// Members of the domain as the devices count them, those included that are not here.
    pub members: u8,
}

impl Holders {
    /// Of what a pool knows of its devices; `None` as long as none has told its domain.
    #[must_use]
    pub fn of(pool: &[DeviceHealth]) -> Option<(DomainId, Self)> {
        let domain = pool.iter().find_map(|device| device.domain)?.domain;
        let members = pool.iter().filter_map(|device| device.domain);
        let members = members.filter(|member| member.domain == domain);
        let known = pool
            .iter()
            .filter(|device| device.domain.is_some_and(|member| member.domain == domain));
        let devices = known.map(|device| device.name.clone()).collect();
        let members = members.map(|member| member.members).max().unwrap_or_default();
        Some((domain, Self { devices, members }))
    }
}

/// What would be lost with the devices of a Region; `None` if one that is elsewhere has the domain
/// key, too, or a backup has it.
#[must_use]
pub fn loss(region: &str, holders: &Holders, keys: Option<u64>, backed_up: bool) -> Option<Loss> {
    let (own, others): (Vec<_>, Vec<_>) = holders.devices.iter().partition(|name| is_own(name));
    // All that run here are on one disk.
    let elsewhere = usize::from(holders.members).max(holders.devices.len()) - own.len();
    let places = elsewhere + usize::from(!own.is_empty());
    if places > 1 || holders.devices.is_empty() || (backed_up && others.is_empty()) {
        return None;
    }
    let what = match keys {
        None => format!("all keys of {region} are"),
        Some(0) => format!("every key that {region} gets is"),
        Some(1) => format!("the key of {region} is"),
        Some(keys) => format!("all {keys} keys of {region} are"),
    };
    let lost = match (own.as_slice(), others.as_slice()) {
        ([], [one, ..]) | ([one], _) => format!("If {one} is lost, {what} permanently lost"),
        (all, _) => {
            let all: Vec<_> = all.iter().map(|name| name.as_str()).collect();
            format!("If the disk with {} is lost, {what} permanently lost", all.join(", "))
        }
    };
    let text = match others.first() {
        None => format!(
            "{lost}: no other device and no backup has the domain key. Make a backup: kmsctl \
             backup FILE --with-devices --passphrase-file FILE"
        ),
        Some(one) => format!(
            "{lost}: no other device has the domain key, and no backup can. Let a second one join: \
             kmsctl hsm provision {one} NEW"
        ),
    };
    Some(Loss { region: region.to_owned(), keys, devices: holders.devices.clone(), text })
}

/// What would be lost with the devices of all Regions.
#[must_use]
pub fn losses(
    pools: &[(String, Vec<DeviceHealth>)],
    keys: Option<&BTreeMap<String, u64>>,
    last: Option<&LastBackup>,
) -> Vec<Loss> {
    let of_pool = |(region, pool): &(String, Vec<DeviceHealth>)| {
        let (domain, holders) = Holders::of(pool)?;
        let domain = domain.to_string();
        let backed_up = last.is_some_and(|last| last.domains.contains(&domain));
        let keys = keys.map(|keys| keys.get(region).copied().unwrap_or_default());
        loss(region, &holders, keys, backed_up)
    };
    pools.iter().filter_map(of_pool).collect()
}

/// Whether a line leads to a device that runs in or below the daemon, with its flash in the data
/// directory.
#[must_use]
pub fn is_own(line: &str) -> bool {
    line.starts_with("soft-") || line.starts_with("qemu-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(devices: &[&str], members: u8, keys: Option<u64>, backed_up: bool) -> Option<String> {
        let devices = devices.iter().map(|name| (*name).to_owned()).collect();
        let holders = Holders { devices, members };
        loss("us-east-1", &holders, keys, backed_up).map(|loss| loss.text)
    }

    #[test]
    fn one_device_holds_everything() {
        let told = text(&["soft-0"], 1, Some(12), false).unwrap();
        assert!(
            told.starts_with("If soft-0 is lost, all 12 keys of us-east-1 are permanently lost")
        );
        assert!(told.ends_with("kmsctl backup FILE --with-devices --passphrase-file FILE"));
        assert!(text(&["soft-0"], 1, Some(1), false).unwrap().contains("the key of us-east-1 is"));
        assert!(text(&["soft-0"], 1, Some(0), false).unwrap().contains("every key that us-east-1"));
        assert_eq!(text(&["soft-0"], 1, Some(12), true), None);
    }

    #[test]
    fn a_backup_does_not_hold_the_key_of_a_device_elsewhere() {
        let told = text(&["tcp:hsm:1"], 1, Some(2), true).unwrap();
        assert!(told.starts_with("If tcp:hsm:1 is lost, all 2 keys"), "{told}");
        assert!(told.ends_with("kmsctl hsm provision tcp:hsm:1 NEW"), "{told}");
    }

    #[test]
    fn a_second_device_counts_if_it_is_elsewhere() {
        assert_eq!(text(&["tcp:a:1", "tcp:b:1"], 2, None, false), None);
        assert_eq!(text(&["soft-0", "tcp:b:1"], 2, None, false), None);
        // One that is in a drawer, or in use by another daemon.
        assert_eq!(text(&["tcp:a:1"], 2, None, false), None);
        let told = text(&["soft-0", "soft-1"], 2, None, false).unwrap();
        assert!(told.starts_with("If the disk with soft-0, soft-1 is lost, all keys of"), "{told}");
        assert_eq!(text(&["soft-0", "soft-1"], 2, None, true), None);
        assert_eq!(text(&[], 0, None, false), None);
    }
}
