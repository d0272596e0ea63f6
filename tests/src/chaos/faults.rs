//! What goes wrong, and when.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use kms_store::etcd::testing::EtcdCluster;
use rustix::process::Signal;
use tempfile::TempDir;

use super::line::{Line, Link, Trouble};
use super::{Clocks, Scene};
use crate::daemon::Daemon;
use crate::disk::FailingDisk;
use crate::emulator::{Attachment, Emulator};
use crate::patience::until;
use crate::people::told;
use crate::process::signal_process;

/// A time without faults, in milliseconds.
const CALM: std::ops::Range<u64> = 200..2_500;
/// How long a fault lasts, in milliseconds.
const LASTS: std::ops::Range<u64> = 50..2_500;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A daemon ends as in a power cut, and starts again.
    KillDaemon(usize),
    /// A daemon ends as in a power cut, and so does its next start.
    KillStart(usize),
    /// A daemon is asked to end, and starts again.
    StopDaemon(usize),
    /// A daemon stands still.
    PauseDaemon(usize),
    /// A device loses power.
    CutPower(usize),
    /// All devices lose power.
    CutAllPower,
    /// A device stands still.
    PauseDevice(usize),
    /// A line is in trouble.
    Line(usize, Trouble),
    /// A member of the store's cluster ends as in a power cut.
    KillMember(usize),
    /// A member of the store's cluster stands still.
    PauseMember(usize),
    /// All but this member of the store's cluster end as in a power cut.
    KillOthers(usize),
    /// The links of a daemon to one member, or to all of them, are in trouble.
    Link(usize, Option<usize>, Trouble),
    /// A person drains a device, and resumes it.
    Drain(usize),
    /// The wall clock of a daemon is set so many seconds ahead or behind, and put right.
    Clock(usize, i32),
    /// The disk of a daemon is full.
    FullDisk(usize),
    /// The disk of a daemon fails, so that nothing can be written; then the daemon ends as in a power cut, the file
    /// system is repaired, and the daemon starts again.
    BrokenDisk(usize),
}

/// What a fault happens to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Daemon(usize),
    Device(usize),
    AllDevices,
    Line(usize),
    Links(usize),
    Clock(usize),
    Disk(usize),
    /// The cluster of the store: if more than one member fails, it is on purpose.
    Store,
}

/// How many there are of what can fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) daemons: usize,
    pub(super) devices: usize,
    /// Members of the store's cluster; 0 if the store is a file.
    pub(super) members: usize,
    /// Whether clocks can be set.
    pub(super) clocks: bool,
    /// Whether disks can be full.
    pub(super) disks: bool,
}

