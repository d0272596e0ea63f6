//! Calls that two devices get: because the first is slow, or because what it says is in doubt.
//!
//! Only commands without effects are sent twice. Each device records each command that it executes, with the tag
//! of the one request; the entry of the answer that nobody waits for any more goes to the audit sink like one whose
//! answer was lost.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use hsm_protocol::{Command, ErrorCode, Opcode};

use super::slot::{Candidate, Slot};
use super::tries::may_repeat;
use super::{Found, Route, Shared};
use crate::error::CallError;
use crate::load::Class;
use crate::request::{Reply, Request};

/// Commands without effects, of which one execution more harms nobody.
const HARMLESS: [Opcode; 8] = [
    Opcode::Encrypt,
    Opcode::Decrypt,
    Opcode::EncryptPublic,
    Opcode::DecryptPrivate,
    Opcode::Verify,
    Opcode::GenerateMac,
    Opcode::VerifyMac,
    Opcode::DeriveSharedSecret,
];
/// A device is not slow before that.
const LEAST: Duration = Duration::from_millis(2);
/// Hedges that may be saved up.
const SAVED: u64 = 10;
/// How often a second device is asked about a ciphertext that the first one refuses.
const DOUBT: Duration = Duration::from_secs(1);

/// What is left for calls that are sent twice.
pub(super) struct Spare {
    /// Of a hundred calls, how many may be.
    per_cent: u64,
    /// Hundredths of a hedge.
    saved: AtomicU64,
    /// When a second device was asked for its opinion.
    doubted: Mutex<Option<Instant>>,
}

impl Spare {
    pub(super) fn new(per_cent: u8) -> Self {
        Self { per_cent: per_cent.into(), saved: AtomicU64::new(0), doubted: Mutex::new(None) }
    }

    /// Counts a call that might be sent twice.
    fn earn(&self) {
        let more = |saved: u64| Some((saved + self.per_cent).min(SAVED * 100));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether a call may be sent twice now.
    fn spend(&self) -> bool {
        let less = |saved: u64| saved.checked_sub(100);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether a refusal may be put into doubt now.
    fn doubt(&self) -> bool {
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = doubted.is_none_or(|last| last.elapsed() >= DOUBT);
        if is_due {
            *doubted = Some(Instant::now());
        }
        is_due
    }
}

/// A call of the pool.
pub(super) struct Call<'c, C> {
    pub(super) request: &'c Arc<Request>,
    pub(super) route: &'c Route,
    size: usize,
    pub(super) deadline: Instant,
    command: PhantomData<fn() -> C>,
}

impl<'c, C: Command> Call<'c, C> {
    pub(super) fn new(
        request: &'c Arc<Request>,
        route: &'c Route,
        size: usize,
        deadline: Instant,
    ) -> Self {
        Self { request, route, size, deadline, command: PhantomData }
    }

    pub(super) fn class(&self) -> Class {
        Class::of(C::OPCODE, self.route.needs.first())
    }

    /// Whether another device may execute it too.
    fn is_harmless(&self) -> bool {
        C::IDEMPOTENT && self.route.device.is_none() && HARMLESS.contains(&C::OPCODE)
    }
}

type Told<C> = (Arc<Slot>, Result<Reply<C>, CallError>);

impl Shared {
    /// Asks a device, and another one if need be. Returns whose answer it is.
    pub(super) async fn ask<C: Command>(&self, call: &Call<'_, C>, first: Found) -> Told<C> {
        let told = self.hedged(call, &first).await;
        match told {
            (slot, Err(error))
                if Arc::ptr_eq(&slot, &first.0) && self.is_doubtful(call, &error) =>
            {
                (slot, Box::pin(self.second_opinion(call, &first, error)).await)
            }
            told => told,
        }
    }

