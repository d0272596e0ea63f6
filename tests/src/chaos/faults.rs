//! What goes wrong, and when.

use std::fmt;
use std::sync::RwLock;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::line::{Line, Trouble};
use crate::daemon::Daemon;
use crate::emulator::{Attachment, Emulator};
use crate::process::signal_process;

/// A time without faults, in milliseconds.
const CALM: std::ops::Range<u64> = 200..2_500;
/// How long a fault lasts, in milliseconds.
const LASTS: std::ops::Range<u64> = 50..2_500;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The daemon ends as in a power cut, and starts again.
    KillDaemon,
    /// The daemon ends as in a power cut, and so does its next start.
    KillStart,
    /// The daemon is asked to end, and starts again.
    StopDaemon,
    /// The daemon stands still.
    PauseDaemon,
    /// A device loses power.
    CutPower(usize),
    /// All devices lose power.
    CutAllPower,
    /// A device stands still.
    PauseDevice(usize),
    /// A line is in trouble.
    Line(usize, Trouble),
}

impl Fault {
    /// What it is called in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillDaemon => "daemon killed",
            Self::KillStart => "daemon killed, and its start",
            Self::StopDaemon => "daemon stopped",
            Self::PauseDaemon => "daemon paused",
            Self::CutPower(_) => "device without power",
            Self::CutAllPower => "all devices without power",
            Self::PauseDevice(_) => "device paused",
            Self::Line(_, Trouble::Cut) => "line cut",
            Self::Line(_, Trouble::Held) => "line held",
            Self::Line(_, Trouble::Flipped) => "bits flipped on a line",
            Self::Line(_, Trouble::Lost) => "bytes lost on a line",
            Self::Line(_, Trouble::Doubled) => "bytes doubled on a line",
        }
    }

    fn random(random: &mut fastrand::Rng, devices: usize) -> Self {
        let device = random.usize(..devices);
        match random.u8(..14) {
            0..2 => Self::KillDaemon,
            2 => Self::KillStart,
            3 => Self::StopDaemon,
            4 => Self::PauseDaemon,
            5..7 => Self::CutPower(device),
            7 => Self::CutAllPower,
            8 => Self::PauseDevice(device),
            9 => Self::Line(device, Trouble::Cut),
            10 => Self::Line(device, Trouble::Held),
            11 => Self::Line(device, Trouble::Flipped),
            12 => Self::Line(device, Trouble::Lost),
            _ => Self::Line(device, Trouble::Doubled),
        }
    }

    /// Whether both can be at once.
    fn goes_with(self, other: Self) -> bool {
        let of_daemon = |fault| {
            matches!(
                fault,
                Self::KillDaemon | Self::KillStart | Self::StopDaemon | Self::PauseDaemon
            )
        };
        let all = |fault| fault == Self::CutAllPower;
        let power = |fault| match fault {
            Self::CutPower(device) | Self::PauseDevice(device) => Some(device),
            Self::CutAllPower => Some(0),
            _ => None,
        };
        let line = |fault| match fault {
            Self::Line(device, _) => Some(device),
            _ => None,
        };
        !(of_daemon(self) && of_daemon(other)
            || power(self).is_some() && power(self) == power(other)
            || all(self) && power(other).is_some()
            || all(other) && power(self).is_some()
            || line(self).is_some() && line(self) == line(other))
    }
}

/// One or two faults at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// How long nothing goes wrong before.
    pub calm: Duration,
    /// The faults.
    pub faults: Vec<Fault>,
    /// How long they last.
    pub lasts: Duration,
}

impl Act {
    /// The next one of a schedule.
    pub(super) fn random(random: &mut fastrand::Rng, devices: usize) -> Self {
        let mut faults = vec![Fault::random(random, devices)];
        let second = Fault::random(random, devices);
        if random.u8(..3) == 0 && faults[0].goes_with(second) {
            faults.push(second);
        }
        let mut time = |range| Duration::from_millis(random.u64(range));
        Self { calm: time(CALM), faults, lasts: time(LASTS) }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            let and = if number == 0 { "" } else { ", " };
            write!(f, "{and}{}", fault.name())?;
            if let Fault::CutPower(device) | Fault::PauseDevice(device) | Fault::Line(device, _) =
                fault
            {
                write!(f, " {device}")?;
            }
        }
        write!(f, ", for {} ms", self.lasts.as_millis())
    }
}

