//! The enrolled hosts: which key may do what.

use hsm_protocol::bytes::concat;
use hsm_protocol::command::domain::{EnrolledHost, MAX_HOSTS};
use hsm_protocol::{ErrorCode, HostId, Role};

/// Layout version of the stored table.
const VERSION: u8 = 1;
/// Bytes of a stored row: role and host.
const ROW: usize = 1 + HostId::SIZE;
/// Longest stored table, in bytes.
pub const MAX_STORED: usize = 2 + MAX_HOSTS * ROW;

/// The host table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hosts {
    rows: [Option<EnrolledHost>; MAX_HOSTS],
}

impl Hosts {
    /// A table without hosts: the device is uninitialised.
    #[must_use]
    pub const fn new() -> Self {
        Self { rows: [None; MAX_HOSTS] }
    }

    /// The hosts.
    pub fn iter(&self) -> impl Iterator<Item = &EnrolledHost> {
        self.rows.iter().flatten()
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
    pub fn enrol(&mut self, host: HostId, role: Role) -> Result<EnrolledHost, ErrorCode> {
        if role == Role::Bootstrap {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        if role != Role::Provisioner && self.is_last_provisioner(host) {
            return Err(ErrorCode::HOST_UNKNOWN);
        }
        let row = EnrolledHost { host, role };
        let known = self.rows.iter().position(|slot| slot.is_some_and(|row| row.host == host));
        let place = known
            .or_else(|| self.rows.iter().position(Option::is_none))
            .ok_or(ErrorCode::HOSTS_FULL)?;
        *self.rows.get_mut(place).ok_or(ErrorCode::INTERNAL)? = Some(row);
        Ok(row)
    }

    /// Removes a host.
    ///
    /// # Errors
    /// [`ErrorCode::HOST_UNKNOWN`] if it is not enrolled or the last provisioner.
    pub fn remove(&mut self, host: HostId) -> Result<(), ErrorCode> {
        if self.is_last_provisioner(host) {
            return Err(ErrorCode::HOST_UNKNOWN);
        }
        let slot = self.rows.iter_mut().find(|slot| slot.is_some_and(|row| row.host == host));
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
        for row in self.iter() {
            let (slot, tail) = rest.split_first_chunk_mut::<ROW>().ok_or(ErrorCode::INTERNAL)?;
            concat(slot, &[&[row.role as u8], row.host.as_bytes()]).ok_or(ErrorCode::INTERNAL)?;
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
        let ([VERSION, count], mut rest) = stored.split_first_chunk()? else { return None };
        let mut hosts = Self::new();
        for _ in 0..*count {
            let (row, tail) = rest.split_first_chunk::<ROW>()?;
            let (role, host) = row.split_first()?;
            let role = match role {
                1 => Role::Provisioner,
                2 => Role::CryptoUser,
                3 => Role::Auditor,
                _ => return None,
            };
            // Written straight: enrolling would refuse a table whose provisioner comes last.
            let slot = hosts.rows.iter_mut().find(|slot| slot.is_none())?;
            *slot = Some(EnrolledHost { host: HostId(host.try_into().ok()?), role });
            rest = tail;
        }
        rest.is_empty().then_some(hosts)
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> HostId {
        HostId([n; 16])
    }

    #[test]
    fn a_provisioner_always_remains() {
        let mut hosts = Hosts::new();
        hosts.enrol(host(1), Role::Provisioner).unwrap();
        assert_eq!(hosts.remove(host(1)), Err(ErrorCode::HOST_UNKNOWN));
        assert_eq!(hosts.enrol(host(1), Role::Auditor), Err(ErrorCode::HOST_UNKNOWN));
        hosts.enrol(host(2), Role::Provisioner).unwrap();
        hosts.remove(host(1)).unwrap();
        assert_eq!(hosts.role(host(1)), None);
        assert_eq!(hosts.role(host(2)), Some(Role::Provisioner));
        assert_eq!(hosts.enrol(host(3), Role::Bootstrap), Err(ErrorCode::INVALID_ARGUMENT));
    }

    #[test]
    fn full_table_round_trips() {
        let mut hosts = Hosts::new();
        let mut out = [0; MAX_STORED];
        assert_eq!(Hosts::read(hosts.write(&mut out).unwrap()), Ok(hosts));
        for n in 0..u8::try_from(MAX_HOSTS).unwrap() {
            let role = if n == 9 { Role::Provisioner } else { Role::CryptoUser };
            hosts.enrol(host(n), role).unwrap();
        }
        assert_eq!(hosts.enrol(host(99), Role::Auditor), Err(ErrorCode::HOSTS_FULL));
        assert_eq!(hosts.enrol(host(3), Role::Auditor).unwrap().role, Role::Auditor);
        let stored = hosts.write(&mut out).unwrap().to_vec();
        assert_eq!(Hosts::read(&stored), Ok(hosts));
        for bad in [&stored[..stored.len() - 1], &[&stored[..], &[0]].concat(), &[], &[2, 0]] {
            assert_eq!(Hosts::read(bad), Err(ErrorCode::STORAGE_FAILED));
        }
    }
}
