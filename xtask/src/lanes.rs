//! Work in several lanes: each takes the next item once it has done one.

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use crate::failure::Result;

/// As many as there are processors on the machines that run CI.
const LANES: usize = 2;

/// Does `work` for each item, in their order, two at a time.
///
/// # Errors
/// The first of `work` that a lane comes to; the other lane goes on to its end.
pub(crate) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let lane = || -> Result<()> {
        while let Some(item) = next() {
            work(item)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| {
            lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::each;
    use crate::failure::Failure;

    #[test]
    fn every_item_is_done_once_and_a_failure_is_told() {
        let done = Mutex::new(Vec::new());
        each((0..50).collect(), |item| {
            done.lock().unwrap().push(item);
            Ok(())
        })
        .unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..50).collect::<Vec<_>>());
        let outcome = each(vec![1, 2, 3], |item| match item {
            2 => Err(Failure::new("two")),
            _ => Ok(()),
        });
        assert!(outcome.is_err());
    }
}
