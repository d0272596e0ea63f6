//! Main loop: bytes from the lines become frames, frames become replies.
//!
//! All lines are served in turn, a frame at a time, so none starves another. A line takes no new
//! frame while its last reply is on the way: a host that does not read stops its own line only.
//! Nothing is allocated, and nothing waits but [`Runtime::wait`].
#![warn(clippy::arithmetic_side_effects)]

use hsm_core::{Hsm, NextWork, Platform};
use hsm_protocol::frame::{Decoder, Frame, MAX_ENCODED};

/// A byte stream to a host. Nothing blocks.
pub trait Port {
    /// Bytes that were received and not consumed; none if there are none now. May be fewer than
    /// have come: look again after [`Self::consume`].
    fn received(&mut self) -> &[u8];

    /// Forgets the first `count` bytes of [`Self::received`].
    fn consume(&mut self, count: usize);

    /// Takes bytes to send from the front of `bytes` and returns how many; 0 while busy. A port
    /// that took less than all lets [`Runtime::wait`] return when it can take more.
    fn send(&mut self, bytes: &[u8]) -> usize;
}

/// Answers frames: the HSM.
pub trait Responder {
    /// Writes the encoded reply to the front of `reply`, which has [`MAX_ENCODED`] bytes, and
    /// returns its length; 0 for no reply.
    fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize;

    /// A bounded step of work that nobody waits for; when there is more to do.
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

/// What the main loop needs of the board.
pub trait Runtime {
    /// Sleeps until a port may have received something or may take more to send, and no longer than
    /// until `alarm`, in microseconds since boot. May return early.
    fn wait(&mut self, alarm: Option<u64>);

    /// Whether the main loop is to end. The last reply is sent before it does.
    fn should_stop(&mut self) -> bool;
}

/// Buffers of a line.
pub struct LineBuffers {
    decoder: Decoder<MAX_ENCODED>,
    reply: [u8; MAX_ENCODED],
}

impl Default for LineBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl LineBuffers {
    /// Empty buffers.
    #[must_use]
    pub const fn new() -> Self {
        Self { decoder: Decoder::new(), reply: [0; MAX_ENCODED] }
    }
}

/// A port, the frame being received and the reply being sent.
pub struct Line<'p> {
    port: &'p mut dyn Port,
    buffers: &'p mut LineBuffers,
    /// Bytes of the reply that are still to be sent: from `sent` to `end`.
    sent: usize,
    end: usize,
}

impl<'p> Line<'p> {
    /// A line on this port.
    pub fn new(port: &'p mut dyn Port, buffers: &'p mut LineBuffers) -> Self {
        Self { port, buffers, sent: 0, end: 0 }
    }

    /// Sends what is left of a reply, or receives up to one frame and answers it. False if there
    /// was nothing to do.
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
        self.end = len.min(MAX_ENCODED);
        self.send();
        true
    }

    /// Sends what the port takes; false if that is nothing.
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

/// Rounds with frames to answer after which background work gets a turn all the same.
const BUSY_ROUNDS: u32 = 16;

/// Serves the lines until [`Runtime::should_stop`], and works between the frames.
pub fn serve(responder: &mut impl Responder, lines: &mut [Line<'_>], runtime: &mut impl Runtime) {
    let mut busy_rounds = 0u32;
    loop {
        let mut idle = true;
        for line in &mut *lines {
            idle &= !line.advance(responder);
            if runtime.should_stop() {
                // Who asked for it gets the answer; other hosts see their requests unanswered.
                while !line.is_sent() {
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