/// An emulated device with a line that can be in trouble.
#[derive(Debug)]
pub(super) struct Device {
    directory: TempDir,
    emulator: Option<Emulator>,
    line: Line,
}

impl Device {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
        emulator.await_start();
        let line = directory.path().join("troubled.sock");
        let line = Line::new(line, emulator.line().to_owned(), random);
        Self { directory, emulator: Some(emulator), line }
    }

    /// The line to it, in the form of `--hsm`.
    pub(super) fn endpoint(&self) -> String {
        format!("unix:{}", self.line.path().display())
    }

    fn cut_power(&mut self) {
        if let Some(mut emulator) = self.emulator.take() {
            emulator.kill();
        }
    }

    fn boot(&mut self) {
        self.emulator = Some(Emulator::boot(self.directory.path(), Attachment::CONSOLE));
    }

    fn signal(&mut self, signal: Signal) {
        self.emulator.as_mut().expect("it is plugged in").process().signal(signal);
    }
}

/// What faults are done to.
pub(super) struct World<'w> {
    pub(super) daemon: &'w RwLock<Daemon>,
    pub(super) devices: &'w mut [Device],
    /// Called when a process of the daemon is gone.
    pub(super) gone: &'w dyn Fn(),
    pub(super) random: fastrand::Rng,
}

impl World<'_> {
    /// Begins a fault.
    pub(super) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillDaemon | Fault::KillStart => {
                self.change(Daemon::kill);
                (self.gone)();
            }
            Fault::StopDaemon => {
                // Clients get their answers meanwhile.
                let id = self.with_daemon(Daemon::id);
                signal_process(id, Signal::TERM);
            }
            Fault::PauseDaemon => signal_process(self.with_daemon(Daemon::id), Signal::STOP),
            Fault::CutPower(device) => self.devices[device].cut_power(),
            Fault::CutAllPower => self.devices.iter_mut().for_each(Device::cut_power),
            Fault::PauseDevice(device) => self.devices[device].signal(Signal::STOP),
            Fault::Line(device, trouble) => self.devices[device].line.set(Some(trouble)),
        }
    }

    /// Ends a fault.
    pub(super) fn end(&mut self, fault: Fault) {
        match fault {
            Fault::KillDaemon => self.change(Daemon::restart),
            Fault::KillStart => {
                let after = Duration::from_millis(self.random.u64(1..500));
                self.with_daemon(|daemon| daemon.kill_while_starting(after));
                self.change(Daemon::restart);
            }
            Fault::StopDaemon => {
                self.change(|daemon| {
                    let (status, said) = daemon.await_end();
                    assert!(status.success(), "the daemon ended with {status}:\n{said}");
                });
                (self.gone)();
                self.change(Daemon::restart);
            }
            Fault::PauseDaemon => signal_process(self.with_daemon(Daemon::id), Signal::CONT),
            Fault::CutPower(device) => self.devices[device].boot(),
            Fault::CutAllPower => self.devices.iter_mut().for_each(Device::boot),
            Fault::PauseDevice(device) => self.devices[device].signal(Signal::CONT),
            Fault::Line(device, _) => self.devices[device].line.set(None),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Daemon)) {
        change(&mut self.daemon.write().expect("no client has failed"));
    }

    fn with_daemon<T>(&self, read: impl FnOnce(&Daemon) -> T) -> T {
        read(&self.daemon.read().expect("no client has failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_a_schedule() {
        let schedule = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..50).map(|_| Act::random(&mut random, 3)).collect::<Vec<_>>()
        };
        assert_eq!(schedule(5), schedule(5));
        assert_ne!(schedule(5), schedule(6));
        let both = schedule(5).into_iter().filter(|act| act.faults.len() == 2);
        assert!(both.clone().count() > 5, "some come together");
        assert!(both.clone().all(|act| act.faults[0].goes_with(act.faults[1])));
    }
}