impl Fault {
    /// What it is called in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillDaemon(_) => "daemon killed",
            Self::KillStart(_) => "daemon killed, and its start",
            Self::StopDaemon(_) => "daemon stopped",
            Self::PauseDaemon(_) => "daemon paused",
            Self::CutPower(_) => "device without power",
            Self::CutAllPower => "all devices without power",
            Self::PauseDevice(_) => "device paused",
            Self::Line(_, Trouble::Cut) => "line cut",
            Self::Line(_, Trouble::Held) => "line held",
            Self::Line(_, Trouble::Flipped) => "bits flipped on a line",
            Self::Line(_, Trouble::Lost) => "bytes lost on a line",
            Self::Line(_, Trouble::Doubled) => "bytes doubled on a line",
            Self::Line(_, Trouble::Slow) => "line slow",
            Self::Link(_, None, _) => "cut off from etcd",
            Self::Link(_, _, Trouble::Cut) => "link to an etcd member cut",
            Self::Link(_, _, Trouble::Held) => "link to an etcd member held",
            Self::Link(_, _, Trouble::Slow) => "link to an etcd member slow",
            Self::Link(..) => "link to an etcd member garbled",
            Self::Drain(_) => "device drained",
            Self::FullDisk(_) => "disk full",
            Self::BrokenDisk(_) => "disk broken",
            Self::Clock(_, 1..) => "clock set ahead",
            Self::Clock(..) => "clock set back",
            Self::KillMember(_) => "etcd member killed",
            Self::PauseMember(_) => "etcd member paused",
            Self::KillOthers(_) => "etcd without a majority",
        }
    }

    fn random(random: &mut fastrand::Rng, numbers: Numbers) -> Self {
        let device = random.usize(..numbers.devices);
        let daemon = random.usize(..numbers.daemons);
        if numbers.members > 0 && random.u8(..3) == 0 {
            let member = random.usize(..numbers.members);
            return match random.u8(..9) {
                0..2 => Self::KillMember(member),
                2..4 => Self::PauseMember(member),
                4 => Self::KillOthers(member),
                5 => Self::Link(daemon, None, Trouble::random_on_link(random)),
                _ => Self::Link(daemon, Some(member), Trouble::random_on_link(random)),
            };
        }
        // Drawn wherever a run is, so that a seed means the same everywhere.
        let (is_clock, is_disk) = (random.u8(..10) == 0, random.u8(..12) == 0);
        let (seconds, is_ahead) = (random.i32(1..20 * 60 * 60), random.bool());
        if is_clock && numbers.clocks {
            return Self::Clock(daemon, if is_ahead { seconds } else { -seconds });
        }
        if is_disk && numbers.disks {
            return if is_ahead { Self::BrokenDisk(daemon) } else { Self::FullDisk(daemon) };
        }
        match random.u8(..15) {
            0..2 => Self::KillDaemon(daemon),
            2 => Self::KillStart(daemon),
            3 => Self::StopDaemon(daemon),
            4 => Self::PauseDaemon(daemon),
            5..7 => Self::CutPower(device),
            7 => Self::CutAllPower,
            8 => Self::PauseDevice(device),
            9 => Self::Line(device, Trouble::Cut),
            10 => Self::Line(device, Trouble::Held),
            11 => Self::Line(device, Trouble::Flipped),
            12 => Self::Line(device, Trouble::Lost),
            13 => Self::Drain(device),
            _ => Self::Line(device, Trouble::Doubled),
        }
    }

    fn victim(self) -> Victim {
        match self {
            Self::KillDaemon(daemon)
            | Self::KillStart(daemon)
            | Self::StopDaemon(daemon)
            | Self::PauseDaemon(daemon)
            | Self::BrokenDisk(daemon) => Victim::Daemon(daemon),
            Self::CutPower(device) | Self::PauseDevice(device) | Self::Drain(device) => {
                Victim::Device(device)
            }
            Self::Link(daemon, ..) => Victim::Links(daemon),
            Self::Clock(daemon, _) => Victim::Clock(daemon),
            Self::FullDisk(daemon) => Victim::Disk(daemon),
            Self::CutAllPower => Victim::AllDevices,
            Self::Line(device, _) => Victim::Line(device),
            Self::KillMember(_) | Self::PauseMember(_) | Self::KillOthers(_) => Victim::Store,
        }
    }

    /// Whether both can be at once.
    fn goes_with(self, other: Self) -> bool {
        use Victim::{AllDevices, Device};
        let (one, other_victim) = (self.victim(), other.victim());
        // Nobody drains a device at a daemon that does not answer.
        let drains = |fault: &Self| matches!(fault, Self::Drain(_));
        let is_away = |victim| matches!(victim, Victim::Daemon(_));
        let is_in_vain = drains(&self) && is_away(other_victim) || drains(&other) && is_away(one);
        let breaks = |fault: &Self| matches!(fault, Self::BrokenDisk(_));
        let is_of_disk = |victim| matches!(victim, Victim::Disk(_));
        let is_one_disk =
            breaks(&self) && is_of_disk(other_victim) || breaks(&other) && is_of_disk(one);
        let is_all_devices =
            matches!((one, other_victim), (AllDevices, Device(_)) | (Device(_), AllDevices));
        one != other_victim && !is_in_vain && !is_one_disk && !is_all_devices
    }
}

/// One or two faults at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// How long nothing goes wrong before.
    pub calm: Duration,
    /// The faults, in the order in which they end.
    pub faults: Vec<Fault>,
    /// How long they last.
    pub lasts: Duration,
}

