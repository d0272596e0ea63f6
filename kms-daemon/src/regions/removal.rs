//! Removing a domain key: only once no key token in the store is under it.
//!
//! The device cannot know which tokens there are; it sees one when it is used. So it is the daemon that
//! counts, after it has seen to it that none can be made or stored any more.

use std::collections::BTreeMap;

use hsm_protocol::DomainId;

use kms_ceremony::removal::removed;

use super::Regions;
use crate::engine::Engine;
use kms_base::error::{Exception, KmsError};
use kms_keys::tokens;

/// A removal that is under way: nothing new is stored under these keys meanwhile.
pub(super) struct Removal {
    domain: DomainId,
    keys: Vec<u32>,
}

impl Regions {
    /// Sees to it that no token in the store is under a domain key that a ballot removes, nor will be.
    ///
    /// # Errors
    /// `Exception::Validation` if there are some; `Exception::DependencyTimeout` if a device in service
    /// does not follow the domain's changes now.
    pub(super) async fn prepare_removal(
        &self,
        region: &str,
        engine: &Engine,
        ballot: &[u8],
    ) -> Result<Option<Removal>, KmsError> {
        let Some((domain, keys)) = removed(ballot) else { return Ok(None) };
        // A device that has missed the rotation would go on making tokens under the former key.
        let state = engine.bring_up_to_date((self.ruler.ledger)(region)).await?;
        let keys: Vec<u32> = keys.into_iter().filter(|key| *key != state.active_key()).collect();
        let removal = Removal { domain, keys };
        let Removal { keys, .. } = &removal;
        self.ruler.tokens.bar(domain, keys).await.map_err(KmsError::internal)?;
        let counted = tokens::tally(&*self.ruler.tokens, region).await.map_err(KmsError::from);
        let left: Result<BTreeMap<u32, u64>, _> = counted.map(|tally| {
            let of_removed = keys.iter().map(|key| (*key, tally.under(domain, *key)));
            of_removed.filter(|(_, count)| *count > 0).collect()
        });
        match left {
            Ok(left) if left.is_empty() => Ok(Some(removal)),
            left => {
                self.unbar(domain, keys).await;
                // Counted again by the rewrapping task, if they were not known to be left.
                self.changes.send_modify(|count| *count += 1);
                Err(refusal(region, &left?))
            }
        }
    }

    async fn unbar(&self, domain: DomainId, keys: &[u32]) {
        if let Err(error) = self.ruler.tokens.unbar(domain, keys).await {
            // No new token gets under a former key, and nothing else is kept from being stored.
            tracing::warn!(%domain, ?keys, %error, "domain keys stay barred");
        }
    }

    /// Ends a removal. Where it was not made, tokens are taken again.
    pub(super) async fn finish_removal(&self, removal: Removal, engine: &Engine, is_made: bool) {
        let Removal { domain, keys } = removal;
        if is_made {
            engine.forget_what_was_sealed().await;
            return;
        }
        match engine.domain().await {
            Ok(found) => {
                let has = |key: &u32| found.state.keys.iter().any(|known| known.id == *key);
                let there: Vec<u32> = keys.into_iter().filter(has).collect();
                self.unbar(domain, &there).await;
            }
            // It may have been made: tokens under these keys would be lost.
            Err(error) => {
                tracing::warn!(%domain, %error, "whether domain keys were removed is not known");
            }
        }
    }
}

/// What is said while tokens are under a key that is to go.
fn refusal(region: &str, left: &BTreeMap<u32, u64>) -> KmsError {
    let counts: Vec<String> = left
        .iter()
        .map(|(key, count)| {
            let tokens = if *count == 1 { "token of" } else { "tokens of" };
            format!("{count} {tokens} {region} still under domain key {key}")
        })
        .collect();
    KmsError::new(
        Exception::Validation,
        format!(
            "There are {}, which would be permanently lost. They are being rewrapped in the \
             background; `kmsctl domain show` and `kmsctl status` say how far that is, or why it \
             does not go on. Nothing was changed: submit the same file once none is left.",
            counts.join(" and ")
        ),
    )
}
