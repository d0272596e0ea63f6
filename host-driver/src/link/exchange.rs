//! The state of a line, sans-I/O: credit, correlation, and the session.
//!
//! Bytes to send accumulate in an output buffer and finished calls in a list; the owner takes
//! both. `T` is what the owner needs to tell a caller that its call is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_protocol::channel::{HANDSHAKE_1_SIZE, RECORD_OVERHEAD};
use hsm_protocol::frame::{self, Frame, FrameKind, Header, MAX_PAYLOAD};
use hsm_protocol::request::ResponseHead;
use hsm_protocol::{ErrorCode, Opcode};
use zeroize::{Zeroize, Zeroizing};

use crate::error::CallError;
use crate::load::Load;
use crate::request::{Answer, Request};
use crate::session::{Asked, Session};

use super::answer::{self, Question};
use super::timeout;
use backlog::Backlog;

mod backlog;

/// What a caller wants sent.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request outside the channel.
    Plain(Arc<Request>),
    /// First handshake message.
    Handshake(Box<[u8; HANDSHAKE_1_SIZE]>),
    /// A request inside the channel.
    Sealed(Arc<Request>),
}

/// Tells a caller that its call is done.
pub(crate) trait Ticket {
    /// Nobody waits any more.
    fn is_abandoned(&self) -> bool;

    /// Whose share of the device it is.
    fn flow(&self) -> u64 {
        0
    }

    /// What the call should take the device, in microseconds.
    fn cost(&self) -> u64 {
        0
    }

    /// What it counts until the device has answered it, even if its caller is told before.
    fn take_load(&mut self) -> Option<Load> {
        None
    }
}

/// A finished call.
pub(crate) struct Done<T> {
    /// `None` if the caller was told before that its deadline passed.
    pub(crate) ticket: Option<T>,
    pub(crate) outcome: Result<Answer, CallError>,
}

/// What the device grants: requests and bytes of encoded frames that may be unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Credit {
    pub(crate) window: usize,
    pub(crate) bytes: usize,
}

impl Credit {
    /// Before the device has said what it grants: one short frame, such as `Info`.
    pub(crate) const INITIAL: Self = Self { window: 1, bytes: 256 };
}

/// The device has not answered the oldest request for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hung {
    pub(crate) opcode: Opcode,
    pub(crate) waited: Duration,
}

pub(crate) struct Exchange<T> {
    credit: Credit,
    timeout: Duration,
    session: Option<Session>,
    in_flight: VecDeque<InFlight<T>>,
    in_flight_bytes: usize,
    /// Since when the oldest request is the oldest: the device works on it.
    oldest_since: Instant,
    backlog: Backlog<Queued<T>>,
    next_sequence: u32,
    next_id: u16,
    /// Where requests are put together and sealed.
    scratch: Zeroizing<Vec<u8>>,
    output: Vec<u8>,
    done: Vec<Done<T>>,
}

struct Queued<T> {
    message: Message,
    ticket: T,
    deadline: Instant,
}

impl<T: Ticket> Queued<T> {
    /// Why it is not worth sending any more, if it is not.
    fn over(&self, now: Instant) -> Option<CallError> {
        if self.ticket.is_abandoned() {
            return Some(CallError::CallerGone);
        }
        (self.deadline <= now).then_some(CallError::DeadlineExceeded { sent: false })
    }
}

struct InFlight<T> {
    reply: FrameKind,
    session: u16,
    sequence: u32,
    question: Question,
    bytes: usize,
    deadline: Instant,
    ticket: Option<T>,
    /// Dropped when the device has answered.
    load: Option<Load>,
}

impl<T: Ticket> Exchange<T> {
    /// `timeout` is how long a device may take for an ordinary command; `first_sequence`
    /// should differ from that of an earlier line to the device, whose answers may still come.
    pub(crate) fn new(timeout: Duration, first_sequence: u32, now: Instant) -> Self {
        Self {
            credit: Credit::INITIAL,
            timeout,
            session: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            oldest_since: now,
            backlog: Backlog::default(),
            next_sequence: first_sequence,
            next_id: 0,
            scratch: Zeroizing::new(vec![0; MAX_PAYLOAD]),
            // A device that was interrupted in a frame finds the next one after a delimiter.
            output: vec![0],
            done: Vec::new(),
        }
    }

    pub(crate) fn set_credit(&mut self, credit: Credit) {
        self.credit = Credit { window: credit.window.max(1), ..credit };
    }

    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn install(&mut self, session: Session) {
        self.session = Some(session);
    }

    /// Bytes to send; the owner clears the buffer once they are sent.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The calls finished since the last time.
    pub(crate) fn take_done(&mut self) -> Vec<Done<T>> {
        std::mem::take(&mut self.done)
    }

    /// Ends a call that was not submitted.
    pub(crate) fn refuse(&mut self, ticket: T, error: CallError) {
        self.finish(Some(ticket), Err(error));
    }

