//! Domains whose devices are connected to several daemons: each daemon brings its own devices up to date, and
//! hands the domain's keys over to those of the others, through the store.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hsm_protocol::DeviceId;

use super::Regions;
use kms_base::error::KmsError;
use kms_installation::consistency::Exchange;
use kms_store::Store as _;

/// How long tokens are not yet rewrapped because members have not taken the new domain key.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a Region's domain, and of its members elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Version of the domain's state.
    version: u32,
    /// When it was first seen here.
    since: Instant,
    /// Whether every member that is not connected here has its keys.
    is_complete: bool,
}

impl Regions {
    /// Has the devices of a Region make the changes of their domain that others were told of first, and hands
    /// its keys over to members that are connected to other daemons. Whether nobody waits for anything.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device in service answers, or one of them does not follow;
    /// `Exception::KmsInternal` if the store cannot be used.
    pub(crate) async fn keep_up(
        &self,
        region: &str,
        exchange: &Exchange,
    ) -> Result<bool, KmsError> {
        let Some(found) = self.region(region) else { return Ok(true) };
        let _alone = found.changing.lock().await;
        let ledger = || (self.ruler.ledger)(region);
        let before = found.engine.domain().await?.state.version;
        let (state, present) = found.engine.keep_up(ledger()).await?;
        let (domain, version) = (state.domain, state.version);
        let known = self.spread(region).map_or(0, |spread| spread.version);
        if known < version {
            let ledger = ledger();
            let versions = known.saturating_add(1).max(2)..=version;
            let publish = move || Exchange::publish(&*ledger, domain, versions);
            let published = tokio::task::spawn_blocking(publish).await;
            published.map_err(KmsError::internal)?.map_err(KmsError::internal)?;
        }
        if before < version {
            tracing::warn!(region, %domain, version, "the devices have made a change of their domain");
            found.engine.forget_what_was_sealed().await;
            self.changes.send_modify(|count| *count += 1);
        }
        let members: Vec<DeviceId> = state.members.iter().map(|it| it.device_id()).collect();
        // The first key came with the member.
        let has_rotated = state.active_key() > 1;
        let mut is_complete = true;
        if has_rotated {
            exchange.tidy(region, &members).await.map_err(KmsError::internal)?;
            for member in members.iter().filter(|member| present.contains(member)) {
                exchange.taken(region, *member, version).await.map_err(KmsError::internal)?;
            }
            let own: BTreeSet<_> = present.iter().collect();
            let elsewhere: Vec<_> =
                members.iter().filter(|member| !own.contains(member)).copied().collect();
            let waiting = exchange.waiting(region, &elsewhere, version).await;
            let waiting = waiting.map_err(KmsError::internal)?;
            is_complete = waiting.to_be_given.is_empty() && waiting.to_be_taken.is_empty();
            for member in waiting.to_be_given {
                let token = found.engine.hand_over_to(member).await?;
                let given = exchange.give(region, member, (version, token)).await;
                given.map_err(KmsError::internal)?;
            }
        }
        self.note_spread(region, version, is_complete);
        Ok(is_complete)
    }

    /// Whether key tokens may be wrapped under the newest domain key: the members elsewhere have it, or have
    /// been waited for.
    pub(crate) fn is_spread(&self, region: &str, version: u32) -> bool {
        if !self.ruler.tokens.is_shared() {
            return true;
        }
        let spread = self.spread(region).filter(|spread| spread.version >= version);
        spread.is_some_and(|spread| spread.is_complete || spread.since.elapsed() > PATIENCE)
    }

    fn spread(&self, region: &str) -> Option<Spread> {
        self.spreads.lock().unwrap_or_else(PoisonError::into_inner).get(region).copied()
    }

    fn note_spread(&self, region: &str, version: u32, is_complete: bool) {
        let mut spreads = self.spreads.lock().unwrap_or_else(PoisonError::into_inner);
        let known = spreads.get(region).filter(|spread| spread.version == version);
        let since = known.map_or_else(Instant::now, |spread| spread.since);
        let was_complete = known.is_some_and(|spread| spread.is_complete);
        spreads.insert(region.to_owned(), Spread { version, since, is_complete });
        if is_complete && !was_complete {
            // Whoever waits for that goes on.
            self.changes.send_modify(|count| *count += 1);
        }
    }
}
