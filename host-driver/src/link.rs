//! The line to a device: framing, credit, correlation and timeouts.
//!
//! A caller seals and sends in its own thread if there is credit. One thread receives, finishes
//! calls, and sends what waited; a device in this process does that in its own thread. Every call ends: with
//! its answer, or with a typed error.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use hsm_protocol::frame::{Decoder, MAX_ENCODED};
use tokio::sync::oneshot;
use zeroize::Zeroize;

use crate::error::CallError;
use crate::request::Answer;
use crate::session::{Session, SharedChain};
use crate::stack;
use crate::transport::{Receiver, Sender, Transport, TransportError};
use crate::wait::Signal;

pub(crate) use exchange::{Credit, Message};
use exchange::{Done, Exchange, Hung};
pub(crate) use term::Term;
use term::Waiter;

mod answer;
mod exchange;
mod term;
mod timeout;

/// How late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(50);
/// Bytes taken from the line at once.
const READ_SIZE: usize = 16 * 1024;
/// Bytes of stack that opening an answer takes, and more.
const STACK: usize = 64 * 1024;

type Outcome = Result<Answer, CallError>;

/// An open line to a device. Dropping it closes the line and ends its calls.
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Raised when the line or the session is lost.
    signal: Arc<Signal>,
    chain: SharedChain,
}

struct State {
    exchange: Exchange<Waiter>,
    sender: Box<dyn Sender>,
    /// Why the line is down.
    down: Option<Arc<str>>,
}

/// The answer to a message, when it comes.
pub(crate) struct Pending {
    answer: oneshot::Receiver<Outcome>,
    shared: Arc<Shared>,
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.answer).poll(cx).map(|received| {
            received.unwrap_or_else(|_| {
                Err(CallError::LinkDown { reason: "the line was closed".into(), sent: true })
            })
        })
    }
}

impl Drop for Pending {
    /// The caller may be gone between the answer and a look at it, as when another device was faster.
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(unheard) = self.answer.try_recv()
            && self.shared.keep_receipt(unheard)
        {
            self.shared.signal.raise();
        }
    }
}