    async fn hedged<C: Command>(&self, call: &Call<'_, C>, (slot, device): &Found) -> Told<C> {
        let mut first = pin!(self.attempt(call, slot, device));
        let Some(patience) = self.patience(call, slot) else {
            return (Arc::clone(slot), first.await);
        };
        let at = Instant::now() + patience;
        while Instant::now() < at {
            let mut bell = self.waiting.enter(at);
            // It is rung early when a device comes into service.
            if let Either::First(outcome) = race(first.as_mut(), Pin::new(&mut bell)).await {
                return (Arc::clone(slot), outcome);
            }
            if self.is_closed() {
                break;
            }
        }
        let other = self.idle(call, slot, patience).filter(|_| self.spare.spend());
        let Some((other, idle)) = other else {
            return (Arc::clone(slot), first.await);
        };
        slot.counters.hedged.fetch_add(1, Ordering::Relaxed);
        let mut second = Box::pin(self.attempt(call, &other, &idle));
        // If one of them fails, the other may still answer.
        match race(first.as_mut(), second.as_mut()).await {
            Either::First(Err(error)) if may_repeat::<C>(&error) => {
                self.forget(slot, error);
                (Arc::clone(&other), second.await)
            }
            Either::Second(Err(error)) if may_repeat::<C>(&error) => {
                self.forget(&other, error);
                (Arc::clone(slot), first.await)
            }
            Either::First(outcome) => (Arc::clone(slot), outcome),
            Either::Second(outcome) => (Arc::clone(&other), outcome),
        }
    }

    /// How long the device may take before another one is asked too; `None` for as long as it likes.
    fn patience<C: Command>(&self, call: &Call<'_, C>, slot: &Slot) -> Option<Duration> {
        if self.spare.per_cent == 0 || !call.is_harmless() {
            return None;
        }
        self.spare.earn();
        let usual = slot.counters.meter.usual(call.class())?;
        Some(usual.max(LEAST))
    }

    /// A device where the call should wait for its turn no longer than it has waited already.
    fn idle<C: Command>(
        &self,
        call: &Call<'_, C>,
        not: &Slot,
        patience: Duration,
    ) -> Option<Found> {
        let slots = self.slots();
        let mut others = slots.iter().filter(|slot| slot.number != not.number);
        others.find_map(|slot| {
            let (meter, class) = (&slot.counters.meter, call.class());
            let wait = meter.expected(class).saturating_sub(meter.cost(class));
            match slot.candidate(call.route.needs, call.size) {
                Candidate::Ready(device) if Duration::from_micros(wait) < patience => {
                    Some((Arc::clone(slot), device))
                }
                _ => None,
            }
        })
    }

    /// Whether a refusal is worth a second opinion: nobody but a member of the domain can make a ciphertext
    /// that opens, so if another device opens it, the first one is wrong.
    fn is_doubtful<C: Command>(&self, call: &Call<'_, C>, error: &CallError) -> bool {
        let CallError::Refused { code, .. } = error else { return false };
        C::OPCODE == Opcode::Decrypt
            && call.is_harmless()
            && *code == ErrorCode::CIPHERTEXT_INVALID
            && self.slots().len() > 1
            && self.spare.doubt()
    }

    /// What another device says. If it opens what the first one refuses twice, the first one is wrong.
    async fn second_opinion<C: Command>(
        &self,
        call: &Call<'_, C>,
        (slot, device): &Found,
        refusal: CallError,
    ) -> Result<Reply<C>, CallError> {
        let Ok(Some((other, second))) = self.pick(call.route, call.size, &[slot.number]) else {
            return Err(refusal);
        };
        let reply = match self.attempt(call, &other, &second).await {
            Ok(reply) => reply,
            Err(error) => {
                self.forget(&other, error);
                return Err(refusal);
            }
        };
        self.forget(slot, refusal);
        match self.attempt(call, slot, device).await {
            Err(again @ CallError::Refused { code: ErrorCode::CIPHERTEXT_INVALID, .. }) => {
                self.forget(slot, again);
                slot.found(CallError::Contradicted);
            }
            // It was wrong once, which an answer that breaks the protocol is as well.
            Ok(again) => {
                if let Some(receipt) = again.receipt {
                    self.keep(slot, receipt);
                }
                slot.heard_nonsense(C::OPCODE);
            }
            Err(error) => self.forget(slot, error),
        }
        Ok(reply)
    }

    /// Hands the receipt of an answer that no caller sees to the audit sink.
    fn keep(&self, slot: &Slot, receipt: crate::audit::DeviceReceipt) {
        if let Some(chain) = slot.chain.lock().as_mut() {
            chain.keep_orphan(receipt);
            slot.signal.raise();
        }
    }
}

/// Which of two ended first, and with what.
enum Either<A, B> {
    First(A),
    Second(B),
}

async fn race<A: Future, B: Future>(
    mut first: Pin<&mut A>,
    mut second: Pin<&mut B>,
) -> Either<A::Output, B::Output> {
    poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
