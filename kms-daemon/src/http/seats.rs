//! Who is connected, and who has to go when there is no room.
//!
//! Connections are always accepted. When there are as many as there may be, another one is ended:
//! one that has not shown a valid signature before one that has, one of the address that has most
//! before one of an address with few, and what was silent for longest before what was not. So a
//! flood ends its own connections, whether they are idle, send slowly or do not read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::ConnectionMetrics;

/// Answers that wait to be taken, over all connections, in bytes.
const MAX_HELD: usize = 64 << 20;

/// How often it is looked whether one more connection has to be ended.
const AGAIN: Duration = Duration::from_millis(1);
/// How long requests of an ended connection may take to end, until another connection is ended.
const LEAVE: Duration = Duration::from_millis(500);

/// The connections of a port.
pub(super) struct Seats {
    bounds: Bounds,
    metrics: ConnectionMetrics,
    begin: Instant,
    taken: Mutex<Taken>,
    /// Held by the request that makes room for all that wait.
    turn: tokio::sync::Mutex<()>,
    held: AtomicUsize,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// In all.
    pub(super) all: usize,
    /// That have not shown a valid signature.
    pub(super) strangers: usize,
    /// Of one address.
    pub(super) address: usize,
    /// That one store may have when there is no room: beyond that, its requests under way do not keep their
    /// connections.
    pub(super) store: usize,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, Arc<Standing>>,
    addresses: HashMap<IpAddr, Arc<AtomicUsize>>,
    /// The connection that was ended last to make room for requests.
    leaving: Option<(Arc<Standing>, Instant)>,
}

/// The place of a connection, until it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    standing: Arc<Standing>,
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Standing {
    address: IpAddr,
    /// Connections of that address.
    crowd: Arc<AtomicUsize>,
    begin: Instant,
    metrics: ConnectionMetrics,
    is_proven: AtomicBool,
    /// The external key store that it was proven for first.
    store: OnceLock<String>,
    /// Requests under way.
    requests: AtomicUsize,
    /// When a request began or ended last, in milliseconds since `begin`.
    seen: AtomicU64,
    answers: Mutex<Answers>,
    is_ended: AtomicBool,
    end: Notify,
}

/// Answers that wait to be taken.
#[derive(Debug, Default)]
struct Answers {
    next: u64,
    since: BTreeMap<u64, Instant>,
    bytes: usize,
}

impl Seats {
    pub(super) fn new(bounds: Bounds, metrics: ConnectionMetrics) -> Arc<Self> {
        let (begin, held) = (Instant::now(), AtomicUsize::new(0));
        let (taken, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { bounds, metrics, begin, taken, turn, held })
    }

    /// A seat for a connection from an address, if need be that of another one. `None` if all that
    /// could make room have requests under way and have shown valid signatures.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = network(address);
        let mut taken = self.taken();
        let crowd = Arc::clone(taken.addresses.entry(address).or_default());
        let made = if crowd.load(Ordering::Relaxed) >= self.bounds.address {
            let own = |standing: &Standing| standing.address == address;
            self.end(&mut taken, "address", own)
        } else if taken.seats.len() >= self.bounds.all {
            self.end(&mut taken, "room", |_| true)
        } else if taken.seats.len() >= self.bounds.strangers
            && strangers(&taken).count() >= self.bounds.strangers
        {
            self.end(&mut taken, "room", |standing| !standing.is_proven())
        } else {
            true
        };
        if !made {
            if crowd.load(Ordering::Relaxed) == 0 {
                taken.addresses.remove(&address);
            }
            self.metrics.ended("refused");
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        // Its last connection may have been the one that made room.
        let crowd = Arc::clone(taken.addresses.entry(address).or_insert(crowd));
        crowd.fetch_add(1, Ordering::Relaxed);
        let standing = Arc::new(Standing::new(address, crowd, self.begin, self.metrics.clone()));
        taken.seats.insert(number, Arc::clone(&standing));
        self.metrics.open(taken.seats.len());
        Some(Seat { seats: Arc::clone(self), number, standing })
    }

    /// Ends a connection because there is no file descriptor for another one.
    pub(super) fn make_room(&self) {
        self.end(&mut self.taken(), "room", |_| true);
    }

