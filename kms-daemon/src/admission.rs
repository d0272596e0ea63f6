//! For whom the daemon works, and who gets in when more comes than it can serve.
//!
//! What is known of whoever made a request travels with the request's task, so that it reaches the queues of
//! devices without passing through every operation: since when it is under way, whose share it uses, and
//! whether its client is still there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host_driver::caller::{Caller, Gone};

use kms_base::error::{Exception, KmsError};

/// Requests with keys that are served at the same time, of all accounts.
const MOST: usize = 256;
/// Of these, how many one account may have as long as the others do not need theirs.
const FREELY: usize = MOST / 4 * 3;
/// What is left for a command at least, however long the request has waited for what came before it.
const LEAST: Duration = Duration::from_secs(2);

tokio::task_local! {
    static ASKER: Asker;
}

/// Whoever made a request.
#[derive(Debug, Clone)]
struct Asker {
    begin: Instant,
    gone: Gone,
    flow: Arc<AtomicU64>,
}

/// Runs what a request that comes now is for. `gone` is raised when its client leaves.
pub(crate) async fn asked<F: Future>(gone: Gone, work: F) -> F::Output {
    let asker = Asker { begin: Instant::now(), gone, flow: Arc::default() };
    ASKER.scope(asker, work).await
}

/// Notes which account the request is of: those of one account share what one gets of a device.
pub(crate) fn is_of(account: &str) {
    // Account numbers are numbers; 0 is the daemon itself.
    let flow = account.parse::<u64>().map_or(u64::MAX, |number| number.saturating_add(1));
    let _ = ASKER.try_with(|asker| asker.flow.store(flow, Ordering::Relaxed));
}

/// For whom a device is called, and when that must have ended if the request may take `limit`; the daemon itself,
/// and no time, if there is no request.
pub(crate) fn on_behalf(limit: Duration) -> (Caller, Option<Instant>) {
    let known = ASKER.try_with(|asker| {
        let flow = asker.flow.load(Ordering::Relaxed);
        let deadline = (asker.begin + limit).max(Instant::now() + LEAST);
        (Caller { flow, gone: asker.gone.clone() }, Some(deadline))
    });
    known.unwrap_or_default()
}

/// The requests that are served.
#[derive(Debug, Clone, Default)]
pub struct Admission(Arc<Mutex<Served>>);

#[derive(Debug, Default)]
struct Served {
    all: usize,
    accounts: HashMap<String, usize>,
}

/// A request that is served, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Admission,
    account: String,
}

impl Admission {
    /// Lets a request of an account in. While there is much to do, each account that has something to do has the
    /// same share.
    ///
    /// # Errors
    /// [`Exception::Throttling`], which SDKs try again after a pause.
    pub fn enter(&self, account: &str) -> Result<Admitted, KmsError> {
        let mut served = self.served();
        let own = served.accounts.get(account).copied().unwrap_or_default();
        let busy = served.accounts.len() + usize::from(own == 0);
        let share = (MOST / busy.max(1)).max(1);
        let is_free = served.all < FREELY;
        // An account that has nothing under way gets in even if all shares are taken.
        let is_due = own < share && (served.all < MOST || (own == 0 && served.all < 2 * MOST));
        if !is_free && !is_due {
            return Err(KmsError::new(
                Exception::Throttling,
                "The service has more requests than it can serve at the moment. You can retry the request.",
            ));
        }
        served.all += 1;
        *served.accounts.entry(account.to_owned()).or_default() += 1;
        Ok(Admitted { admission: self.clone(), account: account.to_owned() })
    }

    /// How many requests are served.
    #[must_use]
    pub fn count(&self) -> usize {
        self.served().all
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        // It is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut served = self.admission.served();
        served.all = served.all.saturating_sub(1);
        if let Some(own) = served.accounts.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                served.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_that_get_in(admission: &Admission, account: &str) -> Vec<Admitted> {
        std::iter::from_fn(|| admission.enter(account).ok()).collect()
    }

    #[test]
    fn one_account_has_most_of_it_and_not_all() {
        let admission = Admission::default();
        let flood = all_that_get_in(&admission, "1");
        assert_eq!(flood.len(), MOST);
        let refused = admission.enter("1").unwrap_err();
        assert_eq!(refused.code(), "ThrottlingException");
        // Alone it had everything; each other one gets in nevertheless.
        let second = admission.enter("2").unwrap();
        let third = admission.enter("3").unwrap();
        assert!(admission.enter("2").is_err(), "there is no room before the flood has less");
        drop((flood, second, third));
        assert_eq!((admission.count(), admission.served().accounts.len()), (0, 0));
    }

    #[test]
    fn accounts_that_are_busy_have_equal_shares() {
        let admission = Admission::default();
        let mut first = all_that_get_in(&admission, "1");
        let mut second = Vec::new();
        // Both want all they can get; requests end one after the other.
        for _ in 0..4 * MOST {
            drop(first.pop());
            second.extend(admission.enter("2").ok());
            first.extend(admission.enter("1").ok());
            first.extend(admission.enter("1").ok());
        }
        assert!(second.len() >= MOST / 2 - 1, "{} and {}", first.len(), second.len());
        assert!(admission.count() <= MOST + 1);
    }

    #[tokio::test]
    async fn what_is_known_of_a_request_is_known_where_devices_are_called() {
        let limit = Duration::from_secs(100);
        assert_eq!(on_behalf(limit).1, None);
        let gone = Gone::default();
        let work = async {
            is_of("000000000042");
            let (caller, deadline) = on_behalf(limit);
            assert_eq!(caller.flow, 43);
            assert!(deadline.unwrap() <= Instant::now() + limit);
            gone.raise();
            assert!(caller.gone.is_raised());
            let late = on_behalf(Duration::ZERO).1.unwrap();
            assert!(late > Instant::now() + LEAST / 2);
        };
        asked(gone.clone(), work).await;
    }
}
