//! Why a call failed, what to do about it, and whether to retry.

use std::sync::Arc;

use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{DeviceId, DomainId, ErrorCode, ModuleState, Opcode};

use crate::audit::{ChainBroken, DeviceReceipt};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The device understood the command and refused it, or failed to execute it.
    #[error("the device refused {opcode:?}: {code}")]
    Refused {
        /// The command.
        opcode: Opcode,
        /// The device's reason.
        code: ErrorCode,
        /// The audit entry of the refusal, if the command is audited.
        receipt: Option<Box<DeviceReceipt>>,
    },
    /// The caller's deadline passed.
    #[error("no response within the deadline; the device is slow or overloaded, try again")]
    DeadlineExceeded {
        /// Whether the device may have executed the command.
        sent: bool,
    },
    /// Nobody waits for the answer any more; the device was not asked.
    #[error("whoever made the call has gone")]
    CallerGone,
    /// The session ended, because a record was lost or damaged, or the device restarted.
    #[error("the session with the device ended ({reason}); try again")]
    SessionLost {
        /// What happened.
        reason: ErrorCode,
        /// Whether the device may have executed the command.
        sent: bool,
    },
    /// The answer was lost on the line.
    #[error("the response was lost on the line; check cable and speed if this happens often")]
    AnswerLost,
    /// The line failed, or the device stopped answering.
    #[error("the device cannot be reached: {reason}")]
    LinkDown {
        /// What happened and what to do.
        reason: Arc<str>,
        /// Whether the device may have executed the command.
        sent: bool,
    },
    /// The device answered something that this build does not understand.
    #[error(
        "the device's response to {0:?} cannot be decoded; use firmware and host of the same \
         release"
    )]
    BadAnswer(Opcode),
    /// Device and host speak different versions of the protocol.
    #[error(
        "the device speaks protocol version {device}, this host {host}; update the older of the two"
    )]
    ProtocolVersion {
        /// The device's version.
        device: u16,
        /// This build's version.
        host: u16,
    },
    /// Device and host could not authenticate each other.
    #[error("no session: {0}; check that this host's key is enrolled in the device")]
    Handshake(ErrorCode),
    /// The device's identity document is not self-consistent.
    #[error("the device's identity document is invalid: {0}; do not use this device")]
    BadIdentity(ErrorCode),
    /// Another device answers than the one that was pinned.
    #[error(
        "device {found} responds where {expected} is expected; if the device was replaced on \
         purpose, remove the old one from the configuration first"
    )]
    WrongDevice {
        /// The pinned device.
        expected: DeviceId,
        /// The one that answered.
        found: DeviceId,
    },
    /// The device says of itself what it did not say before.
    #[error(
        "the {what} of the device was {before} and is {now}; if it was updated on purpose, \
         `kmsctl device resume` takes it as it is"
    )]
    Changed {
        /// What has changed.
        what: &'static str,
        /// What it was.
        before: Arc<str>,
        /// What it is.
        now: Arc<str>,
    },
    /// Answers that nothing but the device can have made could not be understood, again and again.
    #[error(
        "{count} of its answers within a minute broke the protocol, the last one to {opcode:?}"
    )]
    Nonsense {
        /// How many.
        count: usize,
        /// The command of the last one.
        opcode: Opcode,
    },
    /// The device refused a ciphertext twice that another member of its domain opened.
    #[error("it refused a ciphertext twice that another device of its domain has opened")]
    Contradicted,
    /// The device has not been provisioned for this host.
    #[error(
        "the device is {0:?}, not operational; if it is halted run `kmsctl hsm reset`, else provision it"
    )]
    NotOperational(ModuleState),
    /// The device is in its error state, and says no more than that. Not authenticated.
    #[error(
        "the device is halted: {} Restart it with `kmsctl hsm reset`; if it halts again, exchange it, or \
         put the flash image of a `soft` device back from a backup",
        halted(*.0)
    )]
    Halted(Option<ErrorCode>),
    /// The device has missed a new domain key.
    #[error(
        "the device waits for a domain key that another member has made; bring that member into \
         service, and the device receives the key"
    )]
    KeysMissing,
    /// The device belongs to another domain than the rest of the pool.
    #[error(
        "the device belongs to domain {found}, the pool to {expected}; tokens of one domain \
         mean nothing to the other, so remove the device, or let it join after \
         `kmsctl hsm zeroise` and `kmsctl hsm reset`"
    )]
    WrongDomain {
        /// The pool's domain.
        expected: DomainId,
        /// The device's.
        found: DomainId,
    },
    /// The host does not want the device, for a reason of its own.
    #[error("{0}")]
    NotAdmitted(Arc<str>),
    /// The device's flash is an older copy of what it was.
    #[error("{0}")]
    Behind(Arc<str>),
    /// The request exceeds what the protocol or the device's buffer holds.
    #[error("the request is too large for the device")]
    TooLarge,
    /// The request is longer than any device of the pool takes that supports its key specs.
    #[error(
        "the request is a frame of {size} bytes, and {device}, which has the most room of the devices \
         for it, takes {room}; add a device with more room, or send less data"
    )]
    NoRoom {
        /// Length of the request's frame in bytes.
        size: usize,
        /// Longest frame that the device takes, in bytes.
        room: u32,
        /// Name of the device in the pool.
        device: Arc<str>,
    },
    /// More calls wait for the device than the host keeps.
    #[error("too many calls are waiting for the device; try again later, or add devices")]
    Overloaded,
    /// The device's audit chain does not continue as it must.
    #[error("{0}; take the device out of service and keep its audit log")]
    AuditChain(#[from] ChainBroken),
    /// A missed audit entry could not be stored.
    #[error("audit entries of the device could not be stored: {0}")]
    AuditSink(Arc<str>),
    /// No device of the pool supports the key spec.
    #[error("no device of the pool supports {0:?}; add one that does")]
    NoCapableDevice(KeySpec),
    /// Devices look for a key pair of the spec, and had found none when the caller's deadline
    /// passed.
    #[error("no {0:?} key pair was found within the deadline; the search continues, try again")]
    NoPairYet(KeySpec),
    /// No device was in service before the deadline passed.
    #[error("no device is in service: {reason}")]
    Unavailable {
        /// What is wrong with the devices.
        reason: Arc<str>,
    },
    /// The pool was shut down.
    #[error("the device pool is shutting down")]
    ShutDown,
}

