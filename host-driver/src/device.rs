//! Calls to one device over one line.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_protocol::command::session::{SessionInfo, SessionState};
use hsm_protocol::command::system::{
    Admission, Info, LastReset, ModuleStatus, Reset, ResetReport, Status,
};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{AuditTag, Command, DeviceId, ErrorCode, ModuleState, PROTOCOL_VERSION};

use crate::audit::{self, AuditSink};
use crate::error::CallError;
use crate::host_key::HostKey;
use crate::link::{Credit, Link, Message, Term};
use crate::request::{Answer, Reply, Request};
use crate::session::{Handshake, SharedChain};
use crate::transport::Connector;
use crate::wait::{Signal, block_on};

/// How a device is talked to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a device may take for an ordinary command before it counts as hung; twice and ten times
    /// as long for those of another [`Pace`](hsm_protocol::command::Pace).
    pub patience: Duration,
    /// How long a call may take, if the caller does not say.
    pub deadline: Duration,
}

impl Default for Options {
    /// 3 s and 10 s: an emulated device on a busy machine needs some hundred milliseconds when
    /// it uses an algorithm for the first time.
    fn default() -> Self {
        Self { patience: Duration::from_secs(3), deadline: Duration::from_secs(10) }
    }
}

/// What a device says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Firmware version.
    pub firmware: String,
    /// Board name.
    pub board: String,
    /// Key specs it supports.
    pub specs: Vec<KeySpec>,
    /// Requests it takes without having answered.
    pub window: u16,
    /// Bytes of requests it takes without having answered.
    pub rx_bytes: u32,
}

/// An open line to a device. Dropping it closes the line.
pub struct Device {
    link: Link,
    identity: IdentityDocument,
    info: DeviceInfo,
    chain: SharedChain,
    options: Options,
}

impl Device {
    /// Opens a line and asks the device who it is. No session yet: see [`Device::authenticate`].
    ///
    /// # Errors
    /// [`CallError::LinkDown`], [`CallError::ProtocolVersion`], [`CallError::BadIdentity`];
    /// [`CallError::WrongDevice`] if it is not `expected`.
    pub fn open(
        connector: &dyn Connector,
        expected: Option<DeviceId>,
        options: Options,
    ) -> Result<Self, CallError> {
        let signal = Arc::new(Signal::default());
        Self::open_with(connector, expected, options, SharedChain::default(), signal)
    }

    /// As [`Device::open`]: `chain` goes on from an earlier line to the same device, `signal`
    /// is raised when the line or the session is lost.
    pub(crate) fn open_with(
        connector: &dyn Connector,
        expected: Option<DeviceId>,
        options: Options,
        chain: SharedChain,
        signal: Arc<Signal>,
    ) -> Result<Self, CallError> {
        let down = |error: crate::transport::TransportError| CallError::LinkDown {
            reason: error.to_string().into(),
            sent: false,
        };
        let transport = connector.connect().map_err(down)?;
        let link = Link::open(transport, options.patience, chain.clone(), signal).map_err(down)?;
        let (identity, info) = introduce(&link, options)?;
        if let Some(expected) = expected.filter(|expected| *expected != identity.device_id()) {
            return Err(CallError::WrongDevice { expected, found: identity.device_id() });
        }
        chain.forget_other_than(&identity.device_id());
        link.set_credit(Credit {
            window: usize::from(info.window),
            bytes: usize::try_from(info.rx_bytes).unwrap_or(usize::MAX),
        });
        Ok(Self { link, identity, info, chain, options })
    }

    /// Opens a session, or a new one after the session was lost; the answer says what the
    /// device takes this host for.
    ///
    /// # Errors
    /// [`CallError::Handshake`] if either end does not trust the other.
    pub fn authenticate(&self, key: &HostKey) -> Result<SessionState, CallError> {
        let asked = self.call_blocking(&Admission, AuditTag::default())?;
        let challenge = asked.response()?.challenge;
        let (handshake, message) =
            Handshake::start(key, &self.identity, &challenge).map_err(CallError::BadIdentity)?;
        let pending = self.link.submit(Message::Handshake(message), self.deadline());
        let answer = block_on(pending).map_err(|error| match error {
            CallError::Refused { code, .. } => CallError::Handshake(code),
            error => error,
        })?;
        let session =
            handshake.finish(&answer.body, self.chain.clone()).map_err(CallError::Handshake)?;
        self.chain.doubt();
        self.link.install(session);
        self.call_blocking(&SessionInfo, AuditTag::default())?.response()
    }

