//! The enrolled hosts: which key may do what.

use hsm_protocol::bytes::{concat, take};
use hsm_protocol::command::domain::{EnrolledHost, MAX_HOSTS};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::{ErrorCode, HostId, Role};

/// Layout version of the stored table. Version 1 had fingerprints and no keys: its hosts are read
/// as hosts whose key is not known yet.
const VERSION: u8 = 2;
const WITHOUT_KEYS: u8 = 1;
/// Bytes of a stored row: role, and the key; of a host whose key is not known, 0 and the fingerprint,
/// padded with zeros.
const ROW: usize = 1 + PublicKey::SIZE;
/// Longest stored table, in bytes.
pub const MAX_STORED: usize = 2 + MAX_HOSTS * ROW;

/// The host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hosts {
    rows: [Option<Row>; MAX_HOSTS],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    enrolled: EnrolledHost,
    /// Not known of a host that became the first provisioner, until it comes again.
    key: Option<PublicKey>,
}

impl Hosts {
    /// A table without hosts: the device is uninitialised.
    #[must_use]
    pub const fn new() -> Self {
        Self { rows: [None; MAX_HOSTS] }
    }

    /// The hosts.
    pub fn iter(&self) -> impl Iterator<Item = &EnrolledHost> {
        self.rows.iter().flatten().map(|row| &row.enrolled)
    }

    /// The hosts whose key is known, each in its place of the table.
    pub fn known_keys(&self) -> impl Iterator<Item = Option<(HostId, &PublicKey)>> {
        self.rows.iter().map(|row| {
            let row = row.as_ref()?;
            Some((row.enrolled.host, row.key.as_ref()?))
        })
    }

    /// Whether the key of every host is known.
    #[must_use]
    pub fn has_all_keys(&self) -> bool {
        self.rows.iter().flatten().all(|row| row.key.is_some())
    }

    /// Notes the key of an enrolled host; false if nothing is new.
    pub fn learn(&mut self, key: &PublicKey) -> bool {
        let host = key.host_id();
        let row = self.rows.iter_mut().flatten().find(|row| row.enrolled.host == host);
        match row {
            Some(row) if row.key.is_none() => {
                row.key = Some(*key);
                true
            }
            _ => false,
        }
    }

    /// Whether nobody is enrolled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The role of a host.
    #[must_use]
    pub fn role(&self, host: HostId) -> Option<Role> {
        self.iter().find(|row| row.host == host).map(|row| row.role)
    }

