//! Reading a request body within bounds of size, memory and time.
//!
//! The first bytes of a body, as many as nearly all requests have, are read whoever sends them.
//! What is more takes memory that is bounded over all connections, and is read only if the head of
//! the request passes; the rest of a request whose head does not is discarded as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::content::Content;
use kms_base::error::{Exception, KmsError};

/// Longest body, in bytes. The largest request of the API, a policy of 32 KiB with a description
/// and tags, is below 256 KiB.
pub(super) const MAX_BODY: usize = 1 << 20;
/// As much of a body is read from anybody, in bytes.
pub(super) const FIRST: usize = 16 << 10;
/// Longest body that is received to its end, in bytes, so that its sender reads the refusal: a
/// client that is cut off while it sends sees a broken connection only.
const MAX_DISCARDED: usize = 16 * MAX_BODY;
/// The same of a request whose head does not pass.
const MAX_DISCARDED_OF_STRANGERS: usize = 4 * MAX_BODY;
/// Longest time from the head of a request to the end of its body.
pub(super) const BODY_TIME: Duration = Duration::from_secs(20);
/// Longest time in which nothing of a body comes.
const STALL: Duration = Duration::from_secs(5);
/// Longest time that a body waits for memory.
const MEMORY_TIME: Duration = Duration::from_secs(2);

/// Memory of bodies beyond [`FIRST`], over all connections, in bytes: of requests on connections
/// that have shown a valid signature, and of requests that only name an access key. The former
/// may use the latter's as well.
const PROVEN: usize = 40 << 20;
const NAMED: usize = 24 << 20;

/// Longest body of a request to an external key store, in bytes: plaintext, additional authenticated data and metadata
/// of the largest one have less than 32 KiB. And the memory for all of them, likewise.
const MAX_BODY_OF_STORES: usize = 64 << 10;
const PROVEN_OF_STORES: usize = 8 << 20;
const NAMED_OF_STORES: usize = 4 << 20;

/// White space before an answer over HTTP/2, in bytes. The library copies what begins a DATA frame
/// into a buffer that lives as long as the connection, up to this many bytes of the buffer, so that
/// head and beginning are written at once. JSON and XML may begin with white space.
const MARGIN: usize = 256;

/// The body of a response, zeroised once it has been written out.
pub(super) fn secret(version: Version, body: Zeroizing<Vec<u8>>) -> Bytes {
    if version < Version::HTTP_2 || body.is_empty() {
        return Bytes::from_owner(Secret(body));
    }
    let mut spaced = Zeroizing::new(Vec::with_capacity(MARGIN + body.len()));
    spaced.resize(MARGIN, b' ');
    spaced.extend_from_slice(&body);
    Bytes::from_owner(Secret(spaced))
}

/// Lets the HTTP library hold a body that is zeroised afterwards.
struct Secret(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The memory that bodies may take.
#[derive(Debug)]
pub struct Memory {
    proven: Arc<Semaphore>,
    named: Arc<Semaphore>,
    /// Longest body, in bytes.
    most: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new((PROVEN, NAMED), MAX_BODY)
    }
}

/// Whose body it is, as far as the head of its request tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// On a connection that has shown a valid signature.
    Proven,
    /// It names an access key that exists.
    Named,
}

impl Memory {
    /// Returns the memory of requests to external key stores, which take nothing from others.
    #[must_use]
    pub fn of_stores() -> Self {
        Self::new((PROVEN_OF_STORES, NAMED_OF_STORES), MAX_BODY_OF_STORES)
    }

    fn new((proven, named): (usize, usize), most: usize) -> Self {
        let of = |bytes: usize| Arc::new(Semaphore::new(bytes / FIRST));
        Self { proven: of(proven), named: of(named), most }
    }