    /// Ends strangers one after the other, those with the most requests under way first, until it is dropped. Of
    /// all requests that wait for a place, one does it at a time: however many wait, it costs the same.
    pub(super) async fn make_room_for_requests(&self) -> Infallible {
        let _turn = self.turn.lock().await;
        loop {
            self.end_busiest();
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Ends the stranger with the most requests under way. Does nothing while requests of the one before it have
    /// yet to give their places back: else connections with a single request would be ended, too.
    fn end_busiest(&self) {
        let mut taken = self.taken();
        let leaves = |(standing, since): &(Arc<Standing>, Instant)| {
            standing.requests() > 0 && since.elapsed() < LEAVE
        };
        if taken.leaving.as_ref().is_some_and(leaves) {
            return;
        }
        let busiest = strangers(&taken)
            .filter(|(_, standing)| standing.requests() > 0)
            .max_by_key(|(_, standing)| (standing.requests(), Reverse(standing.seen())))
            .map(|(number, standing)| (*number, Arc::clone(standing)));
        let now = Instant::now();
        taken.leaving = busiest.as_ref().map(|(_, standing)| (Arc::clone(standing), now));
        self.end_one(&mut taken, busiest.map(|(number, _)| number), "requests");
    }

    /// Counts an answer of so many bytes until it is taken. If too many bytes wait, the connection
    /// is ended that most of them wait for.
    pub(super) fn hold(self: &Arc<Self>, standing: &Arc<Standing>, size: usize) -> Hold {
        let hold = Hold {
            number: standing.answers().add(size),
            seats: Arc::clone(self),
            standing: Arc::clone(standing),
            size,
        };
        if self.held.fetch_add(size, Ordering::Relaxed) + size > MAX_HELD {
            let mut taken = self.taken();
            let waiting = |standing: &Standing| standing.answers().bytes;
            let heaviest = |(_, standing): &(&u64, &Arc<Standing>)| waiting(standing);
            let number = strangers(&taken).max_by_key(heaviest);
            let number = number.filter(|(_, standing)| waiting(standing) > 0);
            let number = number.or_else(|| taken.seats.iter().max_by_key(heaviest));
            let number = number.map(|(number, _)| *number);
            self.end_one(&mut taken, number, "answers");
        }
        hold
    }

    /// Ends the weakest of the connections that may be chosen; whether there was one.
    fn end(
        &self,
        taken: &mut Taken,
        reason: &'static str,
        may: impl Fn(&Standing) -> bool,
    ) -> bool {
        let mut stores: HashMap<&str, usize> = HashMap::new();
        for store in taken.seats.values().filter_map(|standing| standing.store.get()) {
            *stores.entry(store).or_default() += 1;
        }
        let has_many = |standing: &Standing| {
            let of_store = standing.store.get().and_then(|store| stores.get(store.as_str()));
            of_store.is_some_and(|count| *count > self.bounds.store)
        };
        let is_busy = |standing: &Standing| standing.is_proven() && standing.requests() > 0;
        let weakest = taken
            .seats
            .iter()
            .filter(|(_, standing)| may(standing))
            // Who is known and has a request under way is left alone, unless it is one of too many.
            .filter(|(_, standing)| !is_busy(standing) || has_many(standing))
            .min_by_key(|(number, standing)| {
                let crowd = standing.crowd.load(Ordering::Relaxed);
                let has_few = !has_many(standing);
                (standing.is_proven(), has_few, Reverse(crowd), standing.seen(), **number)
            })
            .map(|(number, _)| *number);
        self.end_one(taken, weakest, reason)
    }

    fn end_one(&self, taken: &mut Taken, number: Option<u64>, reason: &'static str) -> bool {
        let Some(standing) = number.and_then(|number| self.remove(taken, number)) else {
            return false;
        };
        standing.is_ended.store(true, Ordering::Release);
        standing.end.notify_one();
        self.metrics.ended(reason);
        true
    }

    fn remove(&self, taken: &mut Taken, number: u64) -> Option<Arc<Standing>> {
        let standing = taken.seats.remove(&number)?;
        if standing.crowd.fetch_sub(1, Ordering::Relaxed) == 1 {
            taken.addresses.remove(&standing.address);
        }
        self.metrics.open(taken.seats.len());
        Some(standing)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn strangers(taken: &Taken) -> impl Iterator<Item = (&u64, &Arc<Standing>)> {
    taken.seats.iter().filter(|(_, standing)| !standing.is_proven())
}

/// Whom an address stands for: of IPv6 a network of 64 bits, of which anybody has all addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

impl Seat {
    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.remove(&mut self.seats.taken(), self.number);
    }
}

impl Standing {
    fn new(
        address: IpAddr,
        crowd: Arc<AtomicUsize>,
        begin: Instant,
        metrics: ConnectionMetrics,
    ) -> Self {
        let standing = Self {
            address,
            crowd,
            begin,
            metrics,
            is_proven: AtomicBool::new(false),
            store: OnceLock::new(),
            requests: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            answers: Mutex::default(),
            is_ended: AtomicBool::new(false),
            end: Notify::new(),
        };
        standing.see();
        standing
    }

    /// A valid signature was shown.
    pub(super) fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// A valid signature for an external key store was shown.
    pub(super) fn prove_for(&self, store: &str) {
        let _ = self.store.set(store.to_owned());
        self.prove();
    }

    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// Counts a request until it is dropped.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.see();
        UnderWay(Arc::clone(self))
    }

    /// Completes when the connection has to go.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    /// Completes when an answer was not taken for so long.
    pub(super) async fn untaken(&self, patience: Duration) {
        loop {
            let oldest = self.answers().since.first_key_value().map(|(_, since)| *since);
            let left = oldest.map_or(patience, |since| {
                (since + patience).saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                self.is_ended.store(true, Ordering::Release);
                return self.stalled();
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Counts a connection that is ended because its client does not take answers.
    pub(super) fn stalled(&self) {
        self.metrics.ended("stalled");
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    fn see(&self) {
        let since = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.seen.store(since, Ordering::Relaxed);
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn add(&mut self, size: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        self.since.insert(number, Instant::now());
        self.bytes += size;
        number
    }
}

/// A request under way.
pub(super) struct UnderWay(Arc<Standing>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.see();
    }
}

/// An answer that waits to be taken.
pub(super) struct Hold {
    seats: Arc<Seats>,
    standing: Arc<Standing>,
    number: u64,
    size: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut answers = self.standing.answers();
        answers.since.remove(&self.number);
        answers.bytes -= self.size;
        self.seats.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(all: usize, strangers: usize, address: usize) -> Arc<Seats> {
        let bounds = Bounds { all, strangers, address, store: all / 2 };
        Seats::new(bounds, ConnectionMetrics::default())
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn ended(all: &[&Seat]) -> Vec<bool> {
        all.iter().map(|seat| seat.standing.is_ended()).collect()
    }

    #[test]
    fn the_most_frequent_address_makes_room() {
        let seats = seats(4, 4, 4);
        let few = seats.admit(from(1)).unwrap();
        let many: Vec<_> = (0..3).map(|_| seats.admit(from(2)).unwrap()).collect();
        let another = seats.admit(from(3)).unwrap();
        assert_eq!(
            ended(&[&few, &many[0], &many[1], &many[2], &another]),
            [false, true, false, false, false]
        );
        // The one that makes the crowd greater is seated at its own cost.
        let last = seats.admit(from(2)).unwrap();
        assert_eq!(
            ended(&[&few, &many[1], &many[2], &another, &last]),
            [false, true, false, false, false]
        );
    }

    #[test]
    fn many_that_wait_end_one_connection_at_a_time() {
        let seats = seats(4, 4, 4);
        let busy = [seats.admit(from(1)).unwrap(), seats.admit(from(1)).unwrap()];
        let few = seats.admit(from(2)).unwrap();
        let mut requests: Vec<_> =
            busy.iter().map(|seat| [seat.standing.request(), seat.standing.request()]).collect();
        let _one = few.standing.request();
        for _ in 0..5 {
            seats.end_busiest();
        }
        let gone = ended(&[&busy[0], &busy[1], &few]);
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1, "{gone:?}");
        assert!(!gone[2], "{gone:?}");
        // Its places are free, and there are not enough of them.
        drop(requests.swap_remove(usize::from(gone[1])));
        for _ in 0..5 {
            seats.end_busiest();
        }
        assert_eq!(ended(&[&busy[0], &busy[1], &few]), [true, true, false]);
    }

    #[test]
    fn who_has_shown_a_signature_stays() {
        let seats = seats(4, 2, 4);
        let known = [seats.admit(from(1)).unwrap(), seats.admit(from(1)).unwrap()];
        known.iter().for_each(|seat| seat.standing.prove());
        let strangers: Vec<_> = (0..20).map(|_| seats.admit(from(1))).collect();
        assert!(strangers.iter().all(Option::is_some), "a newcomer is always heard");
        assert_eq!(ended(&[&known[0], &known[1]]), [false, false]);
        let left = strangers.iter().flatten().filter(|seat| !seat.standing.is_ended()).count();
        assert_eq!(left, 2);
    }

    #[test]
    fn of_the_known_the_idle_make_room_and_the_busy_do_not() {
        let seats = seats(2, 2, 2);
        let known = [seats.admit(from(1)).unwrap(), seats.admit(from(2)).unwrap()];
        known.iter().for_each(|seat| seat.standing.prove());
        let busy = known.each_ref().map(|seat| seat.standing.request());
        assert!(seats.admit(from(3)).is_none());
        let [_first, second] = busy;
        drop(second);
        let newcomer = seats.admit(from(3)).unwrap();
        assert_eq!(ended(&[&known[0], &known[1], &newcomer]), [false, true, false]);
    }

    #[test]
    fn a_store_does_not_keep_all_seats_by_being_busy() {
        let seats = seats(4, 4, 4);
        let many: Vec<_> = (0..3).map(|_| seats.admit(from(1)).unwrap()).collect();
        let few = seats.admit(from(1)).unwrap();
        many.iter().for_each(|seat| seat.standing.prove_for("many"));
        few.standing.prove_for("few");
        let all = || many.iter().chain([&few]);
        let _busy: Vec<_> = all().map(|seat| seat.standing.request()).collect();
        let newcomer = seats.admit(from(2)).unwrap();
        newcomer.standing.prove_for("other");
        let _request = newcomer.standing.request();
        let gone = ended(&[&many[0], &many[1], &many[2], &few, &newcomer]);
        assert_eq!(gone, [true, false, false, false, false]);
        // Now each has as many as it may.
        assert!(seats.admit(from(3)).is_none());
    }

    #[test]
    fn an_address_is_capped_and_ipv6_is_one_by_its_network() {
        let seats = seats(10, 10, 2);
        let of = |text: &str| seats.admit(text.parse().unwrap()).unwrap();
        let all =
            [of("2001:db8::1"), of("2001:db8::2:3"), of("2001:db8::4"), of("2001:db8:0:1::1")];
        assert_eq!(ended(&all.each_ref()), [true, false, false, false]);
        let mapped = [of("::ffff:10.0.0.1"), of("10.0.0.1"), of("10.0.0.1"), of("10.0.0.2")];
        assert_eq!(ended(&mapped.each_ref()), [true, false, false, false]);
    }

    #[test]
    fn the_busiest_stranger_makes_room_for_a_request() {
        let seats = seats(4, 4, 4);
        let all: Vec<_> = (1..4).map(|last| seats.admit(from(last)).unwrap()).collect();
        all[2].standing.prove();
        let _known: Vec<_> = (0..9).map(|_| all[2].standing.request()).collect();
        let _one = all[0].standing.request();
        let _two = [all[1].standing.request(), all[1].standing.request()];
        seats.end_busiest();
        assert_eq!(ended(&[&all[0], &all[1], &all[2]]), [false, true, false]);
    }

    #[test]
    fn answers_that_nobody_takes_end_their_connection() {
        let seats = seats(4, 4, 4);
        let (one, other) = (seats.admit(from(1)).unwrap(), seats.admit(from(2)).unwrap());
        let small = seats.hold(&other.standing, 1000);
        let large: Vec<_> = (0..64).map(|_| seats.hold(&one.standing, 1 << 20)).collect();
        assert_eq!(ended(&[&one, &other]), [true, false]);
        drop((small, large));
        assert_eq!(seats.held.load(Ordering::Relaxed), 0);
        assert_eq!(other.standing.answers().bytes, 0);
    }

    #[test]
    fn a_seat_is_free_when_it_is_left() {
        let seats = seats(2, 2, 2);
        for _ in 0..10 {
            let both = [seats.admit(from(1)).unwrap(), seats.admit(from(1)).unwrap()];
            assert_eq!(ended(&both.each_ref()), [false, false]);
        }
        assert!(seats.taken().seats.is_empty() && seats.taken().addresses.is_empty());
    }
}
