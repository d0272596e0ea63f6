//! Devices that come, go, and are kept from work while the pool runs.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::slot::{Hold, Slot};
use super::{Member, Pool, keeper};
use crate::health::Service;

/// How often it is looked how far a device has come.
const LOOK: Duration = Duration::from_millis(20);

/// Why nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemberError {
    /// The pool has no device of that name.
    #[error("there is no device {name:?}; those that there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names of those that there are.
        known: String,
    },
    /// The pool has a device of that name.
    #[error("there is a device {0:?} already")]
    Repeated(String),
    /// No other device could take its calls.
    #[error("{0:?} is the last device that serves: without it every request fails")]
    Last(String),
    /// It is kept out until a person has looked at it.
    #[error("{0:?} is quarantined; it takes no calls")]
    Quarantined(String),
    /// It did not come into service.
    #[error("{name:?} does not come into service: {reason}")]
    Refused {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// It is still being looked at.
    #[error("{0:?} is not in service yet; it is tried on, see its state")]
    Pending(String),
    /// The operating system gives no thread.
    #[error("cannot start a thread: {0}")]
    NoThread(String),
}

impl Pool {
    /// Gives a device no calls any more; it finishes those that it has, then its line is free. Nothing happens
    /// if it was drained before.
    ///
    /// # Errors
    /// [`MemberError::Unknown`]; [`MemberError::Last`] unless `force`; [`MemberError::Quarantined`].
    pub fn drain(&self, name: &str, force: bool) -> Result<(), MemberError> {
        let slot = self.member(name)?;
        if matches!(slot.hold(), Some(Hold::Quarantine(_))) {
            return Err(MemberError::Quarantined(name.to_owned()));
        }
        self.ensure_not_last(&slot, force)?;
        slot.drain();
        Ok(())
    }

    /// Brings a device back that was drained or quarantined, once it has passed what it passes at the start, and
    /// its self-tests if it was quarantined. Nothing happens if it is in service.
    ///
    /// # Errors
    /// [`MemberError::Unknown`]; [`MemberError::Refused`], and it stays as it was; [`MemberError::Pending`] if it
    /// has not come so far at `deadline`.
    pub async fn resume(&self, name: &str, deadline: Instant) -> Result<(), MemberError> {
        let slot = self.member(name)?;
        let Some(hold) = slot.release() else {
            return match self
                .shared
                .slots()
                .iter()
                .any(|slot| slot.member.name == name && slot.device().is_some())
            {
                true => Ok(()),
                false => self.await_service(&slot, deadline).await,
            };
        };
        let outcome = self.await_service(&slot, deadline).await;
        if let Err(MemberError::Refused { .. }) = &outcome
            && slot.hold().is_none()
        {
            slot.hold_again(hold);
        }
        outcome
    }

    /// Takes a device in, if it passes what devices pass at the start.
    ///
    /// # Errors
    /// [`MemberError::Repeated`]; [`MemberError::Refused`] or [`MemberError::Pending`], and it is not taken in.
    pub async fn add(&self, member: Member, deadline: Instant) -> Result<(), MemberError> {
        let name = member.name.clone();
        if self.member(&name).is_ok() {
            return Err(MemberError::Repeated(name));
        }
        let slot =
            self.take_in(member).map_err(|error| MemberError::NoThread(error.to_string()))?;
        let outcome = self.await_service(&slot, deadline).await;
        if outcome.is_err() {
            self.leave_out(&slot);
        }
        outcome
    }

    /// Gives a device no calls any more; it finishes those that it has, then its line is closed for good.
    ///
    /// # Errors
    /// [`MemberError::Unknown`]; [`MemberError::Last`] unless `force`.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), MemberError> {
        let slot = self.member(name)?;
        self.ensure_not_last(&slot, force)?;
        self.leave_out(&slot);
        Ok(())
    }

    /// Adds a device and the thread that looks after it.
    pub(super) fn take_in(&self, member: Member) -> io::Result<Arc<Slot>> {
        let number = self.shared.numbered.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::new(number, member));
        self.change(|slots| slots.push(Arc::clone(&slot)));
        let (shared, kept) = (Arc::clone(&self.shared), Arc::clone(&slot));
        let keeper = thread::Builder::new().name("hsm-keeper".to_owned());
        match keeper.spawn(move || keeper::run(&shared, &kept)) {
            Ok(thread) => self.threads().push(thread),
            Err(error) => {
                self.leave_out(&slot);
                return Err(error);
            }
        }
        Ok(slot)
    }

    fn leave_out(&self, slot: &Arc<Slot>) {
        self.change(|slots| slots.retain(|other| !Arc::ptr_eq(other, slot)));
        slot.remove();
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Slot>>)) {
        let mut slots = self.shared.slots.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = slots.to_vec();
        change(&mut all);
        *slots = Arc::new(all);
    }

    fn member(&self, name: &str) -> Result<Arc<Slot>, MemberError> {
        let slots = self.shared.slots();
        let found = slots.iter().find(|slot| slot.member.name == name);
        found.cloned().ok_or_else(|| MemberError::Unknown {
            name: name.to_owned(),
            known: slots.iter().map(|slot| &*slot.member.name).collect::<Vec<_>>().join(", "),
        })
    }

    fn ensure_not_last(&self, slot: &Arc<Slot>, force: bool) -> Result<(), MemberError> {
        let slots = self.shared.slots();
        let others = || slots.iter().filter(|other| !Arc::ptr_eq(other, slot));
        let is_last = slot.device().is_some() && !others().any(|other| other.device().is_some());
        match is_last && !force {
            true => Err(MemberError::Last(slot.member.name.clone())),
            false => Ok(()),
        }
    }

    /// Waits until a device is in service, or has failed.
    async fn await_service(&self, slot: &Slot, deadline: Instant) -> Result<(), MemberError> {
        let name = || slot.member.name.clone();
        loop {
            let health = slot.health();
            match (health.service, health.last_error) {
                (Service::InService, _) if slot.device().is_some() => return Ok(()),
                (Service::Starting | Service::Recovering | Service::InService, None) => {}
                (_, Some(reason)) => return Err(MemberError::Refused { name: name(), reason }),
                _ => {}
            }
            if Instant::now() >= deadline {
                return Err(MemberError::Pending(name()));
            }
            // Resolves with an error too: the sender is dropped to wake.
            let _ = self.shared.waiting.enter(deadline.min(Instant::now() + LOOK)).await;
        }
    }
}
