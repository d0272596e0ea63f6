//! Uses of keys that operators approve: requests for approval, shown to people, signed and delivered.
//!
//! A [`Pending`] request can be carried. It contains the whole request, so that each operator sees what it is,
//! and the message that operators sign is made from it.

use std::fmt;

use hsm_protocol::approval::{RequestDigest, digest};
use hsm_protocol::command::agree::DeriveSharedSecret;
use hsm_protocol::command::approval::{ApprovalRequest, Approve, RequestApproval};
use hsm_protocol::command::cipher::{Decrypt, DecryptPrivate, Encrypt, GenerateDataKey};
use hsm_protocol::command::decode;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::command::sign::Sign;
use hsm_protocol::domain::Vote;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::{AuditTag, Command, DeviceId, ErrorCode, KeyId, Opcode};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ceremony::OperatorKey;
use crate::device::Device;
use crate::error::CallError;
use crate::request::{Reply, Request};

/// Layout version of [`Pending::to_bytes`].
const VERSION: u8 = 1;

/// A request that waits for operators.
///
/// It has the request as a whole, which may be a secret: to encrypt something is to send it. Zeroised on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// What operators sign.
    asked: ApprovalRequest,
    /// The encoded request.
    body: Zeroizing<Vec<u8>>,
}

/// Why a guarded key was not used.
#[derive(Debug, thiserror::Error)]
pub enum GuardedError {
    /// Operators have to approve the request first.
    #[error(
        "{} operators have to approve this use of the key; have them sign the request, hand their \
         signatures over, and send the request again", .0.asked.rule.total
    )]
    ApprovalRequired(Box<Pending>),
    /// Anything else.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a request is not to be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PendingError {
    /// It cannot be read.
    #[error("this is not a request for approval, or it was damaged")]
    Malformed,
    /// What is shown is not what would be signed.
    #[error("the request is not the one that the device would take; do not sign it")]
    OtherRequest,
}

/// A request before anybody was asked to approve it.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    opcode: Opcode,
    body: Zeroizing<Vec<u8>>,
}

impl Draft {
    /// The request that a command is sent as.
    ///
    /// # Errors
    /// [`CallError::TooLarge`].
    pub fn of<C: Command>(command: &C) -> Result<Self, CallError> {
        let Request { body, .. } = Request::encode(command, AuditTag::default())?;
        Ok(Self { opcode: C::OPCODE, body })
    }

    /// The command.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// What the device compares with what was approved.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        digest(self.opcode, &self.body)
    }

    /// What is asked for the use of `key` by this request.
    #[must_use]
    pub fn ask<'k>(&self, key: KeyRef<'k>) -> RequestApproval<'k> {
        RequestApproval { key, opcode: self.opcode, request: self.digest() }
    }

    /// What `device` has answered to [`Draft::ask`], to be carried to operators.
    ///
    /// # Errors
    /// [`PendingError::OtherRequest`]: a device that asks for something else is not to be signed for.
    pub fn answered(
        &self,
        asked: ApprovalRequest,
        key: KeyId,
        device: DeviceId,
    ) -> Result<Pending, PendingError> {
        let is_asked = asked.opcode == self.opcode && asked.request == self.digest();
        match is_asked && asked.device == device && asked.key == key {
            true => Ok(Pending { asked, body: self.body.clone() }),
            false => Err(PendingError::OtherRequest),
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({:?}, {} bytes)", self.opcode, self.body.len())
    }
}

impl Pending {
    /// What a device was asked for, with the request that it is about.
    ///
    /// # Errors
    /// [`PendingError::OtherRequest`] if it is about another one.
    pub fn new(asked: ApprovalRequest, body: Vec<u8>) -> Result<Self, PendingError> {
        let body = Zeroizing::new(body);
        match digest(asked.opcode, &body) == asked.request {
            true => Ok(Self { asked, body }),
            false => Err(PendingError::OtherRequest),
        }
    }

