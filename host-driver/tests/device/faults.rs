//! Whatever the line does, every call ends with the right answer or a typed error, every
//! executed command is accounted for, and the next good request succeeds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use host_driver::device::Options;
use host_driver::pool::{Pool, PoolOptions, Route, StockTargets};
use host_driver::transport::fault::{Fault, Mode, Rates, Switch};
use host_driver::transport::{Connector, Transport};
use host_driver::{CallError, block_on};
use hsm_protocol::Bytes;
use hsm_protocol::KeyId;
use hsm_protocol::command::key::{GenerateKey, KeyRef};
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm};
use proptest::prelude::*;

use crate::rig::{Hsm, LONG, pool, tag};

const THREADS: u64 = 3;
/// Few enough for the device to keep all entries of a case.
const CALLS: u64 = 6;
/// How long a call waits on a bad line.
const SHORT: Duration = Duration::from_millis(400);

/// A key of the device.
struct Key {
    id: KeyId,
    token: Vec<u8>,
}

impl Key {
    fn generate(pool: &Pool) -> (Self, u64) {
        let id = KeyId::single_region([5; 16]);
        let (spec, usage) = (KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
        let reply = pool.call_blocking(&GenerateKey { id, spec, usage }, tag(0)).unwrap();
        let token = reply.response().unwrap().token.to_vec();
        (Self { id, token }, reply.receipt.unwrap().entry.index)
    }

    /// The MAC of a message that depends on `number`, long if it is odd, and its audit index.
    fn mac(
        &self,
        pool: &Pool,
        number: u64,
        patience: Duration,
    ) -> Result<(Vec<u8>, u64), CallError> {
        let message = [number.to_le_bytes().as_slice(); 2].concat();
        let message = if number % 2 == 1 { message.repeat(100) } else { message };
        let key = KeyRef { id: self.id, token: Bytes(&self.token) };
        let algorithm = MacAlgorithm::HMAC_SHA_256;
        let command = GenerateMac { key, algorithm, message: Bytes(&message) };
        let route = Route { deadline: Some(Instant::now() + patience), ..Route::default() };
        let reply = block_on(pool.call_with(&command, tag(number), route))?;
        let index = reply.receipt.unwrap().entry.index;
        Ok((reply.response()?.mac.to_vec(), index))
    }
}

fn faulty(hsm: &Hsm, rates: Rates, seed: u64, switch: &Switch) -> Arc<dyn Connector> {
    let (hsm, switch) = (hsm.clone(), switch.clone());
    let lines = AtomicU64::new(seed);
    Arc::new(move || {
        let seed = lines.fetch_add(0x1234_5678_9ABC, Ordering::SeqCst);
        let fault = Fault::new(hsm.connect()?, rates, seed, switch.clone());
        Ok(Box::new(fault) as Box<dyn Transport>)
    })
}

fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![3 => Just(0u16), 2 => 1..150u16, 1 => 150..400u16];
    let faults = (rate(), rate(), rate(), rate(), rate(), rate(), 0..40u16);
    faults.prop_map(|(drop, corrupt, duplicate, reorder, garbage, delay, cut)| Rates {
        drop,
        corrupt,
        duplicate,
        reorder,
        garbage,
        delay,
        delay_by: Duration::from_millis(5),
        cut,
    })
}

fn options() -> PoolOptions {
    PoolOptions {
        device: Options { patience: Duration::from_millis(200), deadline: LONG },
        probe_interval: Duration::from_millis(100),
        shortest_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        domain: None,
        stock: StockTargets::NONE,
        hedges: 5,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None,
        max_shrink_iters: 4, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule(rates in rates(), seed in any::<u64>()) {
        check(rates, seed);
    }
}

#[test]
fn heavy_schedules() {
    let none = Rates::default();
    for rates in [
        Rates { drop: 600, ..none },
        Rates { corrupt: 600, ..none },
        Rates { duplicate: 1000, reorder: 300, ..none },
        Rates { garbage: 1000, corrupt: 100, ..none },
        Rates { cut: 200, ..none },
    ] {
        check(rates, 42);
    }
}

fn check(rates: Rates, seed: u64) {
    let (hsm, user) = Hsm::provisioned();
    let switch = Switch::new(Mode::Clean);
    let (pool, sink) = pool(faulty(&hsm, rates, seed, &switch), user, options());
    let (key, made) = Key::generate(&pool);
    let expected: Vec<_> =
        (0..THREADS * CALLS).map(|number| key.mac(&pool, number, LONG).unwrap()).collect();

    switch.set(Mode::Faulty);
    let call = |number: u64| match key.mac(&pool, number, SHORT) {
        Ok((mac, index)) => {
            assert_eq!(mac, expected[number as usize].0, "a wrong answer");
            Some(index)
        }
        Err(error) => {
            assert!(error.retryable(), "{error}");
            None
        }
    };
    let work = |thread| (0..CALLS).filter_map(|n| call(thread * CALLS + n)).collect::<Vec<_>>();
    let mut heard: BTreeSet<u64> = thread::scope(|scope| {
        let spawn = |thread| scope.spawn(move || work(thread));
        let workers: Vec<_> = (0..THREADS).map(spawn).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });

    switch.set(Mode::Clean);
    // What hangs is given up after the patience; then the line is as good as new.
    let (_, last) = key.mac(&pool, 1, LONG).unwrap();
    heard.extend([made, last]);
    heard.extend(expected.iter().map(|(_, index)| index));
    let start = Instant::now();
    loop {
        let missed = sink.missed.lock().unwrap();
        let stored: BTreeSet<u64> = missed.iter().map(|receipt| receipt.entry.index).collect();
        assert_eq!(stored.len(), missed.len(), "an entry was stored twice");
        assert!(stored.is_disjoint(&heard), "an entry was both returned and stored");
        if stored.len() + heard.len() == last as usize + 1 {
            break;
        }
        drop(missed);
        assert!(start.elapsed() < LONG, "entries are missing");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(sink.lost.lock().unwrap().is_empty());
}