impl Act {
    /// The next one of a schedule.
    pub(super) fn random(random: &mut fastrand::Rng, numbers: Numbers) -> Self {
        let mut faults = vec![Fault::random(random, numbers)];
        let second = Fault::random(random, numbers);
        if random.u8(..3) == 0 && faults[0].goes_with(second) {
            faults.push(second);
        }
        // A daemon does not start without its store, nor without room: that is back before. A device is resumed by a daemon that runs.
        faults.sort_by_key(|fault| match (fault, fault.victim()) {
            (_, Victim::Store | Victim::Links(_) | Victim::Disk(_)) => 0,
            (Fault::Drain(_), _) => 2,
            _ => 1,
        });
        let mut time = |range| Duration::from_millis(random.u64(range));
        Self { calm: time(CALM), faults, lasts: time(LASTS) }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            let and = if number == 0 { "" } else { ", " };
            write!(f, "{and}{}", fault.name())?;
            match fault.victim() {
                Victim::Daemon(number)
                | Victim::Device(number)
                | Victim::Line(number)
                | Victim::Links(number)
                | Victim::Clock(number)
                | Victim::Disk(number) => {
                    write!(f, " {number}")?;
                }
                Victim::AllDevices | Victim::Store => {}
            }
        }
        write!(f, ", for {} ms", self.lasts.as_millis())
    }
}

/// An emulated device with a line that can be in trouble.
#[derive(Debug)]
pub(super) struct Device {
    region: &'static str,
    directory: TempDir,
    emulator: Option<Emulator>,
    line: Line,
}

impl Device {
    pub(super) fn new(region: &'static str, random: fastrand::Rng) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let emulator = Emulator::boot(directory.path(), Attachment::CONSOLE);
        emulator.await_start();
        let line = directory.path().join("troubled.sock");
        let line = Line::new(line, emulator.line().to_owned(), random);
        Self { region, directory, emulator: Some(emulator), line }
    }

    /// The Region that it serves.
    pub(super) fn region(&self) -> &'static str {
        self.region
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
    pub(super) scene: &'w Scene,
    pub(super) devices: &'w mut [Device],
    pub(super) cluster: &'w mut Option<EtcdCluster>,
    pub(super) disks: Option<&'w [FailingDisk]>,
    pub(super) links: &'w [Vec<Link>],
    pub(super) clocks: Option<&'w Clocks>,
    pub(super) beside: Option<&'w Path>,
    pub(super) random: fastrand::Rng,
}