impl Link {
    /// Takes over a transport and starts the thread that receives.
    pub(crate) fn open(
        transport: Box<dyn Transport>,
        timeout: Duration,
        chain: SharedChain,
        signal: Arc<Signal>,
    ) -> Result<Self, TransportError> {
        let halves = transport.split()?;
        let mut first = [0; 4];
        getrandom::fill(&mut first).map_err(std::io::Error::from)?;
        let now = Instant::now();
        let state = State {
            exchange: Exchange::new(timeout, u32::from_le_bytes(first), now),
            sender: halves.sender,
            down: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), signal, chain });
        let receiving = Arc::clone(&shared);
        let mut receiver = halves.receiver;
        // The pipe is held by the link's sender, so its sink must not hold the link.
        // It may send, in the device's thread, but does not wait: credit ends long before the pipe is full.
        let (mut frames, link) = (Frames::new(), Arc::downgrade(&shared));
        let sink = move |bytes: &[u8]| {
            if let Some(link) = link.upgrade() {
                let now = Instant::now();
                link.with(|state| frames.take(state, bytes, now));
            }
        };
        let _ = receiver.hand_to(Box::new(sink));
        thread::Builder::new()
            .name("hsm-link".to_owned())
            .spawn(move || receive(&receiving, receiver))?;
        Ok(Self { shared })
    }

    /// Sends a message as soon as there is credit. The outcome comes at the latest when the
    /// deadline has passed.
    pub(crate) fn submit(&self, message: Message, term: impl Into<Term>) -> Pending {
        let (sender, pending) = oneshot::channel();
        let term = term.into();
        let deadline = term.deadline;
        let ticket = Waiter::new(sender, term);
        self.shared.with(|state| match &state.down {
            Some(reason) => {
                let error = CallError::LinkDown { reason: Arc::clone(reason), sent: false };
                state.exchange.refuse(ticket, error);
            }
            None => state.exchange.submit(message, ticket, deadline, Instant::now()),
        });
        Pending { answer: pending, shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn set_credit(&self, credit: Credit) {
        self.shared.with(|state| state.exchange.set_credit(credit));
    }

    pub(crate) fn install(&self, session: Session) {
        self.shared.with(|state| state.exchange.install(session));
    }

    /// Whether the line is up and a session is open.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.shared.lock();
        state.down.is_none() && state.exchange.has_session()
    }

    /// Why the line is down, if it is.
    pub(crate) fn down(&self) -> Option<Arc<str>> {
        self.shared.lock().down.clone()
    }

    /// Closes the line; `reason` goes to the calls it ends.
    pub(crate) fn close(&self, reason: &str) {
        self.shared.with(|state| state.go_down(reason));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close("the line was closed");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic in another thread the state may be wrong about one call at most; a
        // deadline or the watch on the device ends that one too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, sends what that put into the output buffer, and tells callers.
    fn with(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_ready = state.is_ready();
        change(&mut state);
        state.flush();
        let done = state.exchange.take_done();
        let lost = was_ready && !state.is_ready();
        drop(state); // callers may call again as soon as they are told
        self.tell(done, lost);
    }

    fn tell(&self, done: Vec<Done<Waiter>>, lost: bool) {
        let answered = !done.is_empty();
        for Done { ticket, outcome } in done {
            let unheard = match ticket {
                Some(ticket) => ticket.tell(outcome),
                None => Some(outcome),
            };
            if let Some(unheard) = unheard {
                self.keep_receipt(unheard);
            }
        }
        if lost || (answered && self.chain.has_news()) {
            self.signal.raise();
        }
    }

    /// Keeps the receipt of an answer that no caller hears, for the audit sink. Returns whether it has one.
    fn keep_receipt(&self, unheard: Outcome) -> bool {
        let Ok(Answer { receipt: Some(receipt), .. }) = unheard else { return false };
        let mut chain = self.chain.lock();
        chain.as_mut().map(|chain| chain.keep_orphan(receipt)).is_some()
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.down.is_none() && self.exchange.has_session()
    }

    fn flush(&mut self) {
        let output = self.exchange.output();
        if output.is_empty() || self.down.is_some() {
            return;
        }
        let sent = self.sender.send(output);
        output.clear();
        if let Err(error) = sent {
            self.go_down(&error.to_string());
        }
    }

    fn go_down(&mut self, reason: &str) {
        if self.down.is_some() {
            return;
        }
        let reason: Arc<str> = reason.into();
        self.sender.close();
        let error = |sent| CallError::LinkDown { reason: Arc::clone(&reason), sent };
        self.exchange.fail_all(error);
        self.down = Some(reason);
    }
}

/// Finds the frames in what is received.
struct Frames(Box<Decoder<MAX_ENCODED>>);

impl Frames {
    fn new() -> Self {
        Self(Box::new(Decoder::new()))
    }

    fn take(&mut self, state: &mut State, mut input: &[u8], now: Instant) {
        while let Some(frame) = self.0.next(&mut input) {
            state.exchange.receive(frame, now);
        }
    }
}

/// Receives until the line is down.
fn receive(shared: &Shared, mut receiver: Box<dyn Receiver>) {
    let mut frames = Frames::new();
    let mut buffer = vec![0; READ_SIZE];
    let mut next_tick = Instant::now() + TICK;
    loop {
        let received = receiver.receive(&mut buffer, TICK);
        let now = Instant::now();
        let mut down = false;
        let received_some = received.as_ref().is_ok_and(|count| *count > 0);
        shared.with(|state| {
            match received {
                Ok(count) => frames.take(state, buffer.get(..count).unwrap_or_default(), now),
                Err(error) => state.go_down(&error.to_string()),
            }
            if now >= next_tick {
                next_tick = now + TICK;
                if let Err(Hung { opcode, waited }) = state.exchange.expire(now) {
                    state.go_down(&format!(
                        "it has not answered {opcode:?} for {:.1} s; another program may have the \
                         line; if not, switch the device off and on",
                        waited.as_secs_f32()
                    ));
                }
            }
            down = state.down.is_some();
        });
        if received_some {
            stack::erase::<STACK>();
        }
        if down {
            buffer.zeroize();
            return;
        }
    }
}
