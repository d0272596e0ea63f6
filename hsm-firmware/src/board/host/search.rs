//! The search for key pairs on all processors of the host.
//!
//! Each thread draws candidates from a generator of its own, seeded by the module's, and the primes
//! of any two make a pair: so as many processors as there are find one in as much less time. All of
//! them look while the core asks for the pair; else one does, at low priority, so that a stock is
//! filled without being in the way.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::vec::Vec;

use hsm_core::algorithm::rsa::search::{PrimeSearch, join};
use hsm_core::drbg::{Drbg, SEED_SIZE};
use hsm_core::platform::PairSearch;
use hsm_core::secret::{Secret, SecretBuf};
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// How long after a question all threads go on. Longer than the pauses between the questions of a
/// pool for which a caller waits.
const ASKED: Duration = Duration::from_millis(200);
/// Added to the niceness of the thread that looks when nobody asks.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The threads, which start with the first search.
pub(super) struct Searchers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There may be something to look for, or the threads are to end.
    changed: Condvar,
    /// A thread has stopped looking.
    rested: Condvar,
}

#[derive(Default)]
struct State {
    sought: Option<KeySpec>,
    /// Counts searches, so that a thread knows when its own has ended.
    search: u64,
    asked: Option<Instant>,
    /// A seed for each thread that has not begun yet.
    seeds: Vec<Option<Secret<SEED_SIZE>>>,
    /// The first of the two.
    prime: Option<Zeroizing<Vec<u8>>>,
    /// What was found and not collected: one of each spec at most.
    found: Vec<(KeySpec, SecretBuf)>,
    failure: Option<ErrorCode>,
    /// Threads that are looking, and so have secrets on their stacks.
    busy: usize,
    closed: bool,
}

impl Searchers {
    pub(super) fn new() -> Self {
        Self { shared: Arc::default(), threads: Vec::new() }
    }

    fn start(&mut self) -> Result<(), ErrorCode> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // One more, for when nobody asks.
        for index in self.threads.len()..=processors {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name(std::format!("hsm-pair-{index}"));
            let thread =
                thread.spawn(move || shared.run(index)).map_err(|_| ErrorCode::INTERNAL)?;
            self.threads.push(thread);
        }
        Ok(())
    }
}

impl PairSearch for Searchers {
    fn sought(&self) -> Option<KeySpec> {
        self.shared.lock().sought
    }

    fn begin(&mut self, spec: KeySpec, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        PrimeSearch::new(spec)?; // refuses other specs
        self.start()?;
        let seed = |_| {
            let mut seed = Secret::<SEED_SIZE>::zeroed();
            rng.fill_bytes(seed.expose_mut());
            Some(seed)
        };
        let seeds = (0..self.threads.len()).map(seed).collect();
        let mut state = self.shared.lock();
        state.end();
        state.sought = Some(spec);
        state.seeds = seeds;
        state.asked = Some(Instant::now());
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn collect(&mut self, spec: KeySpec, out: &mut SecretBuf) -> Result<bool, ErrorCode> {
        let mut state = self.shared.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if let Some(place) = state.found.iter().position(|(found, _)| *found == spec) {
            let (_, pair) = state.found.swap_remove(place);
            drop(state);
            return out.set(pair.expose()).map(|()| true);
        }
        state.asked = Some(Instant::now());
        drop(state);
        self.shared.changed.notify_all();
        Ok(false)
    }

    fn stop(&mut self) {
        let mut state = self.shared.lock();
        state.end();
        state.found.clear();
        while state.busy > 0 {
            state = self.shared.rested.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Searchers {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.end();
            state.found.clear();
            state.closed = true;
        }
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // one that panicked has nothing more to end
        }
    }
}

impl State {
    /// Ends the search.
    fn end(&mut self) {
        self.search = self.search.wrapping_add(1);
        (self.sought, self.asked, self.prime) = (None, None, None);
        self.seeds.clear();
    }

    /// Whether a thread is to look; for all but the first only as long as somebody asks.
    fn wants(&self, thread: usize) -> bool {
        self.sought.is_some()
            && (thread == 0 || self.asked.is_some_and(|asked| asked.elapsed() < ASKED))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, thread: usize) {
        #[cfg(target_os = "linux")]
        if thread == 0 {
            let _ = rustix::process::nice(NICENESS); // of this thread; without it, it only is in the way
        }
        loop {
            let mut state = self.lock();
            while !state.closed && !state.wants(thread) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            let search = state.search;
            state.busy = state.busy.saturating_add(1);
            drop(state);
            let looked = self.look(thread, search);
            super::erase_stack();
            let mut state = self.lock();
            state.busy = state.busy.saturating_sub(1);
            if let (Err(error), true) = (looked, state.search == search) {
                state.end();
                state.failure = Some(error);
            }
            drop(state);
            self.rested.notify_all();
        }
    }

