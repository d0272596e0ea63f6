//! Answers read against the questions they belong to.

use std::time::Duration;

use hsm_protocol::Opcode;
use hsm_protocol::request::ResponseHead;
use zeroize::Zeroizing;

use crate::error::CallError;
use crate::request::Answer;
use crate::session::{Asked, Session};

/// What an answer must fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) id: u16,
    pub(super) opcode: Opcode,
    /// Present if the command is audited.
    pub(super) asked: Option<Asked>,
}

/// Reads a response outside the channel.
pub(super) fn plain(question: &Question, payload: &[u8]) -> Result<Answer, CallError> {
    match ResponseHead::split(payload) {
        Ok((head, body)) if head.id == question.id => {
            let body = Zeroizing::new(body.to_vec());
            Ok(Answer { head, receipt: None, body, worked: Duration::ZERO })
        }
        _ => Err(CallError::BadAnswer(question.opcode)),
    }
}

/// Opens a response inside the channel and checks its receipt. An error that poisons the session
/// ends it.
pub(super) fn sealed(
    session: &mut Session,
    question: &Question,
    sequence: u32,
    payload: &mut [u8],
) -> Result<Answer, CallError> {
    let lost = |reason| CallError::SessionLost { reason, sent: true };
    let plain = session.open(sequence, payload).map_err(lost)?;
    let bad = || CallError::BadAnswer(question.opcode);
    let (head, body) = ResponseHead::split(plain).map_err(|_| bad())?;
    let receipt = match (&head.receipt, &question.asked) {
        (Some(receipt), Some(asked)) => {
            Some(session.follow(question.opcode, asked, head.status, receipt)?)
        }
        // A command can be refused where nothing can be recorded of it.
        (None, asked) if asked.is_none() || head.status.is_some() => None,
        _ => return Err(bad()),
    };
    if head.id != question.id {
        return Err(bad());
    }
    Ok(Answer { head, receipt, body: Zeroizing::new(body.to_vec()), worked: Duration::ZERO })
}
