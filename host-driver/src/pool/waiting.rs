//! Calls that wait for a device to come into service.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

/// Where calls wait. A thread wakes those whose time is over, so no runtime's timer is needed.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Instant, oneshot::Sender<()>)>,
    /// When the thread looks next; `None` if it waits to be told.
    next: Option<Instant>,
    closed: bool,
}

impl WaitingRoom {
    /// Opens a waiting room and starts its thread, which ends when the room is closed.
    pub(super) fn open() -> std::io::Result<Arc<Self>> {
        let room = Arc::new(Self::default());
        let clock = Arc::clone(&room);
        thread::Builder::new().name("hsm-waiting".to_owned()).spawn(move || clock.run())?;
        Ok(room)
    }

    /// Starts waiting: the receiver resolves when [`WaitingRoom::wake_all`] is called, at
    /// `until`, or when the room is closed.
    pub(super) fn enter(&self, until: Instant) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.closed {
            state.waiting.push((until, sender));
            if state.next.is_none_or(|next| until < next) {
                self.changed.notify_one();
            }
        }
        receiver
    }

    pub(super) fn wake_all(&self) {
        self.lock().waiting.clear(); // dropping the sender resolves the receiver
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state.waiting.retain(|(until, sender)| *until > now && !sender.is_closed());
            let next = state.waiting.iter().map(|(until, _)| *until).min();
            state.next = next;
            state = match next {
                Some(next) => {
                    let patience = next.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, patience);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The list is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
