//! The ballots that led a domain to its present state, one file each: `changes/DOMAIN-VERSION.ballot`. They
//! are public. Beside them, `certificates/DEVICE.certificate` is the device CA's certificate of a device that
//! no ballot has admitted, such as the first device of a domain.

use std::path::{Path, PathBuf};
use std::{fs, io};

use host_driver::ceremony::Ledger;
use hsm_protocol::DomainId;
use hsm_protocol::command::decode;
use hsm_protocol::domain::{Ballot, Certificate, Change, DomainState, Proposal};
use hsm_protocol::identity::IdentityDocument;

use crate::CertificateFile;
use kms_base::durable;

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
    pub fn of(hsm: &Path) -> Self {
        Self(hsm.join("changes"))
    }

    /// Keeps what a device CA says of a device, in place of what it said before.
    ///
    /// # Errors
    /// Any failure to write it.
    pub fn keep_certificate(&self, certificate: &CertificateFile) -> io::Result<()> {
        let path = self.certificate_path(&certificate.identity);
        if let Some(dir) = path.parent() {
            durable::create_private_dir(dir)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        certificate.save(&path).map_err(io::Error::other)
    }

    fn certificate_path(&self, identity: &IdentityDocument) -> PathBuf {
        let name = format!("{}.certificate", identity.device_id());
        self.0.with_file_name("certificates").join(name)
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

    fn place(&self, domain: DomainId, version: u32) -> String {
        self.path(domain, version).display().to_string()
    }

    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()> {
        fs::remove_file(self.path(domain, version))?;
        durable::sync_dir(&self.0)
    }

    /// Looks at the file of the device first, then at the ballots, the latest first.
    fn certificate(
        &self,
        state: &DomainState,
        identity: &IdentityDocument,
    ) -> io::Result<Option<Certificate>> {
        let Some(ca) = &state.device_ca else { return Ok(None) };
        let is_good = |found: &Certificate| found.verify(ca, identity).is_ok();
        let path = self.certificate_path(identity);
        if path.exists() {
            let kept = CertificateFile::load(&path).map_err(io::Error::other)?;
            if kept.identity == *identity && is_good(&kept.certificate) {
                return Ok(Some(kept.certificate));
            }
        }
        for version in (2..=state.version).rev() {
            let Some(bytes) = self.ballot(state.domain, version)? else { continue };
            if let Some(found) = certificate_in(&bytes, identity).filter(is_good) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// What is said of a device that a ballot takes in.
fn certificate_in(ballot: &[u8], identity: &IdentityDocument) -> Option<Certificate> {
    let ballot: Ballot<'_> = decode(ballot).ok()?;
    let proposal = Proposal::decode(&ballot.proposal).ok()?;
    proposal.changes().find_map(|change| match change.ok()? {
        Change::AddMember { identity: added, certificate, .. } if added == *identity => certificate,
        _ => None,
    })
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
