//! Histories of what several clients did to one object at the same time, and whether they can have come
//! from an object that does one thing after the other (linearizability: Herlihy and Wing, 1990).
//!
//! The checker goes through the history once and keeps every configuration that is possible so far: the
//! state of the object, and which of the operations under way have taken effect. Where no configuration
//! is left, no order explains what the clients were told.

use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Debug};
use std::hash::Hash;

/// Most configurations that are kept. Few operations on one object are under way at once, so that a
/// history that needs more is one whose operations were never told to be over.
const MOST: usize = 200_000;

/// What an operation with its outcome does to a state.
pub trait Step {
    /// The object.
    type State: Clone + Eq + Hash + Debug;

    /// The state after it; `None` if it cannot have had this outcome in that state.
    fn step(&self, state: &Self::State) -> Option<Self::State>;

    /// Whether it changes no state.
    fn only_reads(&self) -> bool;
}

/// An operation as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<O> {
    /// When it was sent, on a clock that all clients share.
    pub begin: u64,
    /// When it was answered or, without an answer, when it cannot take effect any more.
    pub end: u64,
    /// The operation and its outcome; without an answer, the outcome it has if it takes effect.
    pub operation: O,
    /// Whether the client was told the outcome. If not, it may have taken effect or not.
    pub answered: bool,
}

/// No order of the operations explains what the clients were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<O, S> {
    /// The first answer that cannot be explained.
    pub answer: Event<O>,
    /// The states in which the object can have been when it was given.
    pub possible: Vec<S>,
    /// What else was under way between its begin and its end.
    pub beside: Vec<Event<O>>,
}

impl<O: Debug, S: Debug> fmt::Display for Violation<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { begin, end, operation, .. } = &self.answer;
        write!(f, "{operation:?} from {begin} to {end}, where {:?} was possible", self.possible)?;
        for Event { begin, end, operation, answered } in &self.beside {
            let answered = if *answered { "" } else { ", unanswered" };
            write!(f, "\n    beside {operation:?} from {begin} to {end}{answered}")?;
        }
        Ok(())
    }
}

/// State of the object, and those operations under way that have taken effect.
type Configuration<S> = (S, BTreeSet<usize>);

/// Whether the history of an object that began in state `first` is linearizable.
///
/// # Errors
/// The first answer that is not.
///
/// # Panics
/// If more operations are under way at once than can be searched.
pub fn check<O>(
    first: O::State,
    mut events: Vec<Event<O>>,
) -> Result<(), Box<Violation<O, O::State>>>
where
    O: Step + Clone,
{
    events.sort_by_key(|event| event.begin);
    // Ends before begins: an operation that ended when another one began came before it.
    let mut points: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * events.len());
    for (index, event) in events.iter().enumerate() {
        points.push((event.begin, true, index));
        points.push((event.end.max(event.begin + 1), false, index));
    }
    points.sort_unstable();
    let mut possible = HashSet::from([(first, BTreeSet::new())]);
    let mut under_way = BTreeSet::new();
    for (_, begins, index) in points {
        if begins {
            under_way.insert(index);
            continue;
        }
        let reached = closure(possible.clone(), &under_way, &events);
        under_way.remove(&index);
        let answered = events[index].answered;
        let next: HashSet<_> = reached
            .into_iter()
            .filter_map(|(state, mut done)| {
                (done.remove(&index) || !answered).then_some((state, done))
            })
            .collect();
        if next.is_empty() {
            return Err(Box::new(violation(&events, index, &possible)));
        }
        possible = next;
    }
    Ok(())
}

/// Every configuration that operations under way can lead to, in whatever order they take effect.
///
/// What only reads takes effect as soon as it can: that forbids nothing that comes later, and keeps apart
/// only those configurations that differ in writes.
fn closure<O: Step>(
    from: HashSet<Configuration<O::State>>,
    under_way: &BTreeSet<usize>,
    events: &[Event<O>],
) -> HashSet<Configuration<O::State>> {
    let (reads, writes): (Vec<usize>, Vec<usize>) =
        under_way.iter().partition(|index| events[**index].operation.only_reads());
    let read = |(state, mut done): Configuration<O::State>| {
        let seen = reads.iter().filter(|read| events[**read].operation.step(&state).is_some());
        done.extend(seen);
        (state, done)
    };
    let mut reached: HashSet<_> = from.into_iter().map(read).collect();
    let mut open: Vec<_> = reached.iter().cloned().collect();
    while let Some((state, done)) = open.pop() {
        for index in writes.iter().filter(|index| !done.contains(index)) {
            let Some(state) = events[*index].operation.step(&state) else { continue };
            let mut done = done.clone();
            done.insert(*index);
            let next = read((state, done));
            if reached.insert(next.clone()) {
                open.push(next);
            }
        }
        assert!(reached.len() <= MOST, "{} changes at once are too many", writes.len());
    }
    reached
}