    /// Reads a whole body. `pass` looks at the head of its request.
    ///
    /// # Errors
    /// What the client is told; the connection cannot be used after that.
    pub(super) async fn read<B, P>(&self, body: B, pass: P) -> Result<Content, KmsError>
    where
        B: Body<Data = Bytes>,
        P: Future<Output = Result<Sender, KmsError>>,
    {
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if expected > MAX_DISCARDED {
            return Err(self.too_large()); // as announced: nobody waits for that much
        }
        let end = Instant::now() + BODY_TIME;
        let mut body = std::pin::pin!(body);
        let mut pass = Some(pass);
        let mut sender = Ok(Sender::Named);
        let mut content = Content::default();
        let mut length = 0_usize;
        loop {
            let by = end.min(Instant::now() + STALL);
            let Some(data) = next(body.as_mut(), by).await? else { break };
            length = length.saturating_add(data.len());
            let most = if sender.is_ok() { MAX_DISCARDED } else { MAX_DISCARDED_OF_STRANGERS };
            if length > most {
                return Err(self.too_large());
            }
            if length > FIRST
                && let Some(pass) = pass.take()
            {
                sender = pass.await;
            }
            if let Ok(known) = sender
                && length.max(expected) <= self.most
                && let Err(error) = self.append(&mut content, &data, known).await
            {
                sender = Err(error);
            }
            if sender.is_err() || length > self.most {
                content = Content::default(); // what is not answered is not kept
            }
        }
        if length > self.most { Err(self.too_large()) } else { sender.map(|_| content) }
    }

    /// Appends to a body, with more memory if it has too little.
    async fn append(
        &self,
        content: &mut Content,
        data: &[u8],
        sender: Sender,
    ) -> Result<(), KmsError> {
        let lacking = content.lacks(content.len() + data.len());
        if lacking > 0 {
            content.grant(lacking, self.take(lacking, sender).await?);
        }
        content.append(data).map_err(|_| full())
    }

    fn too_large(&self) -> KmsError {
        let text = match self.most {
            MAX_BODY => "The request body is larger than 1 MiB.".to_owned(),
            most => format!("The request body is larger than {} KiB.", most >> 10),
        };
        KmsError::new(Exception::RequestEntityTooLarge, text)
    }

    /// Takes so many times [`FIRST`] of memory.
    async fn take(&self, count: usize, sender: Sender) -> Result<OwnedSemaphorePermit, KmsError> {
        let count = u32::try_from(count).map_err(|_| full())?;
        let own = match sender {
            Sender::Named => &self.named,
            Sender::Proven => {
                if let Ok(memory) = Arc::clone(&self.named).try_acquire_many_owned(count) {
                    return Ok(memory);
                }
                &self.proven
            }
        };
        match timeout(MEMORY_TIME, Arc::clone(own).acquire_many_owned(count)).await {
            Ok(Ok(memory)) => Ok(memory),
            _ => Err(full()),
        }
    }
}

