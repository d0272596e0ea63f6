//! The HSM of these tests: the real core, in this process, behind the real driver.

use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use host_driver::audit::{AuditSink, DeviceReceipt, Position};
use host_driver::device::{Device, Options};
use host_driver::pool::{Member, PoolOptions, StockTargets};
use host_driver::transport::Connector;
use host_driver::transport::loopback::{Loopback, LoopbackConnector};
use host_driver::{HostKey, Pool, block_on};
use hsm_core::testing::MemoryPlatform;
use hsm_core::{Hsm, NextWork};
use hsm_protocol::command::domain::{CreateDomain, EnrolHost, Initialise};
use hsm_protocol::frame::{Decoder, MAX_ENCODED};
use hsm_protocol::{AuditTag, DeviceId, Role};

use crate::regions::Regions;

/// The Regions of these tests.
pub(super) const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];

/// One device a Region serves all tests: it keeps no keys, so they cannot meet in it.
static POOLS: [LazyLock<Arc<Pool>>; 3] = [
    LazyLock::new(|| Arc::new(start(1))),
    LazyLock::new(|| Arc::new(start(2))),
    LazyLock::new(|| Arc::new(start(3))),
];

static PROVISIONER: LazyLock<HostKey> = LazyLock::new(HostKey::generate);

/// The pool of one of the Regions, and the provisioner of its domain.
pub(crate) fn pool(index: usize) -> (Arc<Pool>, HostKey) {
    (Arc::clone(&POOLS[index]), PROVISIONER.clone())
}

/// The first so many of the Regions.
pub(crate) fn regions(count: usize) -> Arc<Regions> {
    let pools = REGIONS.iter().zip(&POOLS).take(count);
    let pools = pools.map(|(name, pool)| ((*name).to_owned(), Arc::clone(pool)));
    Arc::new(Regions::new(pools, PROVISIONER.clone()))
}

/// A Region without devices.
pub(crate) fn without_devices() -> Arc<Regions> {
    let (user, options) = (HostKey::generate(), PoolOptions::default());
    let pool = Pool::start(Vec::new(), user, Arc::new(NoSink), options).unwrap();
    Arc::new(Regions::new([(REGIONS[0].to_owned(), Arc::new(pool))], HostKey::generate()))
}

fn start(seed: u64) -> Pool {
    let (lines, opened) = mpsc::channel();
    thread::spawn(move || serve(seed, &opened));
    let lines = Mutex::new(lines);
    let connector: Arc<dyn Connector> = Arc::new(LoopbackConnector(move |line| {
        lines.lock().unwrap().send(line).map_err(io::Error::other)
    }));
    let user = HostKey::generate();
    provision(&*connector, &user);
    let member = Member { name: "core".to_owned(), connector, expected: None };
    // Pairs are looked for when a test wants one: the other tests need the time.
    let options = PoolOptions { stock: StockTargets::NONE, ..PoolOptions::default() };
    let pool = Pool::start(vec![member], user, Arc::new(NoSink), options).unwrap();
    block_on(pool.ready(Instant::now() + Duration::from_secs(600))).unwrap();
    pool
}

/// Makes a domain of one device, in which `user` may use keys.
fn provision(connector: &dyn Connector, user: &HostKey) {
    let provisioner = &*PROVISIONER;
    let tag = AuditTag::default();
    let device = Device::open(connector, None, Options::default()).unwrap();
    device.authenticate(provisioner).unwrap();
    device.call_blocking(&Initialise, tag).unwrap();
    device.authenticate(provisioner).unwrap();
    device.call_blocking(&CreateDomain, tag).unwrap();
    let enrol = EnrolHost { key: user.public(), role: Role::CryptoUser };
    device.call_blocking(&enrol, tag).unwrap();
}

/// The device: takes one line after another until nobody can open any more.
fn serve(seed: u64, lines: &mpsc::Receiver<Loopback>) {
    let mut hsm = Box::new(Hsm::new(MemoryPlatform::with_seed(seed)));
    hsm.start();
    let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
    let (mut input, mut reply) = (vec![0; 4096], vec![0; MAX_ENCODED]);
    for mut line in lines {
        let mut more = false;
        loop {
            let patience = if more { Duration::ZERO } else { Duration::from_millis(100) };
            let length = match line.reader.read_timeout(&mut input, patience) {
                Some(0) => break,
                Some(length) => length,
                None => {
                    more = hsm.work() == NextWork::AtOnce;
                    continue;
                }
            };
            let mut bytes = &input[..length];
            while let Some(frame) = decoder.next(&mut bytes) {
                let length = hsm.process(frame, &mut reply);
                if line.writer.write_all(&reply[..length]).is_err() {
                    break;
                }
            }
            more = true;
        }
    }
}

/// Device entries without a request are of no interest here.
struct NoSink;

impl AuditSink for NoSink {
    fn position(&self, _: &DeviceId) -> Option<Position> {
        None
    }

    fn missed(&self, _: &[DeviceReceipt]) -> Result<(), String> {
        Ok(())
    }

    fn lost(&self, _: &DeviceId, _: u64, _: Range<u64>) -> Result<(), String> {
        Ok(())
    }
}
