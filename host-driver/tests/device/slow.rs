//! A device that takes its time, as one with slow flash does: what may take long takes no line down.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use host_driver::block_on;
use host_driver::device::Options;
use host_driver::pool::{PoolOptions, Route, StockTargets};
use host_driver::transport::Connector;
use hsm_protocol::KeyId;
use hsm_protocol::audit::LogPosition;
use hsm_protocol::command::audit::MakeCheckpoint;
use hsm_protocol::command::key::GenerateKey;
use hsm_protocol::command::random::Random;
use hsm_protocol::key_spec::{KeySpec, KeyUsage};

use crate::rig::{Hsm, LONG, pool, tag};

/// How long a device may take for an ordinary command here.
const ORDINARY: Duration = Duration::from_millis(400);
/// How long this one takes: too long for an ordinary command, and well within ten times as long.
const WORK: Duration = Duration::from_millis(1200);

/// Answers as late as it is told: the device works on nothing else meanwhile.
struct Late<W> {
    writer: W,
    by_ms: Arc<AtomicU64>,
}

impl<W: Write> Write for Late<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(self.by_ms.load(Ordering::SeqCst)));
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[test]
fn a_command_that_writes_storage_may_take_long_and_an_ordinary_one_may_not() {
    let by_ms = Arc::new(AtomicU64::new(0));
    let device = Arc::clone(&by_ms);
    let hsm = Hsm::with_writer(move |writer| Late { writer, by_ms: Arc::clone(&device) });
    let (hsm, user) = hsm.provision();
    let lines = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lines);
    let connector = move || {
        count.fetch_add(1, Ordering::SeqCst);
        hsm.connect()
    };
    let options = PoolOptions {
        device: Options { patience: ORDINARY, deadline: LONG },
        // Nothing but the calls below is asked of the device.
        probe_interval: LONG,
        shortest_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        domain: None,
        stock: StockTargets::NONE,
        hedges: 0,
    };
    let (pool, _) = pool(Arc::new(connector), user, options);
    let random = |deadline| {
        let route = Route { deadline: Some(Instant::now() + deadline), ..Route::default() };
        block_on(pool.call_with(&Random { length: 32 }, tag(1), route)).map(drop)
    };
    random(LONG).unwrap();
    let before = lines.load(Ordering::SeqCst);

    by_ms.store(WORK.as_millis() as u64, Ordering::SeqCst);
    let log = LogPosition { sequence: 0, hash: [0; 32] };
    pool.call_blocking(&MakeCheckpoint { log, closing: false }, tag(2)).unwrap();
    let id = KeyId::single_region([7; 16]);
    let (spec, usage) = (KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    pool.call_blocking(&GenerateKey { id, spec, usage }, tag(3)).unwrap();
    assert_eq!(lines.load(Ordering::SeqCst), before, "the line is the same");

    random(3 * WORK).unwrap_err();
    assert!(lines.load(Ordering::SeqCst) > before, "the line was given up");
    by_ms.store(0, Ordering::SeqCst);
    random(LONG).unwrap();
}