    /// Sends a message as soon as there is credit.
    pub(crate) fn submit(&mut self, message: Message, ticket: T, deadline: Instant, now: Instant) {
        let (flow, cost) = (ticket.flow(), ticket.cost());
        for refused in self.backlog.push(flow, cost, Queued { message, ticket, deadline }) {
            self.finish(Some(refused.ticket), Err(CallError::Overloaded));
        }
        self.pump(now);
    }

    /// Takes a frame of the device.
    pub(crate) fn receive(&mut self, frame: Frame<'_>, now: Instant) {
        let Frame { header, payload } = frame;
        let belongs = |call: &InFlight<T>| {
            call.session == header.session
                && call.sequence == header.sequence
                && (call.reply == header.kind || header.kind == FrameKind::LinkError)
        };
        let Some(position) = self.in_flight.iter().position(belongs) else {
            tracing::debug!(?header, "dropped a frame that answers nothing");
            return;
        };
        // Answers come in order: what was sent before and is unanswered will stay so.
        for _ in 0..position {
            if let Some(call) = self.pop_oldest(now) {
                self.finish(call.ticket, Err(CallError::AnswerLost));
            }
        }
        let worked = now.saturating_duration_since(self.oldest_since);
        let Some(mut call) = self.pop_oldest(now) else { return };
        if let Some(load) = call.load.take() {
            load.answered();
        }
        match header.kind {
            FrameKind::LinkError => self.refused(call, payload),
            FrameKind::SealedResponse => {
                self.sealed_response(call, (header.sequence, worked), payload);
            }
            FrameKind::PlainResponse => {
                let answer = answer::plain(&call.question, payload);
                self.finish(call.ticket, answer);
            }
            _ => {
                let id = call.question.id;
                let head = ResponseHead { id, status: None, receipt: None, approved: true };
                let body = Zeroizing::new(payload.to_vec());
                self.finish(call.ticket, Ok(Answer { head, receipt: None, body, worked }));
            }
        }
        payload.zeroize();
        self.pump(now);
    }

