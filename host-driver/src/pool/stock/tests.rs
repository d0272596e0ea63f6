use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::*;
use crate::health::Service;
use crate::pool::PoolOptions;
use crate::pool::tests::{LONG, Rig, options, rig};
use crate::testing::FakeDevice;
use crate::wait::block_on;

const RSA: [u8; 3] = [KeySpec::RSA_2048.0, KeySpec::RSA_3072.0, KeySpec::RSA_4096.0];

const KEY: PairPurpose = PairPurpose::KEY;

fn device() -> Arc<FakeDevice> {
    FakeDevice::with(&RSA, 8)
}

fn with(targets: StockTargets) -> PoolOptions {
    PoolOptions { stock: targets, ..options() }
}

impl Rig {
    fn pair(&self, spec: KeySpec, patience: Duration) -> Result<String, CallError> {
        self.pair_for(None, spec, patience)
    }

    fn pair_for(
        &self,
        claimant: Option<&str>,
        spec: KeySpec,
        patience: Duration,
    ) -> Result<String, CallError> {
        let pair = self.pool.key_pair(spec, KEY, claimant, Instant::now() + patience);
        let pair = block_on(pair)?;
        Ok(String::from_utf8(pair.to_vec()).unwrap())
    }

    /// Pairs for keys.
    fn levels(&self) -> Vec<usize> {
        self.levels_for(KEY)
    }

    fn levels_for(&self, purpose: PairPurpose) -> Vec<usize> {
        let stock = self.pool.stock();
        let of_purpose = stock.iter().filter(|level| level.purpose == purpose);
        of_purpose.map(|level| level.level).collect()
    }
}

#[test]
fn the_stock_is_filled_and_refilled() {
    let rig = rig(vec![device()], with(StockTargets::default()));
    rig.until("all shelves are full", |rig| rig.levels() == [2, 1, 1]);
    let pair = rig.pair(KeySpec::RSA_3072, Duration::ZERO).unwrap();
    assert!(pair.starts_with("RSA_3072 KEY "), "{pair}");
    rig.until("it is full again", |rig| rig.levels() == [2, 1, 1]);
    for purpose in [PairPurpose::DATA_KEY_PAIR, PairPurpose::IMPORT] {
        rig.until("there is one for each", |rig| rig.levels_for(purpose) == [1, 1, 1]);
    }
    let level = rig.pool.stock()[1];
    assert_eq!((level.found, level.handed_out, level.waiting), (2, 1, 0));
    let questions = rig.devices[0].pair_questions.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rig.devices[0].pair_questions.load(Ordering::SeqCst), questions);
}

/// A pair comes from the shelf of its purpose, however many there are on the others.
#[test]
fn pairs_are_prepared_for_one_purpose() {
    let rig = rig(vec![device()], with(StockTargets { rsa_2048: 3, ..StockTargets::NONE }));
    for purpose in PairPurpose::ALL {
        let full = if purpose == KEY { 3 } else { 1 };
        rig.until("the shelf is full", |rig| rig.levels_for(purpose) == [full, 0, 0]);
    }
    for purpose in PairPurpose::ALL {
        for spec in RSA.map(KeySpec) {
            let deadline = Instant::now() + LONG;
            let pair = block_on(rig.pool.key_pair(spec, purpose, None, deadline)).unwrap();
            let pair = String::from_utf8(pair.to_vec()).unwrap();
            assert!(pair.starts_with(&format!("{spec:?} {purpose:?} ")), "{pair}");
        }
    }
}

