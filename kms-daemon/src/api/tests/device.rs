//! The HSM of these tests: the real core, in this process, behind the real driver.

use std::io::{self, Write as _};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use host_driver::audit::NoLog;
use host_driver::ceremony::{Ledger, MemoryLedger};
use host_driver::device::Options;
use host_driver::pool::{Member, PoolOptions, StockTargets};
use host_driver::provision::{Goal, Plan, provision};
use host_driver::transport::Connector;
use host_driver::transport::loopback::{Loopback, LoopbackConnector};
use host_driver::{HostKey, OperatorKey, Pool, block_on};
use hsm_core::memory::Memory;
use hsm_core::testing::MemoryPlatform;
use hsm_core::{Hsm, NextWork};
use hsm_protocol::Role;
use hsm_protocol::domain::{Change, DeviceKind, DomainState};
use hsm_protocol::frame::{Decoder, MAX_ENCODED};

use crate::regions::{Regions, Ruler};
use kms_keys::Barrier;
use kms_store::MemoryStore;

/// The names of the Regions in these tests.
pub(super) const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];

/// One device per Region serves all tests. Devices keep no keys, so tests do not interfere.
static POOLS: [LazyLock<Arc<Pool>>; 3] = [
    LazyLock::new(|| Arc::new(start(1))),
    LazyLock::new(|| Arc::new(start(2))),
    LazyLock::new(|| Arc::new(start(3))),
];

static OPERATOR: LazyLock<OperatorKey> = LazyLock::new(OperatorKey::generate);

/// The ledger with the ballots of all domains in these tests.
static BALLOTS: LazyLock<Arc<MemoryLedger>> = LazyLock::new(Arc::default);

/// Returns the pool of one of the Regions.
pub(crate) fn pool(index: usize) -> Arc<Pool> {
    Arc::clone(&POOLS[index])
}

/// Returns the operator, the ledger and the token store that govern the domains of the Regions.
pub(crate) fn ruler() -> Ruler {
    let ledger = Box::new(|_: &str| Arc::clone(&BALLOTS) as Arc<dyn Ledger + Send + Sync>);
    let tokens = Barrier::new(Arc::new(MemoryStore::new()));
    Ruler { operator: OPERATOR.clone(), ledger, tokens }
}

/// Returns a Region with a device of its own, whose domain a test may change freely. The key tokens
/// are in `tokens`.
pub(super) fn own_region(seed: u64, tokens: Arc<Barrier>) -> Arc<Regions> {
    let ruler = Ruler { tokens, ..ruler() };
    Arc::new(Regions::new([(REGIONS[0].to_owned(), Arc::new(start(seed)))], ruler))
}

/// Returns the ballot that changes a domain of these tests.
pub(super) fn ballot(state: &DomainState, changes: &[Change<'_>]) -> Vec<u8> {
    let proposed = host_driver::ceremony::propose(state, changes).unwrap();
    proposed.ballot(&[OPERATOR.sign(&proposed.message).unwrap()]).unwrap()
}

/// Returns the first `count` Regions.
pub(crate) fn regions(count: usize) -> Arc<Regions> {
    let pools = REGIONS.iter().zip(&POOLS).take(count);
    let pools = pools.map(|(name, pool)| ((*name).to_owned(), Arc::clone(pool)));
    Arc::new(Regions::new(pools, ruler()))
}

/// Returns a Region without devices.
pub(crate) fn without_devices() -> Arc<Regions> {
    let (user, options) = (HostKey::generate(), PoolOptions::default());
    let pool = Pool::start(Vec::new(), user, Arc::new(NoLog), options).unwrap();
    Arc::new(Regions::new([(REGIONS[0].to_owned(), Arc::new(pool))], ruler()))
}

fn start(seed: u64) -> Pool {
    let (lines, opened) = mpsc::channel();
    thread::spawn(move || serve(seed, &opened));
    let lines = Mutex::new(lines);
    let connector: Arc<dyn Connector> = Arc::new(LoopbackConnector(move |line| {
        lines.lock().unwrap().send(line).map_err(io::Error::other)
    }));
    let user = HostKey::generate();
    found(&*connector, &user);
    let member = Member { name: "core".to_owned(), connector, expected: None, held: None };
    // Pairs are generated only when a test wants one: the other tests need the time.
    let options = PoolOptions { stock: StockTargets::NONE, ..PoolOptions::default() };
    let pool = Pool::start(vec![member], user, Arc::new(NoLog), options).unwrap();
    block_on(pool.ready(Instant::now() + Duration::from_secs(600))).unwrap();
    pool
}

/// Creates a domain of one device, in which `user` may use keys.
fn found(connector: &dyn Connector, user: &HostKey) {
    let plan = Plan {
        operator: &OPERATOR,
        host: user,
        hosts: &[(user.public(), Role::CryptoUser)],
        goal: Goal::Create("tests"),
        roots: None,
        ledger: &**BALLOTS,
        options: Options::default(),
    };
    provision(connector, &plan, &mut |_| {}).unwrap();
}

/// Runs the device: it serves one connection after another until no more can be opened.
fn serve(seed: u64, lines: &mpsc::Receiver<Loopback>) {
    // The driver does not know the board, so it takes the device for hardware.
    let mut platform = MemoryPlatform::with_seed(seed);
    platform.kind = DeviceKind::Hardware;
    let mut hsm = Box::new(Hsm::new(platform, Memory::boxed()));
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