    /// Enrols a host, or changes its role.
    ///
    /// # Errors
    /// [`ErrorCode::INVALID_ARGUMENT`] for [`Role::Bootstrap`]; [`ErrorCode::HOSTS_FULL`];
    /// [`ErrorCode::HOST_UNKNOWN`] if it would leave no provisioner.
    pub fn enrol(
        &mut self,
        host: HostId,
        key: Option<&PublicKey>,
        role: Role,
    ) -> Result<EnrolledHost, ErrorCode> {
        if role == Role::Bootstrap {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        if role != Role::Provisioner && self.is_last_provisioner(host) {
            return Err(ErrorCode::HOST_UNKNOWN);
        }
        let enrolled = EnrolledHost { host, role };
        let is_host = |slot: &Option<Row>| slot.is_some_and(|row| row.enrolled.host == host);
        let known = self.rows.iter().position(is_host);
        let place = known
            .or_else(|| self.rows.iter().position(Option::is_none))
            .ok_or(ErrorCode::HOSTS_FULL)?;
        let slot = self.rows.get_mut(place).ok_or(ErrorCode::INTERNAL)?;
        let key = key.copied().or_else(|| slot.as_ref().and_then(|row| row.key));
        *slot = Some(Row { enrolled, key });
        Ok(enrolled)
    }

    /// Removes a host.
    ///
    /// # Errors
    /// [`ErrorCode::HOST_UNKNOWN`] if it is not enrolled or the last provisioner.
    pub fn remove(&mut self, host: HostId) -> Result<(), ErrorCode> {
        if self.is_last_provisioner(host) {
            return Err(ErrorCode::HOST_UNKNOWN);
        }
        let is_host = |slot: &&mut Option<Row>| slot.is_some_and(|row| row.enrolled.host == host);
        let slot = self.rows.iter_mut().find(is_host);
        *slot.ok_or(ErrorCode::HOST_UNKNOWN)? = None;
        Ok(())
    }

    fn is_last_provisioner(&self, host: HostId) -> bool {
        let mut provisioners = self.iter().filter(|row| row.role == Role::Provisioner);
        provisioners.next().is_some_and(|row| row.host == host) && provisioners.next().is_none()
    }

    /// The stored form: version, count, rows.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] if `out` is too small.
    pub fn write<'o>(&self, out: &'o mut [u8; MAX_STORED]) -> Result<&'o [u8], ErrorCode> {
        let count = u8::try_from(self.iter().count()).map_err(|_| ErrorCode::INTERNAL)?;
        let (head, mut rest) = out.split_first_chunk_mut::<2>().ok_or(ErrorCode::INTERNAL)?;
        *head = [VERSION, count];
        for Row { enrolled, key } in self.rows.iter().flatten() {
            let (slot, tail) = rest.split_first_chunk_mut::<ROW>().ok_or(ErrorCode::INTERNAL)?;
            *slot = [0; ROW];
            let (role, host) = slot.split_first_mut().ok_or(ErrorCode::INTERNAL)?;
            *role = enrolled.role as u8;
            match key {
                Some(key) => concat(host, &[&key.to_bytes()]),
                None => concat(host, &[&[0], enrolled.host.as_bytes()]),
            }
            .ok_or(ErrorCode::INTERNAL)?;
            rest = tail;
        }
        let used = usize::from(count).saturating_mul(ROW).saturating_add(2);
        out.get(..used).ok_or(ErrorCode::INTERNAL)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorCode::STORAGE_FAILED`] for any other layout.
    pub fn read(stored: &[u8]) -> Result<Self, ErrorCode> {
        Self::parse(stored).ok_or(ErrorCode::STORAGE_FAILED)
    }

    fn parse(stored: &[u8]) -> Option<Self> {
        let ([version, count], mut rest) = stored.split_first_chunk()?;
        let mut hosts = Self::new();
        for index in 0..usize::from(*count) {
            let [role] = *take(&mut rest)?;
            let role = match role {
                1 => Role::Provisioner,
                2 => Role::CryptoUser,
                3 => Role::Auditor,
                _ => return None,
            };
            let (host, key) = match *version {
                VERSION => read_host(take(&mut rest)?)?,
                WITHOUT_KEYS => (HostId(*take(&mut rest)?), None),
                _ => return None,
            };
            // Written straight: enrolling would refuse a table whose provisioner comes last.
            let enrolled = EnrolledHost { host, role };
            *hosts.rows.get_mut(index)? = Some(Row { enrolled, key });
        }
        let is_known = matches!(*version, VERSION | WITHOUT_KEYS);
        (is_known && rest.is_empty()).then_some(hosts)
    }
}

/// Reads a host of a row.
fn read_host(stored: &[u8; PublicKey::SIZE]) -> Option<(HostId, Option<PublicKey>)> {
    let (tag, rest) = stored.split_first()?;
    match *tag {
        0 => {
            let (host, padding) = rest.split_first_chunk()?;
            padding.iter().all(|byte| *byte == 0).then_some((HostId(*host), None))
        }
        tag => {
            let key = PublicKey { tag, x: rest.try_into().ok()? };
            Some((key.host_id(), Some(key)))
        }
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey { tag: 2, x: [n; 32] }
    }

    fn host(n: u8) -> HostId {
        key(n).host_id()
    }

    fn enrol(hosts: &mut Hosts, n: u8, role: Role) -> Result<EnrolledHost, ErrorCode> {
        hosts.enrol(host(n), Some(&key(n)), role)
    }

    #[test]
    fn a_provisioner_always_remains() {
        let mut hosts = Hosts::new();
        enrol(&mut hosts, 1, Role::Provisioner).unwrap();
        assert_eq!(hosts.remove(host(1)), Err(ErrorCode::HOST_UNKNOWN));
        assert_eq!(enrol(&mut hosts, 1, Role::Auditor), Err(ErrorCode::HOST_UNKNOWN));
        enrol(&mut hosts, 2, Role::Provisioner).unwrap();
        hosts.remove(host(1)).unwrap();
        assert_eq!(hosts.role(host(1)), None);
        assert_eq!(hosts.role(host(2)), Some(Role::Provisioner));
        assert_eq!(enrol(&mut hosts, 3, Role::Bootstrap), Err(ErrorCode::INVALID_ARGUMENT));
    }

    #[test]
    fn full_table_round_trips() {
        let mut hosts = Hosts::new();
        let mut out = [0; MAX_STORED];
        assert_eq!(Hosts::read(hosts.write(&mut out).unwrap()), Ok(hosts));
        for n in 0..u8::try_from(MAX_HOSTS).unwrap() {
            let role = if n == 9 { Role::Provisioner } else { Role::CryptoUser };
            enrol(&mut hosts, n, role).unwrap();
        }
        assert_eq!(enrol(&mut hosts, 99, Role::Auditor), Err(ErrorCode::HOSTS_FULL));
        assert_eq!(enrol(&mut hosts, 3, Role::Auditor).unwrap().role, Role::Auditor);
        let stored = hosts.write(&mut out).unwrap().to_vec();
        assert_eq!(Hosts::read(&stored), Ok(hosts));
        for bad in [&stored[..stored.len() - 1], &[&stored[..], &[0]].concat(), &[], &[3, 0]] {
            assert_eq!(Hosts::read(bad), Err(ErrorCode::STORAGE_FAILED));
        }
    }
    /// What devices stored before keys were: read, completed as the hosts come, and stored anew.
    #[test]
    fn a_table_of_fingerprints_learns_its_keys() {
        let fingerprints = [&[1, 2, 1][..], &host(1).0, &[2], &host(2).0].concat();
        let mut hosts = Hosts::read(&fingerprints).unwrap();
        assert_eq!(hosts.role(host(2)), Some(Role::CryptoUser));
        assert_eq!(hosts.known_keys().flatten().count(), 0);
        assert!(hosts.learn(&key(2)) && !hosts.learn(&key(2)), "once");
        assert!(!hosts.learn(&key(3)), "nobody's");
        assert!(!hosts.has_all_keys());
        let mut out = [0; MAX_STORED];
        let stored = hosts.write(&mut out).unwrap().to_vec();
        assert_eq!(Hosts::read(&stored), Ok(hosts));
        assert!(hosts.learn(&key(1)) && hosts.has_all_keys());
        let known: Vec<_> = hosts.known_keys().flatten().collect();
        assert_eq!(known, [(host(1), &key(1)), (host(2), &key(2))]);
        let mut padded = stored;
        *padded.get_mut(2 + 30).unwrap() = 1;
        assert_eq!(Hosts::read(&padded), Err(ErrorCode::STORAGE_FAILED));
    }
}