    /// Reads [`Pending::to_bytes`].
    ///
    /// # Errors
    /// [`PendingError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PendingError> {
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(PendingError::Malformed);
        };
        let (asked, body) = postcard::take_from_bytes(rest).map_err(|_| PendingError::Malformed)?;
        Self::new(asked, body.to_vec())
    }

    /// A form that can be carried to operators.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, ErrorCode> {
        let asked = postcard::to_extend(&self.asked, vec![VERSION])?;
        let mut out = Zeroizing::new(Vec::with_capacity(asked.len() + self.body.len()));
        out.extend_from_slice(&asked);
        out.extend_from_slice(&self.body);
        Ok(out)
    }

    /// What operators sign.
    #[must_use]
    pub const fn asked(&self) -> &ApprovalRequest {
        &self.asked
    }

    /// SHA-256 of what is signed, its first 16 bytes: what people compare.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let digest = Sha256::digest(self.asked.message());
        std::array::from_fn(|place| digest[place])
    }

    /// Signs as an operator.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn sign(&self, operator: &OperatorKey) -> Result<Vote, ErrorCode> {
        operator.sign(&self.asked.message())
    }

    /// What would be done, line by line, for the person who is to sign it: all of the request that makes a
    /// difference. What is long or secret is shown by its SHA-256.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let asked = &self.asked;
        let mut lines = vec![
            format!("command    {:?}", asked.opcode),
            format!("key        {:?}, material {}", asked.key, asked.material),
            format!("domain     {}", asked.domain),
            format!("device     {}", asked.device),
            format!("host       {}", asked.host),
            format!(
                "takes      {} operators, {} of them officers",
                asked.rule.total, asked.rule.officers
            ),
        ];
        lines.extend(self.parameters().unwrap_or_default());
        lines.push(format!("request    SHA-256 {}", hex(&asked.request)));
        lines.push(format!("challenge  {}", hex(&asked.challenge)));
        lines
    }

    /// The parameters of commands whose parameters a person can judge.
    fn parameters(&self) -> Result<Vec<String>, ErrorCode> {
        let body = &self.body;
        Ok(match self.asked.opcode {
            Opcode::Sign => {
                let Sign { algorithm, message_type, message, .. } = decode(body)?;
                vec![
                    format!("algorithm  {algorithm:?}"),
                    format!("message    {message_type:?}, {}", shown(&message)),
                ]
            }
            Opcode::GenerateMac => {
                let GenerateMac { algorithm, message, .. } = decode(body)?;
                vec![format!("algorithm  {algorithm:?}"), format!("message    {}", shown(&message))]
            }
            Opcode::Decrypt => {
                let Decrypt { context, blob, .. } = decode(body)?;
                vec![
                    format!("ciphertext {}", shown(&blob)),
                    format!("context    {}", shown(&context)),
                ]
            }
            Opcode::DecryptPrivate => {
                let DecryptPrivate { algorithm, ciphertext, .. } = decode(body)?;
                vec![
                    format!("algorithm  {algorithm:?}"),
                    format!("ciphertext {}", shown(&ciphertext)),
                ]
            }
            Opcode::Encrypt => {
                let Encrypt { context, plaintext, .. } = decode(body)?;
                vec![
                    format!("plaintext  {} bytes, SHA-256 {}", plaintext.len(), sha256(&plaintext)),
                    format!("context    {}", shown(&context)),
                ]
            }
            Opcode::GenerateDataKey => {
                let GenerateDataKey { context, length, .. } = decode(body)?;
                vec![
                    format!("length     {length} bytes"),
                    format!("context    {}", shown(&context)),
                ]
            }
            Opcode::DeriveSharedSecret => {
                let DeriveSharedSecret { peer, .. } = decode(body)?;
                vec![format!("peer       {}", shown(&peer))]
            }
            Opcode::PermitDeletion => vec!["effect     the key may be deleted".to_owned()],
            _ => Vec::new(),
        })
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({:?}, {:?})", self.asked, self.body.len())
    }
}

/// What is short as it is, and everything by its hash.
fn shown(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "none".to_owned(),
        length @ 1..=64 => format!("{length} bytes, {}, SHA-256 {}", hex(bytes), sha256(bytes)),
        length => format!("{length} bytes, SHA-256 {}", sha256(bytes)),
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Device {
    /// Calls a command that uses one guarded key, for which approval may be needed. The answer to a call that
    /// lacks it is what operators have to sign; once that is handed over ([`Device::approve`]) the same call
    /// goes through, once.
    ///
    /// # Errors
    /// [`GuardedError`].
    pub fn call_guarded<C: Command>(
        &self,
        key: KeyRef<'_>,
        command: &C,
        tag: AuditTag,
    ) -> Result<Reply<C>, GuardedError> {
        match self.call_blocking(command, tag) {
            Err(CallError::Refused { code: ErrorCode::APPROVAL_REQUIRED, .. }) => {
                let pending = self.request_approval(key, command)?;
                Err(GuardedError::ApprovalRequired(Box::new(pending)))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Asks what operators have to sign for a request.
    ///
    /// # Errors
    /// [`CallError::Refused`] with [`ErrorCode::INVALID_ARGUMENT`] if nobody has to.
    pub fn request_approval<C: Command>(
        &self,
        key: KeyRef<'_>,
        command: &C,
    ) -> Result<Pending, CallError> {
        let draft = Draft::of(command)?;
        let asked = self.call_blocking(&draft.ask(key), AuditTag::default())?.response()?;
        let pending = draft.answered(asked, key.id, self.id());
        pending.map_err(|_| CallError::BadAnswer(RequestApproval::OPCODE))
    }

    /// Hands operators' signatures over.
    ///
    /// # Errors
    /// [`CallError::Refused`] with [`ErrorCode::QUORUM_MISSING`], [`ErrorCode::SIGNATURE_INVALID`], or
    /// [`ErrorCode::APPROVAL_UNKNOWN`]: the device was restarted, its domain was changed, or a day has passed.
    pub fn approve(&self, pending: &Pending, votes: &[Vote]) -> Result<(), CallError> {
        let challenge = pending.asked.challenge;
        let votes = Votes::from_slice(votes).map_err(|_| CallError::TooLarge)?;
        self.call_blocking(&Approve { challenge, votes }, AuditTag::default()).map(drop)
    }
}