    /// Calls the device; the deadline is the one of [`Options`].
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<C: Command>(
        &self,
        command: &C,
        tag: AuditTag,
    ) -> Result<Reply<C>, CallError> {
        let request = Arc::new(Request::encode(command, tag)?);
        let answer = self.send::<C>(request, self.deadline()).await?;
        Reply::from_answer(answer)
    }

    /// As [`Device::call`], on this thread.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_blocking<C: Command>(
        &self,
        command: &C,
        tag: AuditTag,
    ) -> Result<Reply<C>, CallError> {
        block_on(self.call(command, tag))
    }

    /// Asks for the module's state, outside the channel: nothing in it is authenticated.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn status(&self) -> Result<ModuleStatus, CallError> {
        self.call_blocking(&Status, AuditTag::default())?.response()
    }

    /// Asks why the device was reset before it started, outside the channel; `None` if its firmware does not
    /// know the question.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn last_reset(&self) -> Result<Option<ResetReport>, CallError> {
        match self.call_blocking(&LastReset, AuditTag::default()) {
            Err(CallError::Refused { code: ErrorCode::UNKNOWN_COMMAND, .. }) => Ok(None),
            reply => reply?.response().map(Some),
        }
    }

    /// Restarts a device that is in the error state or zeroised.
    ///
    /// # Errors
    /// [`CallError::Refused`] in any other state.
    pub fn reset(&self) -> Result<(), CallError> {
        self.call_blocking(&Reset, AuditTag::default()).map(drop)
    }

    /// Fetches and stores what was missed of the device's audit chain. From now on every
    /// receipt is checked against the chain.
    ///
    /// # Errors
    /// [`CallError::AuditChain`], [`CallError::AuditSink`], or why the device cannot be asked.
    pub fn synchronise_audit(&self, sink: &dyn AuditSink) -> Result<(), CallError> {
        audit::synchronise(self, sink)
    }

    /// The device.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.identity.device_id()
    }

    /// The device's identity document, verified.
    #[must_use]
    pub fn identity(&self) -> &IdentityDocument {
        &self.identity
    }

    /// What the device says of itself; not authenticated.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whether the line is up and a session is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    pub(crate) async fn send<C: Command>(
        &self,
        request: Arc<Request>,
        term: impl Into<Term>,
    ) -> Result<Answer, CallError> {
        let message = if C::ROLES.is_public() { Message::Plain } else { Message::Sealed };
        self.link.submit(message(request), term).await
    }

    pub(crate) fn chain(&self) -> &SharedChain {
        &self.chain
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.options.deadline
    }
}

/// Asks for identity, version and limits.
fn introduce(link: &Link, options: Options) -> Result<(IdentityDocument, DeviceInfo), CallError> {
    let reply = match plain(link, options, &Info) {
        // A halted device says of itself only that, and why.
        Err(refused @ CallError::Refused { code: ErrorCode::STATE_DENIED, .. }) => {
            let status = plain(link, options, &Status)?.response()?;
            return Err(match status.state {
                ModuleState::Error => CallError::Halted(status.error),
                _ => refused,
            });
        }
        reply => reply?,
    };
    let info = reply.response()?;
    if info.protocol != PROTOCOL_VERSION {
        let (device, host) = (info.protocol, PROTOCOL_VERSION);
        return Err(CallError::ProtocolVersion { device, host });
    }
    info.identity.verify().map_err(CallError::BadIdentity)?;
    let described = DeviceInfo {
        firmware: info.firmware.to_owned(),
        board: info.board.to_owned(),
        specs: info.specs.iter().copied().map(KeySpec).collect(),
        window: info.window,
        rx_bytes: info.rx_bytes,
    };
    Ok((info.identity, described))
}

/// Calls before there is a session.
fn plain<C: Command>(link: &Link, options: Options, command: &C) -> Result<Reply<C>, CallError> {
    let request = Arc::new(Request::encode(command, AuditTag::default())?);
    let pending = link.submit(Message::Plain(request), Instant::now() + options.deadline);
    Reply::from_answer(block_on(pending)?)
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.id())
    }
}

#[cfg(test)]
mod tests;
