//! Repairs a damaged record from a copy of the store.
//!
//! What a repair changes are the damaged bytes of a key token or a sealed secret, and they become what they were
//! ([`repair`]): the rest of the record stays as it is. So no repair takes back what somebody has changed since the copy. It
//! is stored only if devices open everything in the record then, and if nobody has changed the record meanwhile.

use std::sync::Arc;

use serde_json::json;

use super::{Found, ScrubError, Walk};
use kms_keys::repair;
use kms_store::{Commit, Entry, Transaction};

/// What became of a damaged record.
pub(super) enum Repair {
    /// It is whole, and has what it had.
    Made(Found),
    /// No copy has what is damaged.
    Impossible,
    /// Somebody has changed it meanwhile.
    Overtaken,
}

impl Walk<'_> {
    /// Repairs a record with faults, if it can be.
    pub(super) async fn repair(
        &mut self,
        entry: &Entry,
        found: &Found,
    ) -> Result<Repair, ScrubError> {
        let Some(copies) = self.copies.clone() else { return Ok(Repair::Impossible) };
        let key = entry.key.clone();
        let searched = tokio::task::spawn_blocking(move || copies.find(&key)).await;
        let kept = match searched {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the copies of the store cannot be used to repair it");
                return Ok(Repair::Impossible);
            }
            Err(_) => return Ok(Repair::Impossible), // the runtime is stopping
        };
        for (path, copy) in kept {
            let Some(value) = repair::repaired(&entry.key, &entry.value, &copy.value) else {
                continue;
            };
            let whole = Entry { value: value.into(), ..entry.clone() };
            let now = self.check(&whole).await?;
            // Of a Region that is not served here, nobody knows whether it opens.
            if !now.faults.is_empty() || now.skipped > 0 {
                continue;
            }
            let transaction = Transaction::new().unchanged(&*entry.key, entry.revision);
            let transaction = transaction.put(&*entry.key, Arc::clone(&whole.value));
            if self.store.commit(transaction).await? == Commit::Conflict {
                return Ok(Repair::Overtaken);
            }
            // Tokens that were read before are not kept in memory.
            self.app.service.regions().note_rewrapped();
            let copy = path.display().to_string();
            for (name, reason) in &found.faults {
                tracing::warn!(name, reason, copy, "a damaged record was repaired from a copy");
            }
            let (name, reason) = found.faults.first().cloned().unwrap_or_default();
            let details = json!({
                "record": name, "reason": reason, "copy": copy, "check": self.report.id,
            });
            self.report.note_repair(name, format!("{reason}; {copy} had it whole"));
            let event = self.app.audit.installation_event("RepairRecord", &details).await;
            event.map_err(ScrubError::Audit)?;
            return Ok(Repair::Made(now));
        }
        Ok(Repair::Impossible)
    }
}
