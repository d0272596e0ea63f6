//! The HSM: a frame in, a frame out.

use hsm_protocol::ErrorCode;
use hsm_protocol::channel::{MESSAGE_1_SIZE, MESSAGE_2_SIZE, RECORD_OVERHEAD, Responder, Welcome};
use hsm_protocol::command::ModuleState;
use hsm_protocol::frame::{self, Frame, FrameKind, Header};
use hsm_protocol::request::RequestHead;
use zeroize::Zeroize;

use crate::dispatch::{After, Call, Caller, dispatch};
use crate::memory::{Memory, Owner};
use crate::module::Module;
use crate::platform::Platform;
use crate::session::{MAX_SESSIONS, Sessions};
use crate::throttle::Throttle;

/// Requests a host may have unanswered; a board's receive buffer must hold them.
pub const WINDOW: u16 = 32;

/// A whole HSM: module, sessions, and the buffers for one request.
///
/// It stays where it was made: [`Hsm::new`] makes one without secrets, and [`Hsm::start`] fills them
/// in. What is left of secrets that have ended, on the stack and in buffers, is erased before
/// [`Hsm::start`], [`Hsm::process`] and [`Hsm::work`] return, as far as their own frames.
pub struct Hsm<P: Platform> {
    module: Module<P>,
    sessions: Sessions,
    throttle: Throttle,
    scratch: <P::Memory as Owner>::Of<[u8]>,
    answer: <P::Memory as Owner>::Of<[u8]>,
}

/// When [`Hsm::work`] has something to do again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextWork {
    /// Now.
    AtOnce,
    /// At this time, in microseconds since boot.
    At(u64),
    /// Not before another frame has been answered.
    WithAFrame,
}

/// What a frame is answered with: kind, session, and length in the answer buffer.
type Answer = (FrameKind, u16, usize);

impl<P: Platform> Hsm<P> {
    /// An HSM that has not started. It holds no secret, so it may be moved.
    #[inline(always)] // where it stays, not on the stack first
    pub fn new(platform: P, memory: Memory<P::Memory>) -> Self {
        let Memory { scratch, answer, keys, entries } = memory;
        Self {
            module: Module::new(platform, keys, entries),
            sessions: Sessions::new(),
            throttle: Throttle::new(),
            scratch,
            answer,
        }
    }

    /// Boots the module: power-up self-tests, then what the storage holds. If something fails the
    /// module is in the error state, and says so in its status. To be called once.
    pub fn start(&mut self) {
        self.module.start();
        self.erase_residue();
    }

    /// The present state.
    pub const fn state(&self) -> ModuleState {
        self.module.state()
    }

