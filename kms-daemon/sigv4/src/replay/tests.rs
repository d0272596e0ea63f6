//! The cache against what it promises, and against a simple one.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000_000;
const WINDOW: u64 = 300;

/// Signatures that share a shard.
fn signature(number: u64) -> [u8; 32] {
    let mut signature = [0; 32];
    signature[..8].copy_from_slice(&number.to_le_bytes());
    signature
}

fn used(signature: &[u8; 32], dated: u64) -> Used<'_> {
    Used { signature, dated, is_unique: false }
}

/// A shard with a clock.
struct Rig {
    limits: ReplayCache,
    shard: Shard,
}

impl Rig {
    fn new(capacity: usize) -> Self {
        let limits = ReplayCache::with_capacity(WINDOW, capacity * SHARDS);
        Self { limits, shard: Shard::default() }
    }

    /// Admits at a time in milliseconds after [`NOW`].
    fn admit(&mut self, used: Used<'_>, millis: u64) -> Result<(), Refusal> {
        let (now, elapsed) = (NOW + millis / 1000, Duration::from_millis(millis));
        self.shard.admit(used, now, elapsed, &self.limits)
    }
}

#[test]
fn equal_requests_of_a_second_are_accepted_and_later_ones_are_not() {
    let mut rig = Rig::new(100);
    let signature = signature(1);
    for millis in [0, 1, 999, 5000] {
        assert_eq!(rig.admit(used(&signature, NOW), millis), Ok(()));
    }
    for millis in [5001, 60_000, 300_000] {
        assert_eq!(rig.admit(used(&signature, NOW), millis), Err(Refusal::Used));
    }
}

#[test]
fn a_unique_signature_is_accepted_once() {
    let mut rig = Rig::new(100);
    let signature = signature(1);
    let unique = Used { is_unique: true, ..used(&signature, NOW) };
    assert_eq!(rig.admit(unique, 0), Ok(()));
    assert_eq!(rig.admit(unique, 0), Err(Refusal::Used));
    assert_eq!(rig.admit(unique, 299_000), Err(Refusal::Used));
}

/// A clock that is fast makes signatures that hold for longer than one window.
#[test]
fn a_signature_is_remembered_until_its_date_is_out_of_the_window() {
    let mut rig = Rig::new(100);
    let signature = signature(1);
    assert_eq!(rig.admit(used(&signature, NOW + 299), 0), Ok(()));
    assert_eq!(rig.admit(used(&signature, NOW + 299), 599_000), Err(Refusal::Used));
    let later = rig.admit(used(&signature, NOW + 299), 620_000);
    assert!(matches!(later, Err(Refusal::Forgotten(_))), "{later:?}");
    assert_eq!(rig.shard.length, 0);
}

#[test]
fn when_full_the_window_closes_from_behind() {
    let mut rig = Rig::new(10);
    for number in 0..10 {
        let (signature, dated) = (signature(number), NOW - 200 + number * 10);
        assert_eq!(rig.admit(used(&signature, dated), 0), Ok(()));
    }
    assert_eq!(rig.admit(used(&signature(10), NOW), 0), Ok(()));
    // What was forgotten is refused, though its date is within the window.
    let forgotten = rig.admit(used(&signature(0), NOW - 200), 0);
    assert!(matches!(forgotten, Err(Refusal::Forgotten(floor)) if floor > NOW - 200));
    assert_eq!(rig.admit(used(&signature(9), NOW - 110), 6000), Err(Refusal::Used));
    assert!(rig.shard.length <= 10);
}

#[test]
fn when_full_of_what_is_new_nothing_is_forgotten() {
    let mut rig = Rig::new(10);
    for number in 0..10 {
        assert_eq!(rig.admit(used(&signature(number), NOW), 0), Ok(()));
    }
    assert_eq!(rig.admit(used(&signature(10), NOW), 0), Err(Refusal::Full));
    assert_eq!(rig.admit(used(&signature(5), NOW), 6000), Err(Refusal::Used));
    assert_eq!(rig.admit(used(&signature(10), NOW + 40), 40_000), Ok(()));
}

