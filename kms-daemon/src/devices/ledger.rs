//! The ballots by which a domain came to its present state, a file each: `changes/DOMAIN-VERSION.ballot`.
//! They are public.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host_driver::ceremony::Ledger;
use hsm_protocol::DomainId;

use crate::durable;

/// Longest ballot that is read, in bytes.
const MAX_BALLOT: u64 = 16 * 1024;

/// The ballots in a directory.
#[derive(Debug, Clone)]
pub struct Ballots(PathBuf);

impl Ballots {
    /// Those of a Region of a data directory.
    #[must_use]
    pub fn of_data(data: &Path, region: &str) -> Self {
        Self::of(&data.join("hsm").join(region))
    }

    /// Those of the Region whose devices are in `hsm`.
    pub(crate) fn of(hsm: &Path) -> Self {
        Self(hsm.join("changes"))
    }

    fn path(&self, domain: DomainId, version: u32) -> PathBuf {
        self.0.join(format!("{domain}-{version}.ballot"))
    }
}

impl Ledger for Ballots {
    fn keep(&self, domain: DomainId, version: u32, ballot: &[u8]) -> io::Result<()> {
        durable::create_private_dir(&self.0)?;
        match durable::write_new(&self.path(domain, version), ballot) {
            // What a ceremony that was cut off has left.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && self.ballot(domain, version)?.as_deref() == Some(ballot) =>
            {
                Ok(())
            }
            kept => kept,
        }
    }

    fn ballot(&self, domain: DomainId, version: u32) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(domain, version);
        match fs::metadata(&path) {
            Ok(data) if data.len() > MAX_BALLOT => {
                let text = format!("{} is too long for a ballot", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            Ok(_) => fs::read(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()> {
        fs::remove_file(self.path(domain, version))?;
        durable::sync_dir(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_are_kept_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (ballots, domain) = (Ballots::of(dir.path()), DomainId([1; 16]));
        assert_eq!(ballots.ballot(domain, 2).unwrap(), None);
        ballots.keep(domain, 2, b"one").unwrap();
        ballots.keep(domain, 2, b"one").unwrap();
        let refused = ballots.keep(domain, 2, b"two").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        ballots.keep(domain, 3, b"three").unwrap();
        assert_eq!(Ballots::of(dir.path()).ballot(domain, 2).unwrap().unwrap(), b"one");
        assert_eq!(ballots.ballot(DomainId([2; 16]), 2).unwrap(), None);
        ballots.forget(domain, 2).unwrap();
        assert_eq!(ballots.ballot(domain, 2).unwrap(), None);
        fs::write(ballots.path(domain, 4), vec![0; 20_000]).unwrap();
        assert!(ballots.ballot(domain, 4).is_err());
    }
}
