//! The body of an answer, counted until the HTTP library has no more use for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::seats::Hold;

/// An answer that waits to be taken. HTTP/2 holds it while the client's window is closed.
pub(super) struct Held {
    body: Full<Bytes>,
    hold: Option<Hold>,
}

impl Held {
    pub(super) fn new(body: Full<Bytes>, hold: Hold) -> Self {
        Self { body, hold: Some(hold) }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let hold = self.hold.take();
        let counted = |data| Bytes::from_owner(Counted { data, _hold: hold });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets the HTTP library hold bytes that are counted.
struct Counted {
    data: Bytes,
    _hold: Option<Hold>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