    /// Looks for primes until the pair is found, the search has ended, or this thread is not wanted.
    #[inline(never)]
    fn look(&self, thread: usize, search: u64) -> Result<(), ErrorCode> {
        let mut state = self.lock();
        let Some(spec) = state.sought.filter(|_| state.search == search) else { return Ok(()) };
        let seed = state.seeds.get_mut(thread).and_then(Option::take);
        drop(state);
        let seed = seed.ok_or(ErrorCode::INTERNAL)?;
        let mut drbg = Drbg::instantiate(&seed, &[0; SEED_SIZE]);
        drop(seed);
        let mut primes = PrimeSearch::new(spec)?;
        loop {
            let prime = primes.step(&mut drbg)?;
            let mut state = self.lock();
            if state.search != search {
                return Ok(());
            }
            if let Some(prime) = prime {
                state.add(spec, prime)?;
                primes.forget();
                continue; // or the search has ended, which the next round sees
            }
            if !state.wants(thread) {
                // For when it comes back to this search.
                let mut seed = Secret::<SEED_SIZE>::zeroed();
                drbg.generate(None, seed.expose_mut());
                if let Some(place) = state.seeds.get_mut(thread) {
                    *place = Some(seed);
                }
                return Ok(());
            }
        }
    }
}

impl State {
    /// Takes a prime of the present search, which ends with the second one.
    fn add(&mut self, spec: KeySpec, prime: &[u8]) -> Result<(), ErrorCode> {
        let Some(first) = self.prime.take() else {
            self.prime = Some(Zeroizing::new(prime.to_vec()));
            return Ok(());
        };
        let mut pair = SecretBuf::new();
        if join(&first, prime, &mut pair)? {
            self.found.push((spec, pair));
            self.end();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drbg() -> Drbg {
        Drbg::instantiate(&Secret::copy_from(&[7; SEED_SIZE]), &[0; SEED_SIZE])
    }

    fn threads_rest(search: &Searchers) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while search.shared.lock().busy > 0 {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn all_processors_look_and_find_different_pairs() {
        let (mut search, mut drbg) = (Searchers::new(), drbg());
        let mut pairs = Vec::new();
        for _ in 0..3 {
            search.begin(KeySpec::RSA_2048, &mut drbg).unwrap();
            assert_eq!(search.sought(), Some(KeySpec::RSA_2048));
            let (mut pair, mut busiest) = (SecretBuf::new(), 0);
            while !search.collect(KeySpec::RSA_2048, &mut pair).unwrap() {
                busiest = busiest.max(search.shared.lock().busy);
                assert!(!search.collect(KeySpec::RSA_4096, &mut pair).unwrap());
                thread::sleep(Duration::from_micros(100));
            }
            assert!(busiest > thread::available_parallelism().unwrap().get() / 2, "{busiest}");
            assert_eq!(search.sought(), None);
            let (p, q) = pair.expose().split_at(128);
            assert!(p > q);
            pairs.push(pair.expose().to_vec());
        }
        pairs.sort();
        pairs.dedup();
        assert_eq!(pairs.len(), 3);
        threads_rest(&search);
    }

    #[test]
    fn one_thread_goes_on_when_nobody_asks() {
        let (mut search, mut drbg) = (Searchers::new(), drbg());
        let deadline = Instant::now() + Duration::from_secs(600);
        // All look, the one that is to go on among them.
        loop {
            search.begin(KeySpec::RSA_4096, &mut drbg).unwrap();
            while search.sought().is_some() && search.shared.lock().busy < search.threads.len() {
                assert!(Instant::now() < deadline);
                assert!(!search.collect(KeySpec::RSA_2048, &mut SecretBuf::new()).unwrap());
                thread::sleep(Duration::from_micros(100));
            }
            let mut state = search.shared.lock();
            if state.sought.is_some() && state.busy == search.threads.len() {
                state.asked = Instant::now().checked_sub(ASKED);
                break;
            }
        }
        while search.shared.lock().busy > 1 {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
        // Nobody asks, and yet it is found.
        let deadline = Instant::now() + Duration::from_secs(600);
        while search.sought().is_some() {
            assert!(Instant::now() < deadline);
            assert!(search.shared.lock().busy <= 1);
            thread::sleep(Duration::from_millis(5));
        }
        assert!(search.collect(KeySpec::RSA_4096, &mut SecretBuf::new()).unwrap());
    }

    #[test]
    fn stopping_ends_the_search_and_erases_what_was_found() {
        let (mut search, mut drbg) = (Searchers::new(), drbg());
        search.begin(KeySpec::RSA_2048, &mut drbg).unwrap();
        while search.sought().is_some() {
            thread::sleep(Duration::from_millis(1));
        }
        search.begin(KeySpec::RSA_4096, &mut drbg).unwrap();
        while search.shared.lock().busy == 0 {
            thread::yield_now();
        }
        search.stop();
        {
            let state = search.shared.lock();
            assert_eq!((state.sought, state.busy), (None, 0));
            assert!(state.prime.is_none() && state.found.is_empty() && state.seeds.is_empty());
        }
        for spec in [KeySpec::RSA_2048, KeySpec::RSA_4096] {
            assert!(!search.collect(spec, &mut SecretBuf::new()).unwrap());
        }
        assert_eq!(search.begin(KeySpec::HMAC_256, &mut drbg), Err(ErrorCode::UNSUPPORTED));
    }
}