/// A cache of a daemon that started so many seconds ago.
fn started(seconds: u64) -> ReplayCache {
    let begin = Instant::now().checked_sub(Duration::from_secs(seconds));
    ReplayCache::new(WINDOW).since(begin.expect("a machine that runs for longer"))
}

fn at(seconds: u64) -> Duration {
    // Not at the edge of a second: the test takes time as well.
    Duration::from_secs(seconds) + Duration::from_millis(500)
}

#[test]
fn dates_before_the_start_are_refused() {
    let cache = started(20);
    let start = NOW - 20;
    assert_eq!(cache.admit(used(&[1; 32], start - 1), at(NOW)), Err(Refusal::Forgotten(start)));
    assert_eq!(cache.admit(used(&[1; 32], start), at(NOW)), Ok(()));
}

/// The start of a daemon is not in the future because its clock was ahead at the time.
#[test]
fn a_clock_that_was_ahead_at_the_start_and_is_set_right_refuses_nobody() {
    let (cache, ahead) = (started(20), 20 * 3600);
    assert_eq!(cache.admit(used(&[1; 32], NOW + ahead), at(NOW + ahead)), Ok(()));
    let start = NOW - 20;
    assert_eq!(cache.admit(used(&[2; 32], NOW), at(NOW)), Ok(()));
    assert_eq!(cache.admit(used(&[3; 32], start - 1), at(NOW)), Err(Refusal::Forgotten(start)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in whatever order, nothing is accepted later than it may be.
    #[test]
    fn agrees_with_a_list_of_all(
        events in proptest::collection::vec((0..20_u64, 0..600_u64, 0..30_000_u64, any::<bool>()), 0..80),
        capacity in 1..30_usize,
    ) {
        let mut rig = Rig::new(capacity);
        let mut accepted: Vec<(u64, u64)> = Vec::new();
        let mut time = 0;
        for (number, offset, pause, is_unique) in events {
            time += pause;
            // The date and the kind are part of what is signed.
            let dated = (NOW + time / 1000 + offset).saturating_sub(300);
            let id = (number << 33) | (dated << 1) | u64::from(is_unique);
            let signature = signature(id);
            let outcome = rig.admit(Used { signature: &signature, dated, is_unique }, time);
            let first = accepted.iter().find(|(known, _)| *known == id).map(|(_, first)| *first);
            match (outcome, first) {
                (Ok(()), None) => accepted.push((id, time)),
                (Ok(()), Some(first)) => prop_assert!(!is_unique && time - first <= 5000),
                (Err(Refusal::Used), None) => prop_assert!(false, "refused the first"),
                _ => {}
            }
            prop_assert!(rig.shard.length <= capacity);
            let length: usize = rig.shard.steps.values().map(HashMap::len).sum();
            prop_assert_eq!(rig.shard.length, length);
        }
    }
}

/// Not a test of anything but speed and size: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    for threads in [1_u64, 2, 32] {
        let cache = ReplayCache::new(WINDOW);
        let (before, each) = (resident(), 960_000 / threads);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let cache = &cache;
                scope.spawn(move || {
                    for number in 0..each {
                        // Spread like a MAC, at 3,200 requests a second.
                        let id = (thread * each + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let mut signature = [0; 32];
                        signature[..8].copy_from_slice(&id.to_le_bytes());
                        signature[31] = signature[7];
                        let dated = NOW - 300 + number * threads / 3200;
                        cache.admit(used(&signature, dated), at(NOW)).unwrap();
                    }
                });
            }
        });
        let (wall, memory) = (begin.elapsed().as_nanos(), resident() - before);
        println!("{threads} threads: {} ns, {} bytes", wall / 960_000, memory / 960_000);
    }
}