impl World<'_> {
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            daemons: self.scene.seats.len(),
            devices: self.devices.len(),
            members: self.cluster.as_ref().map_or(0, |cluster| cluster.urls().len()),
            clocks: self.clocks.is_some(),
            disks: self.disks.is_some(),
        }
    }

    /// Begins a fault.
    pub(super) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillDaemon(daemon) | Fault::KillStart(daemon) => {
                self.change(daemon, Daemon::kill);
                self.scene.died(daemon);
            }
            // Clients get their answers meanwhile.
            Fault::StopDaemon(daemon) => self.signal(daemon, Signal::TERM),
            Fault::PauseDaemon(daemon) => self.signal(daemon, Signal::STOP),
            Fault::CutPower(device) => self.devices[device].cut_power(),
            Fault::CutAllPower => self.devices.iter_mut().for_each(Device::cut_power),
            Fault::PauseDevice(device) => self.devices[device].signal(Signal::STOP),
            Fault::Line(device, trouble) => self.devices[device].line.set(Some(trouble)),
            Fault::KillMember(member) => self.cluster().kill(member),
            Fault::PauseMember(member) => {
                signal_process(self.cluster().process(member), Signal::STOP);
            }
            Fault::KillOthers(member) => {
                self.others(member).for_each(|other| self.cluster().kill(other));
            }
            Fault::Link(daemon, member, trouble) => self.trouble(daemon, member, Some(trouble)),
            // Where it is the last one that serves, that is refused.
            Fault::Drain(device) => drop(self.device(device, "drain")),
            Fault::Clock(daemon, seconds) => self.set_clock(daemon, seconds),
            Fault::FullDisk(daemon) => self.set_full(daemon, true),
            Fault::BrokenDisk(daemon) => {
                self.scene.note_disk(daemon, true);
                self.disk(daemon).fail();
            }
        }
    }

    /// Ends a fault.
    pub(super) fn end(&mut self, fault: Fault) {
        match fault {
            Fault::KillDaemon(daemon) => self.restart(daemon),
            Fault::KillStart(daemon) => {
                let after = Duration::from_millis(self.random.u64(1..500));
                self.change(daemon, |daemon| drop(daemon.kill_while_starting(after)));
                self.restart(daemon);
            }
            Fault::StopDaemon(daemon) => {
                self.change(daemon, |daemon| {
                    let (status, said) = daemon.await_end();
                    assert!(status.success(), "the daemon ended with {status}:\n{said}");
                });
                self.scene.died(daemon);
                self.restart(daemon);
            }
            Fault::PauseDaemon(daemon) => self.signal(daemon, Signal::CONT),
            Fault::CutPower(device) => self.devices[device].boot(),
            Fault::CutAllPower => self.devices.iter_mut().for_each(Device::boot),
            Fault::PauseDevice(device) => self.devices[device].signal(Signal::CONT),
            Fault::Line(device, _) => self.devices[device].line.set(None),
            Fault::KillMember(member) => self.cluster().restart(member),
            Fault::PauseMember(member) => {
                signal_process(self.cluster().process(member), Signal::CONT);
            }
            Fault::KillOthers(member) => {
                self.others(member).for_each(|other| self.cluster().restart(other));
            }
            Fault::Link(daemon, member, _) => self.trouble(daemon, member, None),
            Fault::Drain(device) => {
                // It may not be drained, if that was refused or not heard.
                until(format_args!("device {device} is resumed"), || {
                    let (code, said) = self.device(device, "resume");
                    code == 0 || said.contains("not drained") || said.contains("in service")
                });
            }
            Fault::Clock(daemon, _) => self.set_clock(daemon, 0),
            Fault::FullDisk(daemon) => self.set_full(daemon, false),
            Fault::BrokenDisk(daemon) => {
                self.change(daemon, Daemon::kill);
                self.scene.died(daemon);
                self.disk(daemon).repair();
                self.restart(daemon);
                self.scene.note_disk(daemon, false);
            }
        }
    }

    /// Starts a daemon, perhaps of another release than before.
    fn restart(&mut self, daemon: usize) {
        let beside = self.beside.filter(|_| self.random.bool()).map(Path::to_owned);
        self.change(daemon, |daemon| {
            daemon.set_program(beside);
            daemon.restart();
        });
    }

    fn trouble(&self, daemon: usize, member: Option<usize>, trouble: Option<Trouble>) {
        let links = self.links[daemon].iter().enumerate();
        let hit = links.filter(|(number, _)| member.is_none_or(|member| member == *number));
        hit.for_each(|(_, link)| link.set(trouble));
    }

    fn set_full(&self, daemon: usize, is_full: bool) {
        if is_full {
            self.scene.note_disk(daemon, true);
        }
        self.disk(daemon).set_full(is_full);
        self.scene.note_disk(daemon, is_full);
    }

    fn disk(&self, daemon: usize) -> &FailingDisk {
        &self.disks.expect("disks can fail")[daemon]
    }

    fn set_clock(&self, daemon: usize, seconds: i32) {
        if seconds != 0 {
            self.scene.note_clock(daemon, true);
        }
        self.clocks.expect("clocks can be set").set(daemon, seconds);
        self.scene.note_clock(daemon, seconds != 0);
    }

    /// What a person does with a device, at the daemon that has it.
    fn device(&self, device: usize, command: &str) -> (i32, String) {
        let seats = &self.scene.seats;
        let daemon = seats[device % seats.len()].daemon.read().expect("no client has failed");
        let (data, endpoint) = (daemon.data(), self.devices[device].endpoint());
        let (data, region) = (data.to_str().expect("UTF-8"), self.devices[device].region());
        let at = ["--data", data, "--url", daemon.url(), "--region", region];
        told(&[&["device", command, &endpoint][..], &at].concat())
    }

    fn change(&self, daemon: usize, change: impl FnOnce(&mut Daemon)) {
        change(&mut self.scene.seats[daemon].daemon.write().expect("no client has failed"));
    }

    fn signal(&self, daemon: usize, signal: Signal) {
        let daemon = self.scene.seats[daemon].daemon.read().expect("no client has failed");
        signal_process(daemon.id(), signal);
    }

    fn cluster(&mut self) -> &mut EtcdCluster {
        self.cluster.as_mut().expect("the store is a cluster")
    }

    fn others(&self, member: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.numbers().members).filter(move |other| *other != member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_a_schedule() {
        let numbers = Numbers { daemons: 2, devices: 3, members: 3, clocks: true, disks: true };
        let schedule = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..50).map(|_| Act::random(&mut random, numbers)).collect::<Vec<_>>()
        };
        assert_eq!(schedule(5), schedule(5));
        assert_ne!(schedule(5), schedule(6));
        let both = schedule(5).into_iter().filter(|act| act.faults.len() == 2);
        assert!(both.clone().count() > 5, "some come together");
        assert!(both.clone().all(|act| act.faults[0].goes_with(act.faults[1])));
    }
}