#[test]
fn no_pair_is_handed_out_twice() {
    let rig = rig(vec![device(), device()], with(StockTargets::default()));
    let pairs: Vec<String> = thread::scope(|scope| {
        let take = |index: usize| {
            let (rig, spec) = (&rig, KeySpec(RSA[index % 3]));
            scope.spawn(move || rig.pair(spec, LONG).unwrap())
        };
        let takers: Vec<_> = (0..24).map(take).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    assert_eq!(pairs.iter().collect::<BTreeSet<_>>().len(), pairs.len());
    let stock = rig.pool.stock();
    assert_eq!(stock.iter().map(|level| level.handed_out).sum::<u64>(), 24);
    assert!(stock.iter().all(|level| level.waiting == 0));
}

#[test]
fn what_a_waiting_caller_took_is_replaced() {
    for _ in 0..8 {
        let rig = rig(vec![device()], with(StockTargets { rsa_2048: 1, ..StockTargets::NONE }));
        rig.pair(KeySpec::RSA_2048, LONG).unwrap();
        rig.until("the shelf is full again", |rig| rig.levels() == [1, 0, 0]);
    }
}

#[test]
fn a_waiting_caller_is_served_without_a_stock() {
    let rig = rig(vec![device()], with(StockTargets::NONE));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(rig.devices[0].pair_questions.load(Ordering::SeqCst), 0);
    rig.pair(KeySpec::RSA_4096, LONG).unwrap();
    assert_eq!(rig.levels(), [0, 0, 0]);
}

#[test]
fn callers_wait_until_their_deadline() {
    let device = device();
    device.questions_per_pair.store(u64::MAX, Ordering::SeqCst);
    let rig = rig(vec![device], with(StockTargets::NONE));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    let patience = Duration::from_millis(150);
    let start = Instant::now();
    let error = rig.pair(KeySpec::RSA_2048, patience).unwrap_err();
    assert!(matches!(error, CallError::NoPairYet(KeySpec::RSA_2048)), "{error}");
    assert!(start.elapsed() >= patience);
    assert!(error.retryable());
    assert_eq!(rig.pool.stock()[0].waiting, 0);
}

#[test]
fn who_came_first_is_served_first() {
    let room = WaitingRoom::open().unwrap();
    let stock = Stock::new(StockTargets::NONE);
    let shelf = stock.shelf(KeySpec::RSA_2048, KEY).unwrap();
    let pair = |number: u8| Zeroizing::new(vec![number]);
    let [first, second, third] = [(); 3].map(|()| shelf.demand(None, &room));
    shelf.put(pair(1));
    assert!(second.take().is_none(), "the only pair is the first caller's");
    assert!(shelf.is_demanded() && !shelf.is_full());
    shelf.put(pair(2));
    assert!(third.take().is_none());
    assert_eq!(second.take(), Some(pair(1)));
    // One gives up, and the next is told that it may have what was meant for that one.
    let told = room.enter(Instant::now() + LONG);
    assert!(third.take().is_none());
    drop(first);
    assert!(block_on(told).is_err(), "the room wakes by dropping the sender");
    assert_eq!(third.take(), Some(pair(2)));
    drop((second, third));
    assert_eq!((shelf.level().waiting, shelf.level().handed_out), (0, 2));
    room.close();
}

/// A client that gave up finds what was looked for meanwhile, although others came before it tried
/// again.
#[test]
fn who_gives_up_keeps_its_place_and_the_pair_that_is_found_for_it() {
    let device = device();
    device.questions_per_pair.store(u64::MAX, Ordering::SeqCst);
    let rig = rig(vec![device], with(StockTargets::NONE));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    let spec = KeySpec::RSA_4096;
    let error = rig.pair_for(Some("first"), spec, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, CallError::NoPairYet(KeySpec::RSA_4096)), "{error}");
    assert!(error.retryable() && !error.maybe_executed());
    thread::scope(|scope| {
        let late = scope.spawn(|| rig.pair_for(Some("second"), spec, LONG));
        rig.until("another one waits", |rig| rig.pool.stock()[2].waiting == 1);
        rig.devices[0].questions_per_pair.store(2, Ordering::SeqCst);
        rig.until("both pairs are found", |rig| rig.pool.stock()[2].found == 2);
        late.join().unwrap().unwrap();
        assert_eq!(rig.levels(), [0, 0, 1], "one is kept for the first caller");
        let stranger = rig.pair_for(Some("third"), spec, Duration::ZERO);
        assert!(stranger.is_err(), "nobody else gets it");
        rig.pair_for(Some("first"), spec, Duration::ZERO).unwrap();
    });
}

#[test]
fn a_pair_that_was_not_used_is_handed_out_again() {
    let rig = rig(vec![device()], with(StockTargets::NONE));
    let pair = rig.pair(KeySpec::RSA_2048, LONG).unwrap();
    rig.pool.put_back(KeySpec::RSA_2048, KEY, Zeroizing::new(pair.clone().into_bytes()));
    assert_eq!(rig.pair(KeySpec::RSA_2048, Duration::ZERO).unwrap(), pair);
    assert_eq!(rig.pool.stock()[0].handed_out, 1);
}

#[test]
fn a_device_that_cannot_is_not_asked() {
    let plain = FakeDevice::new();
    let rig = rig(vec![plain, device()], with(StockTargets::default()));
    rig.until("all shelves are full", |rig| rig.levels() == [2, 1, 1]);
    assert_eq!(rig.devices[0].pair_questions.load(Ordering::SeqCst), 0);
    let error = rig.pair(KeySpec::ECC_NIST_P256, LONG).unwrap_err();
    assert!(matches!(error, CallError::NoCapableDevice(KeySpec::ECC_NIST_P256)), "{error}");
}

#[test]
fn a_pool_without_the_spec_says_so() {
    let rig = rig(vec![FakeDevice::new()], with(StockTargets::default()));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    let error = rig.pair(KeySpec::RSA_2048, LONG).unwrap_err();
    assert!(matches!(error, CallError::NoCapableDevice(KeySpec::RSA_2048)), "{error}");
}

#[test]
fn refusals_reach_the_caller_at_its_deadline() {
    let device = device();
    device.questions_per_pair.store(0, Ordering::SeqCst);
    let rig = rig(vec![device], with(StockTargets::NONE));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    let begin = Instant::now();
    let error = loop {
        // On a slow machine the device may not have been asked by then.
        match rig.pair(KeySpec::RSA_2048, Duration::from_millis(200)).unwrap_err() {
            CallError::NoPairYet(_) => assert!(begin.elapsed() < LONG, "it is never asked"),
            error => break error,
        }
    };
    let code = hsm_protocol::ErrorCode::UNKNOWN_COMMAND;
    assert!(matches!(error, CallError::Refused { code: c, .. } if c == code), "{error}");
}

#[test]
fn a_search_goes_on_at_another_device() {
    let rig = rig(vec![device(), device()], with(StockTargets::NONE));
    rig.until("both are in service", |rig| rig.services() == [Service::InService; 2]);
    rig.devices.iter().for_each(|d| d.questions_per_pair.store(u64::MAX, Ordering::SeqCst));
    let questions = |index: usize| rig.devices[index].pair_questions.load(Ordering::SeqCst);
    thread::scope(|scope| {
        let taker = scope.spawn(|| rig.pair(KeySpec::RSA_2048, LONG));
        rig.until("one looks", |_| questions(0) + questions(1) > 2);
        let busy = usize::from(questions(0) == 0);
        assert_eq!(questions(1 - busy), 0, "only one looks");
        rig.devices[1 - busy].questions_per_pair.store(2, Ordering::SeqCst);
        rig.devices[busy].down.store(true, Ordering::SeqCst);
        taker.join().unwrap().unwrap();
        assert!(questions(1 - busy) > 0);
    });
}

#[test]
fn nothing_is_asked_without_a_device_and_the_search_starts_with_one() {
    let device = device();
    device.down.store(true, Ordering::SeqCst);
    let rig = rig(vec![device], with(StockTargets::default()));
    let error = rig.pair(KeySpec::RSA_2048, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, CallError::Unavailable { .. }), "{error}");
    rig.devices[0].down.store(false, Ordering::SeqCst);
    rig.until("all shelves are full", |rig| rig.levels() == [2, 1, 1]);
}

