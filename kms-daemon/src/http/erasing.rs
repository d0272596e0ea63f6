//! A stream whose reader keeps nothing of what it has read.
//!
//! Libraries of HTTP and TLS read into buffers that live as long as their connection. What was read
//! stays in the free part of such a buffer until later bytes fall on it: a plaintext for as long as
//! its client is silent. Whoever waits for bytes hands out the free part, though, to have it filled;
//! so it is overwritten whenever there is nothing to fill it with.
//!
//! A reader of HTTP/2 hands out what is free behind the bytes it has read, never what is free before
//! them, until the buffer is full. So it is filled, with a frame of a type that does not exist, which
//! every implementation ignores (RFC 9113 section 5.5); then it begins anew.
//!
//! What is given back to the allocator is erased there, see [`kms_base::memory`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frames::Frames;

mod frames;

/// What hyper has of a buffer for HTTP/1.1 at first, and as long as heads come whole: it hands out all
/// that is free of such a buffer, and a part of a larger one.
const FIRST: usize = 8 * 1024;
/// Most bytes that are read at once: a buffer that was filled is followed by a larger one.
const AT_ONCE: usize = FIRST - 1;

/// A stream that erases what is free of its reader's buffer while it waits.
pub(super) struct Erasing<S> {
    stream: S,
    /// Of HTTP/2: where in its frames the reader is.
    frames: Option<Frames>,
    /// Set when a reader of HTTP/1.1 has a buffer that cannot be erased while it lives.
    grown: Arc<AtomicBool>,
}

impl<S> Erasing<S> {
    /// For readers that hand out all that is free: HTTP/1.1, until [`Erasing::grown`], and TLS.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: None, grown: Arc::default() }
    }

    /// For a server of HTTP/2, from the preface on.
    pub(super) fn of_http2(stream: S) -> Self {
        Self { frames: Some(Frames::default()), ..Self::new(stream) }
    }

    /// True once the buffer of a reader of HTTP/1.1 has grown, as a head came in pieces or was long:
    /// the connection is to end with the answer.
    pub(super) fn grown(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.grown)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Erasing<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, frames, grown } = self.get_mut();
        if frames.as_mut().is_some_and(|frames| frames.continue_filler(buffer)) {
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() > FIRST {
            grown.store(true, Ordering::Relaxed);
        }
        let room = buffer.remaining().min(AT_ONCE);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let mut outcome = Pin::new(&mut *stream).poll_read(cx, &mut part);
        let mut before = 0;
        // All that there is: a head that comes in two parts would need a larger buffer.
        while matches!(outcome, Poll::Ready(Ok(()))) && part.remaining() > 0 {
            if part.filled().len() == before {
                break; // the end
            }
            before = part.filled().len();
            outcome = Pin::new(&mut *stream).poll_read(cx, &mut part);
        }
        let read = part.filled();
        if let Some(frames) = frames {
            frames.pass(read);
        }
        let count = read.len();
        buffer.advance(count);
        if count > 0 {
            return Poll::Ready(Ok(())); // an error will be there the next time as well
        }
        if outcome.is_ready() {
            return outcome;
        }
        // No store that could be left out: the reader has this memory still.
        buffer.initialize_unfilled().fill(0);
        match frames.as_mut().is_some_and(|frames| frames.begin_filler(buffer)) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Erasing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Gives these pieces, one at a time, and then makes its reader wait.
    struct Pieces(Vec<&'static [u8]>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Pending;
            }
            buffer.put_slice(self.0.remove(0));
            Poll::Ready(Ok(()))
        }
    }

    fn read(stream: &mut Erasing<Pieces>, memory: &mut [u8]) -> Option<usize> {
        let mut buffer = ReadBuf::new(memory);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(stream).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(outcome) => outcome.ok().map(|()| buffer.filled().len()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_is_free_is_erased_while_there_is_nothing_to_read() {
        let mut stream = Erasing::new(Pieces(vec![b"secret"]));
        let mut memory = [0x55; 20_000];
        assert_eq!(read(&mut stream, &mut memory), Some(6));
        assert_eq!(&memory[..6], b"secret");
        assert_eq!(read(&mut stream, &mut memory), None);
        assert!(memory.iter().all(|byte| *byte == 0), "all of it, not what is read at once only");
    }

    #[test]
    fn what_is_there_is_read_at_once_and_a_larger_buffer_is_noticed() {
        let mut stream = Erasing::new(Pieces(vec![b"PO", b"ST / "]));
        let grown = stream.grown();
        assert_eq!(read(&mut stream, &mut [0; FIRST]), Some(7));
        assert_eq!(read(&mut stream, &mut [0; FIRST]), None);
        assert!(!grown.load(Ordering::Relaxed));
        assert_eq!(read(&mut stream, &mut [0; FIRST + 1]), None);
        assert!(grown.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_not_free_stays() {
        let mut stream = Erasing::new(Pieces(vec![]));
        let mut memory = [0x55; 32];
        let mut buffer = ReadBuf::new(&mut memory);
        buffer.advance(10);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut buffer).is_pending());
        assert_eq!(memory[..10], [0x55; 10]);
        assert_eq!(memory[10..], [0; 22]);
    }

    #[test]
    fn a_buffer_of_http2_is_filled_once_its_frames_are_read() {
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let data: &[u8] = b"\0\0\x06\0\x01\0\0\0\x01secret";
        let mut stream = Erasing::of_http2(Pieces(vec![preface, data]));
        let mut memory = [0; 64];
        assert_eq!(read(&mut stream, &mut memory), Some(39));
        // 25 bytes are free behind the frame: 9 of a header, and 16.
        assert_eq!(read(&mut stream, &mut memory[39..]), Some(25));
        assert_eq!(memory[39..48], [0, 0, 16, frames::IGNORED, 0, 0, 0, 0, 0]);
        // The reader begins anew in the same memory.
        assert_eq!(read(&mut stream, &mut memory), None);
        assert_eq!(memory, [0; 64]);
    }
}