fn violation<O: Step + Clone>(
    events: &[Event<O>],
    index: usize,
    possible: &HashSet<Configuration<O::State>>,
) -> Violation<O, O::State> {
    let answer = events[index].clone();
    let overlaps = |other: &Event<O>| other.begin < answer.end && other.end > answer.begin;
    let beside =
        events.iter().enumerate().filter(|(other, event)| *other != index && overlaps(event));
    let mut states: Vec<O::State> = Vec::new();
    for (state, _) in possible {
        if !states.contains(state) {
            states.push(state.clone());
        }
    }
    Violation { beside: beside.map(|(_, event)| event.clone()).collect(), possible: states, answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Operation {
        Write(u8),
        Read(u8),
    }
    use Operation::{Read, Write};

    impl Step for Operation {
        type State = u8;

        fn step(&self, state: &u8) -> Option<u8> {
            match *self {
                Write(value) => Some(value),
                Read(value) => (value == *state).then_some(value),
            }
        }

        fn only_reads(&self) -> bool {
            matches!(self, Read(_))
        }
    }

    fn event(begin: u64, end: u64, operation: Operation) -> Event<Operation> {
        Event { begin, end, operation, answered: true }
    }

    fn unanswered(begin: u64, end: u64, operation: Operation) -> Event<Operation> {
        Event { answered: false, ..event(begin, end, operation) }
    }

    #[test]
    fn one_after_the_other_is_read_as_it_was_written() {
        let history = vec![event(0, 1, Write(1)), event(2, 3, Read(1)), event(4, 5, Write(2))];
        assert_eq!(check(0, history.clone()), Ok(()));
        let stale = [history, vec![event(6, 7, Read(1))]].concat();
        let violation = check(0, stale).unwrap_err();
        assert_eq!((violation.answer, violation.possible), (event(6, 7, Read(1)), vec![2]));
    }

    #[test]
    fn what_happens_at_the_same_time_has_any_order() {
        let writes = [event(0, 10, Write(1)), event(0, 10, Write(2))];
        for read in [1, 2] {
            let history = [&writes[..], &[event(11, 12, Read(read))]].concat();
            assert_eq!(check(0, history), Ok(()), "{read}");
        }
        // The order is the same for everyone.
        let both = [&writes[..], &[event(11, 12, Read(1)), event(13, 14, Read(2))]].concat();
        assert_eq!(check(0, both).unwrap_err().answer, event(13, 14, Read(2)));
        // A read beside a write may see it or not, but nobody sees it go away again.
        let beside = vec![event(0, 10, Write(1)), event(1, 3, Read(1)), event(4, 6, Read(0))];
        let violation = check(0, beside).unwrap_err();
        assert_eq!(violation.answer, event(4, 6, Read(0)));
        assert_eq!(violation.beside, [event(0, 10, Write(1))]);
    }

    #[test]
    fn what_nobody_was_told_of_has_happened_or_not_until_it_is_over() {
        let lost = unanswered(0, 10, Write(1));
        for read in [0, 1] {
            assert_eq!(check(0, vec![lost.clone(), event(20, 21, Read(read))]), Ok(()), "{read}");
        }
        let history = vec![lost.clone(), event(20, 21, Read(0)), event(22, 23, Read(1))];
        assert_eq!(check(0, history).unwrap_err().answer, event(22, 23, Read(1)), "too late");
        let history = vec![lost.clone(), event(2, 3, Read(0)), event(4, 5, Read(1))];
        assert_eq!(check(0, history), Ok(()), "in time");
        // It happens once.
        let history = vec![lost, event(1, 2, Read(1)), event(3, 4, Write(2)), event(5, 6, Read(1))];
        assert_eq!(check(0, history).unwrap_err().answer, event(5, 6, Read(1)));
    }

    /// Many readers beside few writers: what they have read is one after the other.
    #[test]
    fn many_readers_at_once_are_no_search() {
        let mut events: Vec<_> = (0..200).map(|read| event(read, 1000, Read(1))).collect();
        events.extend([event(300, 400, Write(1)), event(500, 600, Write(2))]);
        assert_eq!(check(0, events.clone()), Ok(()));
        events.push(event(700, 1000, Read(1)));
        assert_eq!(check(0, events).unwrap_err().answer, event(700, 1000, Read(1)));
    }

    /// Histories of a real register are linearizable, and with one read of another value they are not.
    #[test]
    fn histories_of_a_register_are_told_from_others() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut state, mut now, mut events) = (0, 0, Vec::new());
            for _ in 0..60 {
                // It takes effect at `now`, and is longer under way, as others are.
                now += 10;
                let operation = match random.bool() {
                    true => Write(random.u8(1..4)),
                    false => Read(state),
                };
                state = operation.step(&state).unwrap();
                events.push(event(
                    now - random.u64(0..40).min(now),
                    now + random.u64(1..40),
                    operation,
                ));
            }
            assert_eq!(check(0, events.clone()), Ok(()));
            events.push(event(now + 100, now + 101, Read(9)));
            assert!(check(0, events).is_err());
        }
    }
}
