//! A connection whose client must take what it asked for.
//!
//! A client that sends requests and does not read the answers, or reads a byte now and then, would
//! hold its connection for good: nothing of HTTP bounds the time in which an answer is taken.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, Sleep, sleep};

use super::departure::Line;
use super::seats::Standing;

/// What must be taken in each span of time in which output waits, in bytes: what the slowest of
/// honest lines takes in a few seconds.
const LEAST: usize = 4096;

/// A stream that fails when output waits for longer than its patience and less than [`LEAST`]
/// bytes of it are taken. It is then reset, so that the kernel keeps nothing for it either.
pub(super) struct Paced {
    /// Looked at while a request is under way, to see whether its client has left.
    reads: Arc<Mutex<OwnedReadHalf>>,
    writes: OwnedWriteHalf,
    /// Read before what is still to come.
    begin: io::Cursor<Vec<u8>>,
    patience: Duration,
    waiting: Option<Waiting>,
    standing: Arc<Standing>,
    has_stalled: bool,
}

/// A span of time in which output waits.
struct Waiting {
    end: Pin<Box<Sleep>>,
    taken: usize,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, patience: Duration, standing: Arc<Standing>) -> Self {
        let begin = io::Cursor::default();
        let (reads, writes) = stream.into_split();
        let reads = Arc::new(Mutex::new(reads));
        Self { reads, writes, begin, patience, waiting: None, standing, has_stalled: false }
    }

    /// The side of it that the client sends on.
    pub(super) fn line(&self) -> Line {
        Line::of(&self.reads)
    }

    /// Puts back what was read.
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        self.begin = io::Cursor::new(bytes);
    }

    /// What becomes of a write.
    fn paced(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            if let (Ok(count), Some(waiting)) = (&written, &mut self.waiting) {
                waiting.taken = waiting.taken.saturating_add(*count);
            }
            return Poll::Ready(written);
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { end: Box::pin(sleep(patience)), taken: 0 });
        loop {
            ready!(waiting.end.as_mut().poll(context));
            if waiting.taken < LEAST {
                break;
            }
            waiting.taken = 0;
            waiting.end.as_mut().reset(Instant::now() + patience);
        }
        if !self.has_stalled {
            self.has_stalled = true;
            self.standing.stalled();
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "answers are not taken")))
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let at = usize::try_from(this.begin.position()).unwrap_or(usize::MAX);
        if let Some(rest) = this.begin.get_ref().get(at..).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            this.begin.set_position((at + count) as u64);
            return Poll::Ready(Ok(()));
        }
        let mut reads = this.reads.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *reads).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writes).poll_write(context, bytes);
        self.paced(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writes).poll_write_vectored(context, bytes);
        self.paced(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.writes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes has written all that there is.
        self.waiting = None;
        Pin::new(&mut self.writes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writes).poll_shutdown(context)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if self.has_stalled || self.standing.is_ended() {
            // Else the kernel would offer the rest to such a client for minutes.
            let _ = self.writes.as_ref().set_zero_linger();
        }
    }
}
