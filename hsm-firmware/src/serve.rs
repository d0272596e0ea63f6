//! Main loop: reads frames from the connections to the hosts, and sends replies.
//!
//! All connections are served in turn, one frame at a time, so none starves another. A connection
//! takes no new frame while its last reply is being sent: a host that does not read blocks only its
//! own connection. Nothing is allocated, and only [`Runtime::wait`] waits.
#![warn(clippy::arithmetic_side_effects)]

use hsm_core::{Hsm, NextWork, Platform};
use hsm_protocol::frame::{Decoder, Frame};

/// A byte stream to a host. No method blocks.
pub trait Port {
    /// Bytes that were received and not consumed; empty if there are none now. These may be fewer
    /// than have arrived: look again after [`Self::consume`].
    fn received(&mut self) -> &[u8];

    /// Forgets the first `count` bytes of [`Self::received`].
    fn consume(&mut self, count: usize);

    /// Takes bytes to send from the front of `bytes`, and returns how many it took; 0 while busy. A
    /// port that did not take all bytes makes [`Runtime::wait`] return when it can take more.
    fn send(&mut self, bytes: &[u8]) -> usize;
}

/// What answers frames: the HSM.
pub trait Responder {
    /// Writes the encoded reply to the front of `reply`, which has room for the longest, and
    /// returns the reply's length; 0 for no reply.
    fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize;

    /// Does a bounded step of background work, and returns when there is more to do.
    fn work(&mut self) -> NextWork {
        NextWork::WithAFrame
    }
}

impl<P: Platform> Responder for Hsm<P> {
    fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        Self::process(self, frame, reply)
    }

    fn work(&mut self) -> NextWork {
        Self::work(self)
    }
}

/// What the main loop needs from the board.
pub trait Runtime {
    /// Sleeps until a port may have received something or may take more to send, but not past
    /// `alarm`, in microseconds since boot. May return early.
    fn wait(&mut self, alarm: Option<u64>);

    /// Whether the main loop should end. It sends the last reply first.
    fn should_stop(&mut self) -> bool;

    /// Tells the watchdog that the main loop has come round. Called in each round and nowhere else, so
    /// that nothing but a main loop that goes on keeps the watchdog from ending the firmware.
    fn feed_watchdog(&mut self);
}

/// Buffers of a connection.
///
/// `N` bytes hold the longest encoded frame that the board takes or sends ([`encoded_size`] of its
/// payload); a longer one is dropped.
///
/// [`encoded_size`]: hsm_protocol::frame::encoded_size
pub struct LineBuffers<const N: usize> {
    decoder: Decoder<N>,
    reply: [u8; N],
}

impl<const N: usize> Default for LineBuffers<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> LineBuffers<N> {
    /// Creates empty buffers.
    #[must_use]
    pub const fn new() -> Self {
        Self { decoder: Decoder::new(), reply: [0; N] }
    }
}

/// A port, the frame being received, and the reply being sent.
pub struct Line<'p, const N: usize> {
    port: &'p mut dyn Port,
    buffers: &'p mut LineBuffers<N>,
    /// Range of the reply's bytes that are still to be sent: from `sent` to `end`.
    sent: usize,
    end: usize,
}

impl<'p, const N: usize> Line<'p, N> {
    /// Creates a connection on this port.
    pub fn new(port: &'p mut dyn Port, buffers: &'p mut LineBuffers<N>) -> Self {
        Self { port, buffers, sent: 0, end: 0 }
    }

    /// Sends the rest of a reply, or receives up to one frame and answers it. Returns false if
    /// there was nothing to do.
    fn advance(&mut self, responder: &mut impl Responder) -> bool {
        if !self.is_sent() {
            return self.send();
        }
        let LineBuffers { decoder, reply } = &mut *self.buffers;
        let received = self.port.received();
        if received.is_empty() {
            return false;
        }
        let mut rest = received;
        let len = decoder.next(&mut rest).map_or(0, |frame| responder.process(frame, reply));
        let consumed = received.len().saturating_sub(rest.len());
        self.port.consume(consumed);
        self.sent = 0;
        self.end = len.min(N);
        self.send();
        true
    }

    /// Sends as many bytes as the port takes; returns false if it takes none.
    fn send(&mut self) -> bool {
        let Some(rest) = self.buffers.reply.get(self.sent..self.end) else { return false };
        if rest.is_empty() {
            return false;
        }
        let sent = self.port.send(rest);
        self.sent = self.sent.saturating_add(sent).min(self.end);
        sent > 0
    }

    fn is_sent(&self) -> bool {
        self.sent == self.end
    }
}

/// Consecutive rounds with frames after which background work gets a turn although there are more.
const BUSY_ROUNDS: u32 = 16;

/// Serves the connections until [`Runtime::should_stop`], and does background work between frames.
pub fn serve<const N: usize>(
    responder: &mut impl Responder,
    lines: &mut [Line<'_, N>],
    runtime: &mut impl Runtime,
) {
    let mut busy_rounds = 0u32;
    loop {
        runtime.feed_watchdog();
        let mut idle = true;
        for line in &mut *lines {
            idle &= !line.advance(responder);
            if runtime.should_stop() {
                // The host whose request ended the loop gets its reply; the requests of others stay
                // unanswered.
                while !line.is_sent() {
                    runtime.feed_watchdog();
                    if !line.send() {
                        runtime.wait(None);
                    }
                }
                return;
            }
        }
        if idle {
            busy_rounds = 0;
            match responder.work() {
                NextWork::AtOnce => {}
                NextWork::At(time) => runtime.wait(Some(time)),
                NextWork::WithAFrame => runtime.wait(None),
            }
        } else {
            busy_rounds = busy_rounds.saturating_add(1);
            if busy_rounds >= BUSY_ROUNDS {
                busy_rounds = 0;
                responder.work();
            }
        }
    }
}
