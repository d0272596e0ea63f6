//! Whether what the daemon has cached is new enough to decide by.
//!
//! Other daemons on the same store change keys, policies and identities. A daemon that has not heard
//! of the store for longer than [`BOUND`] does not decide: a request that is sent later than that after
//! a change was acknowledged is never decided by what was before the change.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use kms_base::error::{Exception, KmsError};
use kms_store::Store;

/// How old the caches may be when a request is decided.
pub const BOUND: Duration = Duration::from_millis(900);
/// How long a request waits for news of the store: longer than etcd takes to elect a leader, 1 to 2 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the caches are new enough now.
#[must_use]
pub fn is_fresh(store: &dyn Store) -> bool {
    store.lag() <= BOUND
}

/// Waits until the caches are new enough.
///
/// # Errors
/// [`Exception::DependencyTimeout`] if the store cannot be heard of.
pub(crate) async fn ensure(store: &dyn Store) -> Result<(), KmsError> {
    let end = Instant::now() + PATIENCE;
    while !is_fresh(store) {
        if Instant::now() >= end {
            return Err(KmsError::new(
                Exception::DependencyTimeout,
                "The store of keys and policies cannot be reached. You can retry the request.",
            ));
        }
        sleep(LOOK).await;
    }
    Ok(())
}
