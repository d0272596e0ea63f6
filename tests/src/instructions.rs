//! What a command costs a device, by the device's own count of the time that it was busy.

/// Calls that were measured together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// How many there were.
    pub calls: u32,
    /// Busy time of one call, in microseconds.
    pub busy_us: f64,
}

/// Runs a command as long as `more` says so of the number of calls, once at least, and asks the
/// device with `busy_us`, before and after, how long it has been busy so far.
///
/// The device counts a question once it has answered it, so the second of two questions finds the
/// time of the first. What lies between two questions around the calls is therefore theirs and that
/// of one question, which two questions in a row tell; it is taken off.
pub fn measure(
    mut busy_us: impl FnMut() -> u64,
    mut run: impl FnMut(),
    mut more: impl FnMut(u32) -> bool,
) -> Measured {
    let first = busy_us();
    let before = busy_us();
    let question = before - first;
    let mut calls = 0;
    while calls == 0 || more(calls) {
        run();
        calls += 1;
    }
    let spent = (busy_us() - before).saturating_sub(question);
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let busy_us = spent as f64 / f64::from(calls);
    Measured { calls, busy_us }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A device like ours: it tells the busy time without the question that is being answered.
    #[test]
    fn questions_cost_the_command_nothing() {
        const QUESTION: u64 = 930;
        const COMMAND: u64 = 73;

        for calls in [1, 3, 50] {
            let busy = Cell::new(5_000);
            let ask = || busy.replace(busy.get() + QUESTION);
            let run = || busy.set(busy.get() + COMMAND);
            let measured = measure(ask, run, |done| done < calls);
            assert_eq!(measured, Measured { calls, busy_us: 73.0 });
        }
    }
}