/// The next data of a body, if it comes in time; `None` at its end.
async fn next<B>(mut body: Pin<&mut B>, by: Instant) -> Result<Option<Bytes>, KmsError>
where
    B: Body<Data = Bytes>,
{
    loop {
        let frame = match timeout_at(by, body.frame()).await {
            Err(_) => return Err(unreadable("The request body did not arrive in time.")),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(unreadable("The request body is incomplete.")),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

fn full() -> KmsError {
    KmsError::new(
        Exception::ServiceUnavailable,
        "More request bodies are on their way than there is memory for. Try again later.",
    )
}

fn unreadable(text: &'static str) -> KmsError {
    KmsError::new(Exception::Serialization, text)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    #[test]
    fn an_answer_over_http2_begins_with_what_may_be_copied() {
        let body = || Zeroizing::new(b"{\"Plaintext\":\"AAAA\"}".to_vec());
        assert_eq!(secret(Version::HTTP_11, body()), body().as_slice());
        let spaced = secret(Version::HTTP_2, body());
        assert_eq!(spaced[..MARGIN], [b' '; MARGIN]);
        assert_eq!(spaced[MARGIN..], *body().as_slice());
        assert!(secret(Version::HTTP_2, Zeroizing::default()).is_empty());
    }

    /// A body in pieces, which ends or stands still after them.
    struct Pieces {
        left: VecDeque<Bytes>,
        ends: bool,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.left.pop_front() {
                None if !self.ends => Poll::Pending,
                piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
            }
        }
    }

    fn pieces(bytes: &[u8]) -> Pieces {
        Pieces { left: bytes.chunks(7777).map(Bytes::copy_from_slice).collect(), ends: true }
    }

    async fn read(
        memory: &Memory,
        length: usize,
        sender: Option<Sender>,
    ) -> Result<Content, KmsError> {
        let refused = || KmsError::bare(Exception::UnrecognizedClient);
        memory.read(pieces(&vec![b'x'; length]), async { sender.ok_or_else(refused) }).await
    }

    fn free(memory: &Memory) -> (usize, usize) {
        (memory.named.available_permits() * FIRST, memory.proven.available_permits() * FIRST)
    }

    #[tokio::test]
    async fn what_is_short_is_read_without_a_look_at_its_head() {
        let memory = Memory::default();
        let unseen = async { panic!("the head does not matter") };
        let short = pieces(&[b'x'; FIRST]);
        assert_eq!(memory.read(short, unseen).await.unwrap().len(), FIRST);
        let refused = read(&memory, FIRST + 1, None).await.unwrap_err();
        assert_eq!(refused.exception(), Exception::UnrecognizedClient);
        // Too large is too large, whoever sends it.
        let large = read(&memory, MAX_BODY + 1, None).await.unwrap_err();
        assert_eq!(large.exception(), Exception::RequestEntityTooLarge);
        assert_eq!(free(&memory), (NAMED, PROVEN));
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_proven_have_their_own() {
        let memory = Memory::default();
        let mut named = Vec::new();
        let refused = loop {
            match read(&memory, MAX_BODY, Some(Sender::Named)).await {
                Ok(content) => named.push(content),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.exception(), Exception::ServiceUnavailable);
        let held = named.iter().map(Content::granted).sum::<usize>();
        assert!(held <= NAMED && held + MAX_BODY > NAMED, "{held}");
        let proven = read(&memory, MAX_BODY, Some(Sender::Proven)).await.unwrap();
        assert_eq!(proven.len(), MAX_BODY);
        assert!(read(&memory, FIRST, None).await.is_ok());
        drop((named, proven));
        assert_eq!(free(&memory), (NAMED, PROVEN));
    }

    #[tokio::test]
    async fn bodies_of_stores_are_shorter_and_take_less() {
        let memory = Memory::of_stores();
        let long = read(&memory, MAX_BODY_OF_STORES + 1, Some(Sender::Proven)).await.unwrap_err();
        assert_eq!(long.exception(), Exception::RequestEntityTooLarge);
        assert!(long.to_string().contains("64 KiB"), "{long}");
        let mut held = Vec::new();
        while let Ok(body) = read(&memory, MAX_BODY_OF_STORES, Some(Sender::Proven)).await {
            held.push(body);
        }
        let granted = held.iter().map(Content::granted).sum::<usize>();
        assert!(granted <= NAMED_OF_STORES + PROVEN_OF_STORES, "{granted}");
        assert!(granted + 2 * MAX_BODY_OF_STORES > NAMED_OF_STORES + PROVEN_OF_STORES, "{granted}");
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_whole_and_takes_what_it_needs() {
        let memory = Memory::default();
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let content = memory.read(pieces(&bytes), async { Ok(Sender::Named) }).await.unwrap();
        assert_eq!(&*content, &*bytes);
        assert_eq!(content.granted(), (128 << 10) - FIRST);
        assert_eq!(free(&memory).0, NAMED - (128 << 10) + FIRST);
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_ended() {
        // What else the machine does only adds to the time, and not each time.
        for _ in 0..20 {
            let begin = Instant::now();
            let silent = Pieces { ends: false, ..pieces(b"{") };
            let read = Memory::default().read(silent, async { Ok(Sender::Named) }).await;
            assert_eq!(read.unwrap_err().exception(), Exception::Serialization);
            if begin.elapsed() < STALL + Duration::from_secs(2) {
                return;
            }
        }
        panic!("it is not ended when it stands still");
    }
}