    /// The board.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.module.platform
    }

    /// Answers a frame: writes the encoded reply to the front of `reply`, which should have
    /// room for the longest that the board sends, and returns its length. Every frame is answered.
    pub fn process(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        let length = self.respond(frame, reply);
        self.erase_residue();
        length
    }

    /// Work between requests: zeroises what is idle, and takes one bounded step of what a host has
    /// asked for and nobody waits for. Costs next to nothing when there is nothing to do.
    pub fn work(&mut self) -> NextWork {
        let next = self.step();
        self.erase_residue();
        next
    }

    /// Erases what secrets that have ended left behind, if any have. The frames of the functions
    /// that used them are below the caller's, as they are never inlined.
    fn erase_residue(&mut self) {
        if self.module.has_ended_secrets() {
            self.scratch.zeroize();
            self.answer.zeroize();
            self.module.erase_residue();
        }
    }

    #[inline(never)]
    fn respond(&mut self, frame: Frame<'_>, reply: &mut [u8]) -> usize {
        let begin = self.module.platform.monotonic_us();
        self.module.prepare();
        self.settle(After::Continue); // the module may have failed just now
        let Header { kind, session, sequence } = frame.header;
        let answered = match kind {
            FrameKind::PlainRequest => self.plain(frame.payload),
            FrameKind::Handshake1 => self.handshake(frame.payload),
            FrameKind::SealedRequest => self.sealed(session, sequence, frame.payload),
            _ => Err(ErrorCode::BAD_FRAME_KIND),
        };
        // A sealed answer has a counter of its own; all else echoes the request's.
        let (kind, session, sequence, length) = match answered {
            Ok(((kind, session, length), counter)) => {
                (kind, session, counter.unwrap_or(sequence), length)
            }
            Err(error) => {
                let code = error.to_u16().to_le_bytes();
                let length = hsm_protocol::bytes::concat(&mut self.answer, &[&code]);
                let length = length.map_or(0, |code| code.len());
                (FrameKind::LinkError, session, sequence, length)
            }
        };
        let payload = self.answer.get_mut(..length).unwrap_or_default();
        let encoded = frame::encode(Header { kind, session, sequence }, payload, reply);
        self.module.spent(begin);
        encoded.unwrap_or(0)
    }

    #[inline(never)]
    fn step(&mut self) -> NextWork {
        if self.module.is_searching() {
            let begin = self.module.platform.monotonic_us();
            self.module.prepare();
            self.module.leave_residue();
            let more = self.module.work();
            self.settle(After::Continue); // the module may have failed just now
            self.module.spent(begin);
            if more {
                return NextWork::AtOnce;
            }
        }
        match self.module.expire() {
            Some(time) => NextWork::At(time),
            None => NextWork::WithAFrame,
        }
    }

    fn plain(&mut self, request: &[u8]) -> Result<(Answer, Option<u32>), ErrorCode> {
        let (head, body) = RequestHead::split_plain(request)?;
        let call = Call { caller: Caller::Anyone, sessions: self.sessions.count(), head, body };
        let (written, after) =
            dispatch(&mut self.module, call, &mut self.scratch, &mut self.answer);
        self.settle(after);
        Ok(((FrameKind::PlainResponse, 0, written?), None))
    }

    fn handshake(&mut self, message: &[u8]) -> Result<(Answer, Option<u32>), ErrorCode> {
        self.check_working()?;
        self.module.leave_residue();
        match self.module.admit(message) {
            Ok(message) => self.open_session(message)?,
            Err(error) if !self.module.expects_unknown_keys() => return Err(error),
            Err(_) => {
                let message = message.first_chunk().ok_or(ErrorCode::HANDSHAKE_FAILED)?;
                let now = self.module.platform.monotonic_us();
                self.throttle.check(now)?;
                let opened = self.open_session(message);
                match opened {
                    Ok(()) => self.throttle.succeeded(),
                    Err(_) => self.throttle.failed(now),
                }
                opened?;
            }
        }
        Ok(((FrameKind::Handshake2, 0, MESSAGE_2_SIZE), None))
    }

    /// Accepts a handshake: message 2 is in the answer buffer then.
    fn open_session(&mut self, message: &[u8; MESSAGE_1_SIZE]) -> Result<(), ErrorCode> {
        let identity = self.module.identity()?;
        let responder = Responder::read(identity.curve(), identity.link(), message)?;
        let host = responder.host().host_id();
        let role = self.module.role(host).ok_or(ErrorCode::HANDSHAKE_FAILED)?;
        let session = self.sessions.next_id();
        let (identity, rng) = self.module.identity_and_rng()?;
        let (keys, message) = responder.accept(identity.curve(), Welcome { session }, rng)?;
        *self.answer.first_chunk_mut().ok_or(ErrorCode::INTERNAL)? = message;
        if self.sessions.is_full() {
            self.module.forget_keys(); // a session gives way, and so ends
        }
        if usize::from(self.sessions.count()) == MAX_SESSIONS {
            self.module.end_secrets(); // another session gives way
        }
        self.sessions.open(session, host, role, keys);
        Ok(())
    }

    fn sealed(
        &mut self,
        id: u16,
        sequence: u32,
        record: &mut [u8],
    ) -> Result<(Answer, Option<u32>), ErrorCode> {
        self.check_working()?;
        self.module.leave_residue();
        let sessions = self.sessions.count();
        let session = self.sessions.find(id).ok_or(ErrorCode::NO_SESSION)?;
        let (host, role) = (session.host, session.role);
        // Somebody else's: it must not end the session, or whoever reaches a line could end those of
        // all. A host that has lost a record opens another session.
        let request = session.keys.opener.open(sequence, record)?;
        // The self-tests have passed, and a host can reach the device, which could replace the firmware again.
        self.module.confirm_firmware();
        let room = self.answer.len().saturating_sub(RECORD_OVERHEAD);
        let (written, after) = match RequestHead::split(request) {
            Ok((head, body)) => {
                let caller = Caller::Host { session: id, host, role };
                let reply = self.answer.get_mut(..room).unwrap_or_default();
                let call = Call { caller, sessions, head, body };
                dispatch(&mut self.module, call, &mut self.scratch, reply)
            }
            Err(error) => (Err(error), After::Continue),
        };
        request.zeroize();
        let sealed = written.and_then(|length| {
            let session = self.sessions.find(id).ok_or(ErrorCode::INTERNAL)?;
            let counter = session.keys.sealer.sequence();
            let length = session.keys.sealer.seal(&mut self.answer, length)?;
            Ok(((FrameKind::SealedResponse, id, length), Some(counter)))
        });
        self.settle(after);
        sealed
    }

    /// In the error state and after zeroisation there is no channel.
    fn check_working(&self) -> Result<(), ErrorCode> {
        match self.module.state() {
            ModuleState::Error | ModuleState::Zeroised => Err(ErrorCode::STATE_DENIED),
            _ => Ok(()),
        }
    }

    /// Ends sessions as a command, or a module failure, demands.
    fn settle(&mut self, after: After) {
        let before = self.sessions.count();
        match after {
            After::Continue => {}
            After::CloseSession(id) => self.sessions.close(|session| session.id == id),
            After::CloseStrangers => {
                let module = &self.module;
                self.sessions.close(|session| module.role(session.host) != Some(session.role));
            }
            After::CloseAll => self.sessions.close(|_| true),
        }
        if self.check_working().is_err() {
            self.sessions.close(|_| true);
        }
        if self.sessions.count() < before {
            self.module.forget_keys();
        }
    }
}
