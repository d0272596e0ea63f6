//! Damages traffic by a seeded schedule, to prove that the layers above survive it.
//!
//! Faults hit whole frames (runs of bytes up to a 0x00), each with its own probability, in both
//! directions. The same seed gives the same faults for the same frames.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use super::{Halves, Receiver, Sender, Transport, TransportError};

/// How often each fault strikes, in frames per thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// The frame vanishes.
    pub drop: u16,
    /// One bit flips; that may split the frame or join it with the next.
    pub corrupt: u16,
    /// The frame arrives twice.
    pub duplicate: u16,
    /// The frame arrives after its successor.
    pub reorder: u16,
    /// Up to 64 random bytes precede the frame.
    pub garbage: u16,
    /// A frame from the device arrives late, by [`Rates::delay_by`].
    pub delay: u16,
    /// How late.
    pub delay_by: Duration,
    /// The stream ends.
    pub cut: u16,
}

/// What a [`Fault`] does at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// Passes everything.
    Clean = 0,
    /// Applies the rates.
    Faulty = 1,
    /// Swallows everything in both directions, like a device that hangs.
    Hang = 2,
}

/// Switches the mode of every [`Fault`] made with it.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicU8>);

impl Switch {
    /// A switch in this position.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self(Arc::new(AtomicU8::new(mode as u8)))
    }

    /// Sets the position.
    pub fn set(&self, mode: Mode) {
        self.0.store(mode as u8, Ordering::SeqCst);
    }

    fn mode(&self) -> Mode {
        match self.0.load(Ordering::SeqCst) {
            0 => Mode::Clean,
            1 => Mode::Faulty,
            _ => Mode::Hang,
        }
    }
}

/// A transport with faults.
pub struct Fault {
    inner: Box<dyn Transport>,
    rates: Rates,
    seed: u64,
    switch: Switch,
}

impl Fault {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Transport>, rates: Rates, seed: u64, switch: Switch) -> Self {
        Self { inner, rates, seed, switch }
    }
}

impl Transport for Fault {
    fn split(self: Box<Self>) -> Result<Halves, TransportError> {
        let Halves { sender, receiver } = self.inner.split()?;
        // A delay here would hold up the caller, whose send must not wait.
        let undelayed = Rates { delay: 0, ..self.rates };
        let sender = FaultySender {
            inner: sender,
            schedule: Schedule::new(undelayed, self.seed),
            switch: self.switch.clone(),
        };
        let receiver = FaultyReceiver {
            inner: receiver,
            schedule: Schedule::new(self.rates, !self.seed),
            switch: self.switch,
            ready: VecDeque::new(),
        };
        Ok(Halves { sender: Box::new(sender), receiver: Box::new(receiver) })
    }
}

struct FaultySender {
    inner: Box<dyn Sender>,
    schedule: Schedule,
    switch: Switch,
}

impl Sender for FaultySender {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        match self.switch.mode() {
            Mode::Clean => self.inner.send(bytes),
            Mode::Hang => Ok(()),
            Mode::Faulty => {
                let mut out = Vec::new();
                let outcome = self.schedule.apply(bytes, &mut out);
                self.inner.send(&out)?;
                outcome.inspect_err(|_| self.inner.close())
            }
        }
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

struct FaultyReceiver {
    inner: Box<dyn Receiver>,
    schedule: Schedule,
    switch: Switch,
    ready: VecDeque<u8>,
}

impl Receiver for FaultyReceiver {
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Result<usize, TransportError> {
        if self.ready.is_empty() {
            let count = self.inner.receive(buffer, patience)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            match self.switch.mode() {
                Mode::Clean => return Ok(count),
                Mode::Hang => return Ok(0),
                Mode::Faulty => {
                    let mut out = Vec::new();
                    self.schedule.apply(bytes, &mut out)?;
                    self.ready.extend(out);
                }
            }
        }
        Ok(std::io::Read::read(&mut self.ready, buffer)?)
    }
}

/// The faults of one direction.
struct Schedule {
    rates: Rates,
    random: u64,
    /// The frame that is not complete yet.
    partial: Vec<u8>,
    /// A frame that waits for its successor.
    held: Option<Vec<u8>>,
}

impl Schedule {
    fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, random: seed, partial: Vec::new(), held: None }
    }

    /// Puts what comes out for `bytes` into `out`.
    fn apply(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
        for byte in bytes {
            self.partial.push(*byte);
            if *byte == 0 {
                let frame = std::mem::take(&mut self.partial);
                self.apply_to_frame(frame, out)?;
            }
        }
        Ok(())
    }

    fn apply_to_frame(
        &mut self,
        mut frame: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        let rates = self.rates;
        if self.strikes(rates.cut) {
            return Err(TransportError::Closed);
        }
        if self.strikes(rates.drop) {
            return Ok(());
        }
        if self.strikes(rates.delay) {
            thread::sleep(rates.delay_by);
        }
        if self.strikes(rates.garbage) {
            let count = self.below(65);
            out.extend((0..count).map(|_| self.next().to_le_bytes()[0]));
        }
        if self.strikes(rates.corrupt) {
            let (at, bit) = (self.below(frame.len()), self.below(8));
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        if self.strikes(rates.reorder) && self.held.is_none() {
            self.held = Some(frame);
            return Ok(());
        }
        out.extend_from_slice(&frame);
        if self.strikes(rates.duplicate) {
            out.extend_from_slice(&frame);
        }
        out.extend(self.held.take().unwrap_or_default());
        Ok(())
    }

    fn strikes(&mut self, rate: u16) -> bool {
        rate != 0 && self.below(1000) < usize::from(rate)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % bound
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): repeatable, for faults only.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rates: Rates, seed: u64, frames: u8) -> Vec<Vec<u8>> {
        let mut schedule = Schedule::new(rates, seed);
        let mut out = Vec::new();
        for frame in 1..=frames {
            schedule.apply(&[frame, frame, 0], &mut out).unwrap();
        }
        out.split_inclusive(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn rates_are_met_and_repeatable() {
        let rates = Rates { drop: 500, ..Rates::default() };
        let kept = run(rates, 7, 200);
        assert!((70..130).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept, run(rates, 7, 200));
        assert_ne!(kept, run(rates, 8, 200));
    }

    #[test]
    fn each_fault() {
        let always = |rates| run(rates, 1, 2);
        let (a, b) = (vec![1, 1, 0], vec![2, 2, 0]);
        assert_eq!(always(Rates::default()), [a.clone(), b.clone()]);
        assert_eq!(always(Rates { drop: 1000, ..Rates::default() }), Vec::<Vec<u8>>::new());
        assert_eq!(
            always(Rates { duplicate: 1000, ..Rates::default() }),
            [a.clone(), a.clone(), b.clone(), b.clone()]
        );
        assert_eq!(always(Rates { reorder: 1000, ..Rates::default() }), [b, a.clone()]);
        let corrupt = always(Rates { corrupt: 1000, ..Rates::default() }).concat();
        let flipped: u32 =
            corrupt.iter().zip([1u8, 1, 0, 2, 2, 0]).map(|(x, y)| (x ^ y).count_ones()).sum();
        assert_eq!((corrupt.len(), flipped), (6, 2));
        let mut schedule = Schedule::new(Rates { cut: 1000, ..Rates::default() }, 1);
        assert!(schedule.apply(&a, &mut Vec::new()).is_err());
    }
}