#[test]
fn shutting_down_ends_waiting_callers() {
    let device = device();
    device.questions_per_pair.store(u64::MAX, Ordering::SeqCst);
    let rig = rig(vec![device], with(StockTargets::NONE));
    rig.until("it is in service", |rig| rig.services() == [Service::InService]);
    thread::scope(|scope| {
        let taker = scope.spawn(|| rig.pair(KeySpec::RSA_2048, LONG));
        rig.until("it waits", |rig| rig.pool.stock()[0].waiting == 1);
        rig.pool.shared.close();
        assert!(matches!(taker.join().unwrap(), Err(CallError::ShutDown)));
    });
    rig.pool.shut_down();
}

/// A pair that is sealed under this key of a domain, as far as anybody can see.
fn sealed(domain_key: u32) -> Zeroizing<Vec<u8>> {
    let pair = PreparedPair { spec: KeySpec::RSA_2048, purpose: KEY };
    let mut token = vec![0; Sealed::<PreparedPair>::HEADER_SIZE + 64];
    let domain = hsm_protocol::DomainId([1; 16]);
    Sealed::write_header(&domain, domain_key, &pair, &[2; 16], &mut token).unwrap();
    token.into()
}

#[test]
fn pairs_under_former_domain_keys_are_thrown_away() {
    let rig = rig(vec![device()], with(StockTargets::NONE));
    let shelf = rig.pool.shared.stock.shelf(KeySpec::RSA_2048, KEY).unwrap();
    for domain_key in [1, 2, 1, 2, 3] {
        shelf.put(sealed(domain_key));
    }
    // Something that is not a pair at all is of no use either.
    shelf.put(b"RSA_2048 KEY 1".to_vec().into());
    rig.pool.keep_pairs_under(2);
    assert_eq!(rig.levels(), [2, 0, 0]);
    let pair = block_on(rig.pool.key_pair(KeySpec::RSA_2048, KEY, None, Instant::now())).unwrap();
    assert_eq!(Sealed::<PreparedPair>::parse(&pair).unwrap().domain_key, 2);
    rig.pool.keep_pairs_under(3);
    assert_eq!(rig.levels(), [0, 0, 0]);
}