impl CallError {
    /// Whether the same call can succeed later, or on another device.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::DeadlineExceeded { .. }
            | Self::SessionLost { .. }
            | Self::AnswerLost
            | Self::LinkDown { .. }
            | Self::NotOperational(_)
            | Self::Halted(_)
            | Self::KeysMissing
            | Self::Overloaded
            | Self::AuditSink(_)
            | Self::NoPairYet(_)
            | Self::Unavailable { .. } => true,
            Self::Refused { code, .. } | Self::Handshake(code) => is_transient(*code),
            Self::BadAnswer(_)
            | Self::ProtocolVersion { .. }
            | Self::BadIdentity(_)
            | Self::WrongDevice { .. }
            | Self::WrongDomain { .. }
            | Self::NotAdmitted(_)
            | Self::Behind(_)
            | Self::TooLarge
            | Self::NoRoom { .. }
            | Self::AuditChain(_)
            | Self::NoCapableDevice(_)
            | Self::CallerGone
            | Self::Changed { .. }
            | Self::Nonsense { .. }
            | Self::Contradicted
            | Self::ShutDown => false,
        }
    }

    /// Whether the session is of no more use after this.
    #[must_use]
    pub fn poisons_session(&self) -> bool {
        match self {
            Self::SessionLost { .. }
            | Self::AnswerLost
            | Self::LinkDown { .. }
            | Self::BadAnswer(_)
            | Self::AuditChain(_) => true,
            Self::Refused { code, .. } => is_transient(*code),
            _ => false,
        }
    }

    /// Whether the device may have executed the command although the call failed; it must not
    /// be repeated then unless it is idempotent.
    #[must_use]
    pub fn maybe_executed(&self) -> bool {
        match self {
            Self::DeadlineExceeded { sent }
            | Self::SessionLost { sent, .. }
            | Self::LinkDown { sent, .. } => *sent,
            Self::AnswerLost | Self::BadAnswer(_) | Self::AuditChain(_) => true,
            _ => false,
        }
    }

    /// Whether the device has done what no device in order does, so that it is not to be trusted with calls
    /// until a person has looked at it.
    pub(crate) fn is_misconduct(&self) -> bool {
        match self {
            Self::NotOperational(state) => *state == ModuleState::Error,
            Self::AuditChain(_)
            | Self::BadIdentity(_)
            | Self::WrongDevice { .. }
            | Self::Changed { .. }
            | Self::Nonsense { .. }
            | Self::Contradicted => true,
            _ => false,
        }
    }

    /// Whether the device says that something in it has failed, so that it is asked for its state at once.
    pub(crate) fn is_failure(&self) -> bool {
        let failures = [
            ErrorCode::SELF_TEST_FAILED,
            ErrorCode::ENTROPY_FAILED,
            ErrorCode::INTEGRITY_FAILED,
            ErrorCode::PAIRWISE_FAILED,
            ErrorCode::STORAGE_FAILED,
            ErrorCode::STATE_DENIED,
            ErrorCode::INTERNAL,
        ];
        matches!(self, Self::Refused { code, .. } if failures.contains(code))
    }

    /// Whether another device might do better at once.
    pub(crate) fn try_elsewhere(&self) -> bool {
        match self {
            Self::SessionLost { .. }
            | Self::AnswerLost
            | Self::LinkDown { .. }
            | Self::BadAnswer(_)
            | Self::AuditChain(_)
            | Self::NotOperational(_)
            | Self::Halted(_)
            | Self::KeysMissing
            | Self::Overloaded => true,
            Self::Refused { code, .. } => is_transient(*code),
            _ => false,
        }
    }
}

/// Why a device has halted, as far as it says.
fn halted(code: Option<ErrorCode>) -> String {
    code.map_or_else(|| "it does not say why.".to_owned(), |code| code.to_string())
}

/// Codes that speak of the device's condition and not of the request.
fn is_transient(code: ErrorCode) -> bool {
    [
        ErrorCode::NO_SESSION,
        ErrorCode::BAD_RECORD,
        ErrorCode::STATE_DENIED,
        ErrorCode::THROTTLED,
        ErrorCode::SELF_TEST_FAILED,
        ErrorCode::ENTROPY_FAILED,
        ErrorCode::STORAGE_FAILED,
        ErrorCode::INTEGRITY_FAILED,
        ErrorCode::INTERNAL,
        ErrorCode::PAIRWISE_FAILED,
        ErrorCode::KEYS_MISSING,
        ErrorCode::AUDIT_FULL,
    ]
    .contains(&code)
}
