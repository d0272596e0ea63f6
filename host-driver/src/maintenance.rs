//! Maintenance commands of a device out of service: self-tests, and a restart.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hsm_protocol::command::domain::{DomainInfo, DomainSummary};
use hsm_protocol::command::system::{ModuleStatus, Reset, SelfTest, SelfTestReport, Status};
use hsm_protocol::{AuditTag, Command, ModuleState};

use crate::device::{Device, Options};
use crate::error::CallError;
use crate::link::{Link, Message};
use crate::request::{Reply, Request};
use crate::session::SharedChain;
use crate::transport::Connector;
use crate::wait::{Signal, block_on};

/// How long a device may take to come back after a reset, power-up self-tests included.
const RESTART: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one answer is awaited meanwhile: a device that starts loses requests.
const ANSWER: Duration = Duration::from_millis(500);

impl Device {
    /// The domain that the device is a member of. Any host may ask.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn domain(&self) -> Result<Option<DomainSummary>, CallError> {
        Ok(self.call_blocking(&DomainInfo, AuditTag::default())?.response()?.domain)
    }

    /// Runs every self-test. Any host may ask.
    ///
    /// # Errors
    /// [`CallError::Refused`] if one failed: the device is in the error state then.
    pub fn self_test(&self) -> Result<SelfTestReport, CallError> {
        self.call_blocking(&SelfTest, AuditTag::default())?.response()
    }
}

/// How a restart ended.
#[derive(Debug, Clone)]
pub struct Restarted {
    /// The device as it was.
    pub before: ModuleStatus,
    /// The device as it came back; in the error state again if what caused it is still there.
    pub after: ModuleStatus,
}

/// Why a device was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Only devices that are good for nothing else can be reset over the line.
    #[error(
        "the device is {0:?}; only one in the error state or zeroised can be reset, switch any \
         other off and on"
    )]
    InService(ModuleState),
    /// It was reset, and is gone.
    #[error("the device was reset but did not come back within {} s; switch it off and on", RESTART.as_secs())]
    Gone,
}

/// A line to a device that need not have an identity any more.
struct Bare {
    link: Link,
    options: Options,
}

impl Bare {
    fn open(connector: &dyn Connector, options: Options) -> Result<Self, CallError> {
        let down = |error: crate::transport::TransportError| CallError::LinkDown {
            reason: error.to_string().into(),
            sent: false,
        };
        let transport = connector.connect().map_err(down)?;
        let (chain, signal) = (SharedChain::default(), Arc::new(Signal::default()));
        let link = Link::open(transport, options.patience, chain, signal).map_err(down)?;
        Ok(Self { link, options })
    }

    fn call<C: Command>(&self, command: &C) -> Result<Reply<C>, CallError> {
        let request = Arc::new(Request::encode(command, AuditTag::default())?);
        let by = Instant::now() + self.options.deadline;
        Reply::from_answer(block_on(self.link.submit(Message::Plain(request), by))?)
    }
}

/// Asks the device at the end of a line for its state, also one that has lost its identity.
/// Nothing in the answer is authenticated.
///
/// # Errors
/// [`CallError`].
pub fn status(connector: &dyn Connector, options: Options) -> Result<ModuleStatus, CallError> {
    Bare::open(connector, options)?.call(&Status)?.response()
}

/// Restarts a device that is in the error state or zeroised, and waits until it is back.
///
/// # Errors
/// [`RestartError`].
pub fn restart(connector: &dyn Connector, options: Options) -> Result<Restarted, RestartError> {
    let line = Bare::open(connector, options)?;
    let before = line.call(&Status)?.response()?;
    if !matches!(before.state, ModuleState::Error | ModuleState::Zeroised) {
        return Err(RestartError::InService(before.state));
    }
    let sent = Instant::now();
    match line.call(&Reset) {
        // A device that restarts at once has no time for an answer.
        Ok(_)
        | Err(CallError::LinkDown { sent: true, .. } | CallError::DeadlineExceeded { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    drop(line);
    let brief = Options { patience: ANSWER, deadline: ANSWER };
    while sent.elapsed() < RESTART {
        thread::sleep(PAUSE);
        // Uptime tells a device that is back from one that has yet to go.
        let up = |after: &ModuleStatus| Duration::from_micros(after.uptime_us) < sent.elapsed();
        if let Some(after) = status(connector, brief).ok().filter(up) {
            return Ok(Restarted { before, after });
        }
    }
    Err(RestartError::Gone)
}
