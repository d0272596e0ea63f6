//! Ballots of domains that last only as long as the process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hsm_protocol::DomainId;

use super::Ledger;

type Ballots = BTreeMap<(DomainId, u32), Vec<u8>>;

/// A [`Ledger`] in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Ballots>);

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, Ballots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn keep(&self, domain: DomainId, version: u32, ballot: &[u8]) -> io::Result<()> {
        let mut kept = self.lock();
        match kept.entry((domain, version)).or_insert_with(|| ballot.to_vec()) == ballot {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn ballot(&self, domain: DomainId, version: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().get(&(domain, version)).cloned())
    }

    fn forget(&self, domain: DomainId, version: u32) -> io::Result<()> {
        self.lock().remove(&(domain, version));
        Ok(())
    }
}
