//! Checkpoints of the audit chain: numbered and chained for each host, signed, and kept through
//! power loss.
//!
//! The record has the last checkpoint of each host, without its signature: up to [`Checkpoint::SIZE`]
//! bytes each. ECDSA signs it again on request.

use hsm_protocol::audit::{Checkpoint, LogPosition, Maker, SignedCheckpoint};
use hsm_protocol::{ErrorCode, HostId};

use super::Module;
use crate::keystore::record;
use crate::platform::{Platform, RecordId};

/// Hosts whose checkpoints are kept; as many as fit a record.
const KEPT: usize = 11;

const _: () = assert!(KEPT * Checkpoint::SIZE <= record::MAX_DATA, "they fit a record");

type Kept = heapless::Vec<Checkpoint, KEPT>;

impl<P: Platform> Module<P> {
    /// The last checkpoint that this device made for a host; `None` if it has made none.
    pub(crate) fn last_checkpoint(
        &mut self,
        host: HostId,
    ) -> Result<Option<SignedCheckpoint>, ErrorCode> {
        let kept = self.checkpoints()?;
        let last = kept.iter().find(|kept| kept.host == host);
        last.map(|last| self.sign_checkpoint(*last)).transpose()
    }

    /// Makes the next one, which is durable when this returns. A power cut before leaves the one
    /// before it, and nobody has the signature of this one.
    pub(crate) fn make_checkpoint(
        &mut self,
        host: HostId,
        log: LogPosition,
        closing: bool,
    ) -> Result<SignedCheckpoint, ErrorCode> {
        let kept = self.checkpoints()?;
        let last = kept.iter().find(|kept| kept.host == host);
        let number = last.map_or(0, |last| last.number);
        let checkpoint = Checkpoint {
            device: self.device,
            host,
            number: number.checked_add(1).ok_or(ErrorCode::STORAGE_FAILED)?,
            previous: last.map_or([0; 32], Checkpoint::hash),
            epoch: self.audit.epoch(),
            entries: self.audit.entries(),
            head: self.audit.head(),
            closing,
            log,
            maker: Some(Maker { kind: self.platform.kind(), measurement: self.measurement }),
        };
        // Hosts come and go: the one that has been silent longest makes room.
        let others = kept.iter().filter(|kept| kept.host != host);
        let silent = others.clone().count().saturating_add(1).saturating_sub(KEPT);
        let mut next = Kept::new();
        for one in others.skip(silent).chain([&checkpoint]) {
            next.push(*one).map_err(|_| ErrorCode::INTERNAL)?;
        }
        let signed = self.sign_checkpoint(checkpoint)?;
        self.keep_checkpoints(&next)?;
        Ok(signed)
    }

    fn sign_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<SignedCheckpoint, ErrorCode> {
        let (identity, rng) = self.identity_and_rng()?;
        let signature = identity.sign(&checkpoint.to_bytes(), rng)?;
        Ok(SignedCheckpoint { checkpoint, signature })
    }

    /// Those of all hosts, in the order in which they were made.
    fn checkpoints(&mut self) -> Result<Kept, ErrorCode> {
        let mut buffer = record::buffer();
        let stored = record::read(&mut self.platform, RecordId::CHECKPOINTS, &mut buffer)?;
        let mut rest = stored.unwrap_or_default();
        let mut kept = Kept::new();
        while !rest.is_empty() {
            let one = Checkpoint::take(&mut rest).filter(|one| one.device == self.device);
            let one = one.ok_or(ErrorCode::STORAGE_FAILED)?;
            kept.push(one).map_err(|_| ErrorCode::STORAGE_FAILED)?;
        }
        Ok(kept)
    }

    fn keep_checkpoints(&mut self, kept: &Kept) -> Result<(), ErrorCode> {
        let mut stored = [0; KEPT * Checkpoint::SIZE];
        let mut used = 0usize;
        for one in kept {
            let bytes = one.to_bytes();
            let end = used.saturating_add(bytes.len());
            stored.get_mut(used..end).ok_or(ErrorCode::INTERNAL)?.copy_from_slice(&bytes);
            used = end;
        }
        let stored = stored.get(..used).ok_or(ErrorCode::INTERNAL)?;
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        record::write(&mut self.platform, &mut secrets.drbg, RecordId::CHECKPOINTS, stored)
    }
}
