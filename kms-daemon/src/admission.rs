//! For whom the daemon works, and who gets in when more comes than it can serve.
//!
//! What is known of whoever made a request travels with the request's task, so that it reaches the queues of
//! devices without passing through every operation: since when it is under way, whose share it uses, and
//! whether its client is still there.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use host_driver::caller::{Caller, Gone};

use kms_base::error::{Exception, KmsError};

/// Requests with keys that are served at the same time, of all accounts.
const MOST: usize = 256;
/// Of these, how many one account may have as long as the others do not need theirs.
const FREELY: usize = MOST / 4 * 3;
/// Requests of all accounts that are served at the same time while more than one account has some and they take
/// longer than [`SLOW`]: enough to keep processors and devices busy.
const CONTESTED: usize = 64;
/// Requests that take longer than that are slow, in microseconds.
const SLOW: u64 = 50_000;
/// An account has something to do if its last request is no longer ago than that.
const RECENT: Duration = Duration::from_secs(1);
/// Access keys whose owners are remembered.
const KEYS: usize = 10_000;
/// What is left for a command at least, however long the request has waited for what came before it.
const LEAST: Duration = Duration::from_secs(2);
/// How often somebody who waits for long looks whether the client is there.
const GLANCE: Duration = Duration::from_millis(200);

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

/// Completes once the client of this request has left, or soon after; never if there is none.
pub(crate) async fn client_leaves() {
    let Ok(gone) = ASKER.try_with(|asker| asker.gone.clone()) else { return pending().await };
    while !gone.is_raised() {
        sleep(GLANCE).await;
    }
}

/// The requests that are served.
#[derive(Debug, Clone, Default)]
pub struct Admission(Arc<Mutex<Served>>);

#[derive(Debug, Default)]
struct Served {
    all: usize,
    /// Those that have something to do, and some that had a moment ago.
    accounts: HashMap<String, Account>,
    /// When accounts that have nothing to do any more were forgotten last.
    swept: Option<Instant>,
    /// Moving average of the time that a request takes, in microseconds.
    usual: u64,
    /// Whose access keys were used, as was verified.
    keys: HashMap<String, Owner>,
}

#[derive(Debug)]
struct Account {
    own: usize,
    seen: Instant,
}

/// Who has an access key.
#[derive(Debug, Clone)]
struct Owner {
    account: String,
    is_root: bool,
}

/// A request that is served, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Admission,
    account: String,
    begin: Instant,
}

impl Admission {
    /// Lets a request of an account in. While there is much to do, each account that has something to do has the
    /// same share.
    ///
    /// # Errors
    /// [`Exception::Throttling`], which SDKs try again after a pause.
    pub fn enter(&self, account: &str) -> Result<Admitted, KmsError> {
        let mut served = self.served();
        let begin = Instant::now();
        served.sweep(begin);
        let is_full = served.is_full_for(account);
        let new = || Account { own: 0, seen: begin };
        let of = served.accounts.entry(account.to_owned()).or_insert_with(new);
        of.seen = begin;
        if is_full {
            return Err(crowded());
        }
        of.own += 1;
        served.all += 1;
        Ok(Admitted { admission: self.clone(), account: account.to_owned(), begin })
    }

    /// Notes whose an access key is, once that was verified.
    pub fn learn(&self, key: &str, account: &str, is_root: bool) {
        let mut served = self.served();
        if served.keys.contains_key(key) {
            return;
        }
        if served.keys.len() >= KEYS {
            served.keys.clear();
        }
        served.keys.insert(key.to_owned(), Owner { account: account.to_owned(), is_root });
    }

    /// Turns a request away that would not be let in once it is known to be signed with this access key: before
    /// that costs anything. Nothing is verified, and the answer says nothing but that there is much to do.
    /// `is_administration` says whether the operation is one, for a root and for others.
    ///
    /// # Errors
    /// [`Exception::Throttling`].
    pub fn screen(
        &self,
        key: Option<&str>,
        is_administration: impl Fn(bool) -> bool,
    ) -> Result<(), KmsError> {
        let served = self.served();
        let owner = key.and_then(|key| served.keys.get(key));
        let is_full = owner.is_some_and(|owner| {
            !is_administration(owner.is_root) && served.is_full_for(&owner.account)
        });
        if is_full { Err(crowded()) } else { Ok(()) }
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

impl Served {
    /// Forgets accounts that have nothing to do any more, from time to time: a request costs the same however
    /// many accounts there are.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| swept + RECENT / 4 > now) {
            return;
        }
        self.accounts.retain(|_, account| account.own > 0 || account.seen + RECENT > now);
        self.swept = Some(now);
    }

    /// Whether an account has to wait for others.
    fn is_full_for(&self, account: &str) -> bool {
        let known = self.accounts.get(account);
        let own = known.map_or(0, |account| account.own);
        let others = self.accounts.len() - usize::from(known.is_some());
        let share = |of: usize| (of / (others + 1)).max(1);
        // While requests are slow, those of one account make those of others slower.
        if others > 0 && self.usual > SLOW && own >= share(CONTESTED) {
            return true;
        }
        let is_free = self.all < FREELY;
        // An account that has nothing under way gets in even if all shares are taken.
        let is_due = own < share(MOST) && (self.all < MOST || (own == 0 && self.all < 2 * MOST));
        !is_free && !is_due
    }
}

fn crowded() -> KmsError {
    KmsError::new(
        Exception::Throttling,
        "The service has more requests than it can serve at the moment. You can retry the request.",
    )
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let took = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX >> 8);
        let mut served = self.admission.served();
        served.all = served.all.saturating_sub(1);
        served.usual = served.usual - served.usual / 16 + took / 16;
        if let Some(account) = served.accounts.get_mut(&self.account) {
            account.own = account.own.saturating_sub(1);
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
        assert_eq!(admission.count(), 0);
        assert!(admission.served().accounts.values().all(|account| account.own == 0));
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

    #[test]
    fn while_requests_are_slow_one_account_does_not_fill_the_queue_of_others() {
        let admission = Admission::default();
        let flood = all_that_get_in(&admission, "1");
        assert_eq!(flood.len(), MOST);
        drop(flood);
        admission.served().usual = 2 * SLOW;
        let alone = all_that_get_in(&admission, "1");
        assert_eq!(alone.len(), MOST, "nobody else is there");
        drop(alone);
        admission.served().usual = 2 * SLOW;
        let other = admission.enter("2").unwrap();
        let contested = all_that_get_in(&admission, "1");
        assert_eq!(contested.len(), CONTESTED / 2);
        // Before anything is verified, and not for administration.
        admission.learn("AKIA1", "1", true);
        admission.learn("AKIA2", "2", false);
        assert!(admission.screen(Some("AKIA1"), |_| false).is_err());
        assert!(admission.screen(Some("AKIA1"), |is_root| is_root).is_ok());
        for free in [Some("AKIA2"), Some("AKIA3"), None] {
            assert!(admission.screen(free, |_| false).is_ok());
        }
        drop((other, contested));
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
