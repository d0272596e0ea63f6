//! Devices in this process, and what tests need to talk to them.

use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use host_driver::ceremony::MemoryLedger;
use host_driver::device::Options;
use host_driver::pool::{Member, Pool, PoolOptions};
use host_driver::provision::{Goal, Plan, ProvisionError, Provisioned, Step, provision};
use host_driver::transport::loopback::{Loopback, LoopbackConnector, PipeWriter};
use host_driver::transport::{Connector, Transport, TransportError};
use host_driver::{HostKey, OperatorKey, block_on};
use hsm_firmware::board::host::{Config, FlashImage, HostDevice, Registry};
use hsm_protocol::{AuditTag, DeviceId, Role};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The firmware on a thread, with its flash in memory.
#[derive(Clone)]
pub(crate) struct Hsm(Arc<dyn Connector>);

impl Hsm {
    pub(crate) fn new() -> Self {
        Self::with_writer(|writer| writer)
    }

    /// One whose answers go through a writer around that of the line.
    pub(crate) fn with_writer<W: Write + Send + 'static>(
        wrap: impl Fn(PipeWriter) -> W + Send + Sync + 'static,
    ) -> Self {
        let config =
            Config { flash: FlashImage::Memory, sealing_key: None, registry: Registry::default() };
        let device = Mutex::new(HostDevice::spawn(config).unwrap());
        let attach = move |far: Loopback| {
            let Loopback { mut reader, writer } = far;
            let reader = move |out: &mut [u8], patience| Ok(reader.read_timeout(out, patience));
            device.lock().unwrap().attach(reader, wrap(writer))
        };
        Self(Arc::new(LoopbackConnector(attach)))
    }

    /// A device in a domain of its own, with a crypto user.
    pub(crate) fn provisioned() -> (Self, HostKey) {
        Self::new().provision()
    }

    /// This device, in a domain of its own, with a crypto user.
    pub(crate) fn provision(self) -> (Self, HostKey) {
        let keys = Keys::new();
        keys.provision(&self).unwrap();
        (self, keys.user)
    }
}

/// Who rules and uses a development domain.
pub(crate) struct Keys {
    pub(crate) operator: OperatorKey,
    pub(crate) user: HostKey,
    pub(crate) ballots: MemoryLedger,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let (operator, user) = (OperatorKey::generate(), HostKey::generate());
        Self { operator, user, ballots: MemoryLedger::default() }
    }

    /// Provisions a device in a domain of its own.
    pub(crate) fn provision(
        &self,
        connector: &dyn Connector,
    ) -> Result<Provisioned, ProvisionError> {
        self.with(connector, Goal::Create("tests"), &mut |_| {})
    }

    pub(crate) fn with(
        &self,
        connector: &dyn Connector,
        goal: Goal<'_>,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Provisioned, ProvisionError> {
        let hosts = [(self.user.public(), Role::CryptoUser)];
        let plan = Plan {
            operator: &self.operator,
            host: &self.user,
            hosts: &hosts,
            goal,
            roots: None,
            ledger: &self.ballots,
            options: options(),
        };
        provision(connector, &plan, progress)
    }
}

impl Connector for Hsm {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        self.0.connect()
    }
}

pub(crate) fn options() -> Options {
    Options { patience: LONG, deadline: LONG }
}

/// Keeps what no caller got.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) missed: Mutex<Vec<DeviceReceipt>>,
    pub(crate) lost: Mutex<Vec<Range<u64>>>,
}

impl AuditSink for Sink {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        None
    }

    fn missed(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        self.missed.lock().unwrap().extend_from_slice(receipts);
        Ok(())
    }

    fn lost(&self, _: &DeviceId, _: u64, indexes: Range<u64>) -> Result<(), String> {
        self.lost.lock().unwrap().push(indexes);
        Ok(())
    }
}

/// A pool of one device.
pub(crate) fn pool(
    connector: Arc<dyn Connector>,
    user: HostKey,
    options: PoolOptions,
) -> (Pool, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    let member = Member { name: "soft".to_owned(), connector, expected: None, held: None };
    let pool = Pool::start(vec![member], user, Arc::clone(&sink) as _, options).unwrap();
    block_on(pool.ready(Instant::now() + LONG)).unwrap();
    (pool, sink)
}

pub(crate) fn tag(number: u64) -> AuditTag {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&number.to_le_bytes());
    AuditTag(tag)
}