    /// Ends calls whose deadline has passed.
    ///
    /// # Errors
    /// [`Hung`]: the line is of no more use.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), Hung> {
        for index in 0..self.in_flight.len() {
            let Some(call) = self.in_flight.get_mut(index) else { break };
            if call.deadline <= now {
                // The call keeps its credit: the device will still answer it.
                if let Some(ticket) = call.ticket.take() {
                    self.finish(Some(ticket), Err(CallError::DeadlineExceeded { sent: true }));
                }
            }
        }
        let is_over = |queued: &Queued<T>| queued.deadline <= now || queued.ticket.is_abandoned();
        if self.backlog.any(is_over) {
            for queued in self.backlog.remove(is_over) {
                let error = queued.over(now).unwrap_or(CallError::CallerGone);
                self.finish(Some(queued.ticket), Err(error));
            }
        }
        match self.in_flight.front() {
            Some(oldest) => {
                let waited = now.saturating_duration_since(self.oldest_since);
                let opcode = oldest.question.opcode;
                let limit = timeout::limit(self.timeout, opcode, self.in_flight_bytes);
                if waited > limit { Err(Hung { opcode, waited }) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    /// Ends every call, those in flight with `error(true)`, waiting ones with `error(false)`.
    pub(crate) fn fail_all(&mut self, error: impl Fn(bool) -> CallError) {
        self.session = None;
        self.in_flight_bytes = 0;
        for call in std::mem::take(&mut self.in_flight) {
            self.finish(call.ticket, Err(error(true)));
        }
        for queued in self.backlog.remove(|_| true) {
            self.finish(Some(queued.ticket), Err(error(false)));
        }
    }

    /// Sends waiting messages while there is credit.
    fn pump(&mut self, now: Instant) {
        while let Some(queued) = self.backlog.front() {
            if let Some(error) = queued.over(now) {
                if let Some(queued) = self.backlog.pop() {
                    self.finish(Some(queued.ticket), Err(error));
                }
                continue;
            }
            let payload = match &queued.message {
                Message::Plain(request) => request.size(),
                Message::Handshake(message) => message.len(),
                Message::Sealed(request) => request.size() + RECORD_OVERHEAD,
            };
            let bytes = frame::encoded_size(payload);
            let never_fits = payload > MAX_PAYLOAD || bytes > self.credit.bytes;
            let full = self.in_flight.len() >= self.credit.window
                || self.in_flight_bytes + bytes > self.credit.bytes;
            if full && !never_fits {
                return;
            }
            let Some(mut queued) = self.backlog.pop() else { return };
            if never_fits {
                self.finish(Some(queued.ticket), Err(CallError::TooLarge));
                continue;
            }
            match self.send(&queued.message) {
                Ok(sent) => {
                    if self.in_flight.is_empty() {
                        self.oldest_since = now;
                    }
                    self.in_flight_bytes += bytes;
                    self.in_flight.push_back(InFlight {
                        bytes,
                        load: queued.ticket.take_load(),
                        deadline: queued.deadline,
                        ticket: Some(queued.ticket),
                        ..sent
                    });
                }
                Err(error) => self.finish(Some(queued.ticket), Err(error)),
            }
        }
    }

    /// Puts a message into the output buffer.
    fn send(&mut self, message: &Message) -> Result<InFlight<T>, CallError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let (header, length, opcode, asked, reply) = match message {
            Message::Plain(request) => {
                let length = request.write(id, None, &mut self.scratch)?;
                let header = self.plain_header(FrameKind::PlainRequest);
                (header, length, request.opcode, None, FrameKind::PlainResponse)
            }
            Message::Handshake(message) => {
                if let Some(out) = self.scratch.get_mut(..message.len()) {
                    out.copy_from_slice(&**message);
                }
                let header = self.plain_header(FrameKind::Handshake1);
                // Counts as `Info`: quick, and not audited.
                (header, message.len(), Opcode::Info, None, FrameKind::Handshake2)
            }
            Message::Sealed(request) => {
                let lost = CallError::SessionLost { reason: ErrorCode::NO_SESSION, sent: false };
                let session = self.session.as_mut().ok_or(lost)?;
                let note = |audited| Asked { note: session.note(&audited), digest: audited.digest };
                let asked = request.audited.map(note);
                let note = asked.map(|asked| asked.note);
                let length = request.write(id, note, &mut self.scratch)?;
                let (header, length) =
                    session.seal(&mut self.scratch, length).map_err(|_| CallError::TooLarge)?;
                (header, length, request.opcode, asked, FrameKind::SealedResponse)
            }
        };
        let payload = self.scratch.get(..length).ok_or(CallError::TooLarge)?;
        let start = self.output.len();
        self.output.resize(start + frame::encoded_size(length), 0);
        let free = self.output.get_mut(start..).unwrap_or_default();
        let encoded = frame::encode(header, payload, free).map_err(|_| CallError::TooLarge)?;
        self.output.truncate(start + encoded);
        Ok(InFlight {
            reply,
            session: header.session,
            sequence: header.sequence,
            question: Question { id, opcode, asked },
            bytes: 0,
            deadline: self.oldest_since,
            ticket: None,
            load: None,
        })
    }

    fn plain_header(&mut self, kind: FrameKind) -> Header {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        Header { kind, session: 0, sequence }
    }

    fn sealed_response(
        &mut self,
        call: InFlight<T>,
        (sequence, worked): (u32, Duration),
        payload: &mut [u8],
    ) {
        let outcome = match self.session.as_mut().filter(|open| open.id() == call.session) {
            Some(session) => answer::sealed(session, &call.question, sequence, payload),
            None => Err(CallError::SessionLost { reason: ErrorCode::NO_SESSION, sent: true }),
        };
        let outcome = outcome.map(|answer| Answer { worked, ..answer });
        let poisoned = outcome.as_ref().is_err_and(CallError::poisons_session);
        self.finish(call.ticket, outcome);
        if poisoned {
            self.end_session(call.session, ErrorCode::BAD_RECORD);
        }
    }

    fn refused(&mut self, call: InFlight<T>, payload: &[u8]) {
        let code = match payload {
            [low, high] => ErrorCode::from_u16(u16::from_le_bytes([*low, *high])),
            _ => None,
        };
        let reason = code.unwrap_or(ErrorCode::MALFORMED);
        if call.reply == FrameKind::SealedResponse {
            // The refusal is not authenticated, so the command may have been executed.
            self.finish(call.ticket, Err(CallError::SessionLost { reason, sent: true }));
            self.end_session(call.session, reason);
        } else {
            let (opcode, receipt) = (call.question.opcode, None);
            self.finish(call.ticket, Err(CallError::Refused { opcode, code: reason, receipt }));
        }
    }

    /// Ends a session and its calls; those keep their credit until the device answers them.
    fn end_session(&mut self, id: u16, reason: ErrorCode) {
        if self.session.as_ref().is_some_and(|open| open.id() == id) {
            self.session = None;
        }
        let lost: Vec<T> = self
            .in_flight
            .iter_mut()
            .filter(|call| call.reply == FrameKind::SealedResponse && call.session == id)
            .filter_map(|call| call.ticket.take())
            .collect();
        for ticket in lost {
            self.finish(Some(ticket), Err(CallError::SessionLost { reason, sent: true }));
        }
    }

    fn pop_oldest(&mut self, now: Instant) -> Option<InFlight<T>> {
        let call = self.in_flight.pop_front()?;
        self.in_flight_bytes -= call.bytes;
        self.oldest_since = now;
        Some(call)
    }

    fn finish(&mut self, ticket: Option<T>, outcome: Result<Answer, CallError>) {
        self.done.push(Done { ticket, outcome });
    }
}

#[cfg(test)]
mod tests;
