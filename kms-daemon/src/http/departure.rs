//! Clients that leave while their requests are under way.
//!
//! A client may end its side of the connection and wait for the answer, so an end does not end a request. But no device
//! begins anything for such a client any more: what waits in a queue is not sent.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use host_driver::caller::Gone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::sleep;

/// How often it is looked whether the client of a slow request is there.
const GLANCE: Duration = Duration::from_millis(200);

/// The side of a connection that the client sends on, as long as there is the connection.
#[derive(Clone, Default)]
pub struct Line(Weak<Mutex<OwnedReadHalf>>);

impl Line {
    pub(super) fn of(half: &Arc<Mutex<OwnedReadHalf>>) -> Self {
        Self(Arc::downgrade(half))
    }

    /// Whether the client has ended its side, or all of it.
    fn has_ended(&self) -> bool {
        // Without a connection, the request has been told already.
        let Some(half) = self.0.upgrade() else { return false };
        let half = half.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = [PollFd::new((*half).as_ref(), PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

/// Does `work`, and raises `gone` once the client has ended its side.
pub(super) async fn watched<T>(work: impl Future<Output = T>, line: Line, gone: Gone) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(GLANCE) => {}
        }
        if line.has_ended() {
            gone.raise();
            return work.await;
        }
    }
}
