//! How many keys an account may have in a Region.
//!
//! Counted when it is first asked, then kept: what is made here is added, and what others make or
//! destroy shows at the next count. A key is refused only after a count that is new.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::{Catalog, CatalogError};

/// How long a count is good for while there is room.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// How long a count is good for when there is none: a refusal costs no more than that.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Keys that are counted at a time.
const PAGE: usize = 1000;

/// The keys of accounts.
#[derive(Debug, Default)]
pub(super) struct KeyCounts(Mutex<HashMap<Scope, Count>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    keys: u64,
    at: Instant,
}

impl KeyCounts {
    /// Takes room for one more key.
    ///
    /// # Errors
    /// [`Exception::LimitExceeded`] if there is none; `Exception::KmsInternal` if the store does
    /// not answer.
    pub(super) async fn take(
        &self,
        catalog: &Catalog,
        scope: &Scope,
        limit: u64,
        now: Instant,
    ) -> Result<(), KmsError> {
        if !self.is_good(scope, limit, now) {
            let keys = count(catalog, scope).await?;
            self.lock().insert(scope.clone(), Count { keys, at: now });
        }
        let mut counts = self.lock();
        match counts.get_mut(scope) {
            Some(count) if count.keys < limit => {
                count.keys += 1;
                Ok(())
            }
            _ => Err(KmsError::new(
                Exception::LimitExceeded,
                format!("The account has {limit} KMS keys in {}, the most.", scope.region),
            )),
        }
    }

    fn is_good(&self, scope: &Scope, limit: u64, now: Instant) -> bool {
        self.lock().get(scope).is_some_and(|count| {
            let good = if count.keys < limit { GOOD_FOR } else { FULL_FOR };
            now.saturating_duration_since(count.at) < good
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Count>> {
        // A count that a panic left behind is corrected by the next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn count(catalog: &Catalog, scope: &Scope) -> Result<u64, CatalogError> {
    let (mut keys, mut after) = (0, None);
    loop {
        let page = catalog.list_keys(scope, after, PAGE).await?;
        keys += page.items.len() as u64;
        after = page.items.last().copied();
        if !page.more {
            return Ok(keys);
        }
    }
}
