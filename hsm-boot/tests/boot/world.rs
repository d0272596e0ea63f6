//! A device whose power may fail, and a model of all states in which it may be then.

use embedded_storage::nor_flash::NorFlash;
use hsm_boot::{
    Board, CounterError, Mode, Report, ResetReason, RollbackCounter, SlotId, Update, UpdateError,
    boot,
};

use crate::flash::{BLOCK, Chip};
use crate::release::{CHIP, LAYOUT, Quick, Release, board, start};

/// Fuses, for a board that has them.
#[derive(Clone, Debug)]
pub(crate) struct Fuses {
    pub(crate) value: u32,
    pub(crate) used: bool,
    /// Whether they fail to be programmed.
    pub(crate) stuck: bool,
}

impl RollbackCounter for Fuses {
    fn floor(&mut self) -> Result<u32, CounterError> {
        Ok(self.value)
    }

    fn raise(&mut self, floor: u32) -> Result<(), CounterError> {
        if self.stuck {
            return Err(CounterError);
        }
        if self.used {
            self.value = self.value.max(floor);
        }
        Ok(())
    }
}

/// What a device may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holds {
    /// The image that was confirmed last.
    pub(crate) confirmed: Release,
    /// The one to be tried.
    pub(crate) candidate: Option<(Candidate, Release)>,
    /// The highest security version that was confirmed.
    pub(crate) floor: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Candidate {
    Staged,
    Trial,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Boot,
    /// The whole update, in pieces of this many bytes.
    Install(Release, usize),
    Confirm,
}

/// A device, and what it may hold: several things after power was cut, until the next boot shows.
#[derive(Clone)]
pub(crate) struct World<const W: usize> {
    pub(crate) chip: Chip<W>,
    pub(crate) fuses: Fuses,
    pub(crate) board: Board<'static>,
    pub(crate) report: Option<Report>,
    pub(crate) may_hold: Vec<Holds>,
    /// Bytes of a cut update that have to be there when it goes on.
    received: Option<(Release, u32)>,
}

/// Puts an image into a slot as a factory does.
pub(crate) fn flash_slot<F: NorFlash>(chip: &mut F, slot: SlotId, release: &Release) {
    let manifest = (start(slot) + 3 * BLOCK) as u32;
    for (at, bytes) in [(start(slot) as u32, &release.image), (manifest, &release.manifest)] {
        let mut padded = bytes.clone();
        padded.resize(bytes.len().next_multiple_of(32), 0xFF);
        chip.write(at, &padded).unwrap();
    }
}

impl<const W: usize> World<W> {
    /// A device as it leaves the factory, with an image in slot A.
    pub(crate) fn new(release: &Release, fuses: bool, seed: u64) -> Self {
        let mut chip = Chip::new(CHIP, seed);
        flash_slot(&mut chip, SlotId::A, release);
        let floor = release.body.security_version;
        Self {
            chip,
            fuses: Fuses { value: 0, used: fuses, stuck: false },
            board: board(),
            report: None,
            may_hold: vec![Holds { confirmed: release.clone(), candidate: None, floor }],
            received: None,
        }
    }

    pub(crate) fn power_on(&mut self, seed: u64) {
        self.chip.power_on(seed);
        self.report = None;
    }

    /// Restores power if it has failed; else the fuse is removed, and the device stays as it is.
    pub(crate) fn power_on_if_cut(&mut self, seed: u64) {
        let report = self.report.filter(|_| self.chip.is_powered());
        self.power_on(seed);
        self.report = report;
    }

    /// Whether the operation makes sense now: after a power cut, only a boot does.
    pub(crate) fn can(&self, op: &Op) -> bool {
        matches!(op, Op::Boot) || self.report.is_some()
    }

    /// Does it, checks the result, and notes what the device may hold now.
    pub(crate) fn run(&mut self, op: &Op) {
        match op {
            Op::Boot => self.boot(),
            Op::Install(release, piece) => self.install(release, *piece),
            Op::Confirm => self.confirm(),
        }
        let highest = self.may_hold.iter().map(|holds| holds.floor).max();
        assert!(Some(self.fuses.value) <= highest, "fuses are ahead of what was confirmed");
    }

    fn boot(&mut self) {
        let reset = ResetReason::PowerOn;
        if self.may_hold.iter().any(|holds| holds.candidate.is_some()) {
            self.received = None;
        }
        let started = boot(&mut self.chip, &self.board, &Quick, &mut self.fuses, reset);
        if !self.chip.is_powered() {
            let after: Vec<_> = self.may_hold.iter().map(|holds| after_boot(holds).1).collect();
            self.may_also_hold(after);
            return;
        }
        let report = started.unwrap_or_else(|refusal| panic!("nothing starts: {refusal:?}"));
        assert_eq!(Report::decode(&report.encode()), Some(report));
        let could: Vec<_> = std::mem::take(&mut self.may_hold).iter().map(after_boot).collect();
        for ((mode, release), after) in could {
            if (mode, release.body.measurement) == (report.mode, report.measurement) {
                self.may_also_hold(vec![after]);
            }
        }
        let Some(holds) = self.may_hold.first() else { panic!("{report:?} may not be started") };
        let release = match &holds.candidate {
            Some((Candidate::Trial, release)) => release,
            _ => &holds.confirmed,
        };
        let at = start(report.slot);
        assert_eq!(self.chip.cells()[at..at + release.image.len()], release.image, "not verified");
        assert!(report.security_version >= holds.floor, "below the rollback floor");
        assert!(!report.flags.record_stuck);
        self.report = Some(report);
    }

    fn install(&mut self, release: &Release, piece: usize) {
        let [holds] = &self.may_hold[..] else { panic!("a boot shows what is held") };
        let holds = holds.clone();
        let report = self.report.expect("booted");
        let (mut acknowledged, mut finishing) = (0, false);
        let running = LAYOUT.slot(report.slot);
        let running = running.start as usize..(running.start + running.length) as usize;
        let before = self.chip.cells()[running.clone()].to_vec();
        let expected = self.received.take().filter(|(other, _)| other == release);
        let result = (|| {
            let mut update = Update::open(&mut self.chip, &self.board, Quick, &report)?;
            let begun = update.begin(&mut self.chip, &release.manifest)?;
            if let Some((_, least)) = expected {
                assert!(begun >= least, "{begun} of {least} bytes are left");
            }
            acknowledged = begun;
            for bytes in release.image[begun as usize..].chunks(piece) {
                acknowledged = update.write(&mut self.chip, acknowledged, bytes)?;
            }
            finishing = true;
            update.finish(&mut self.chip).map(drop)
        })();
        assert!(self.chip.cells()[running] == before, "the running image was touched");
        let candidate = |candidate| Holds { candidate, ..holds.clone() };
        let staged = candidate(Some((Candidate::Staged, release.clone())));
        let in_trial = matches!(holds.candidate, Some((Candidate::Trial, _)));
        if in_trial {
            if self.chip.is_powered() {
                assert_eq!(result, Err(UpdateError::Unconfirmed));
            }
        } else if !self.chip.is_powered() {
            let whole = acknowledged - acknowledged % BLOCK as u32;
            self.received = Some((release.clone(), whole));
            self.may_also_hold(vec![candidate(None)]);
            if finishing {
                self.may_also_hold(vec![staged]);
            }
        } else if release.body.security_version < holds.floor {
            let reason = hsm_boot::Reason::Rollback;
            assert_eq!(result, Err(UpdateError::Refused(reason)));
        } else {
            assert_eq!(result, Ok(()));
            self.may_hold = vec![staged];
        }
    }

    fn confirm(&mut self) {
        let report = self.report.expect("booted");
        let result = Update::open(&mut self.chip, &self.board, Quick, &report)
            .and_then(|mut update| update.confirm(&mut self.chip, &mut self.fuses));
        let after = self.may_hold.iter().map(|holds| match &holds.candidate {
            Some((Candidate::Trial, release)) => Holds {
                confirmed: release.clone(),
                candidate: None,
                floor: holds.floor.max(release.body.security_version),
            },
            _ => holds.clone(),
        });
        let after: Vec<_> = after.collect();
        if self.chip.is_powered() {
            assert_eq!(result, Ok(()));
            self.may_hold = after;
        } else {
            self.may_also_hold(after);
        }
    }

    fn may_also_hold(&mut self, others: Vec<Holds>) {
        for holds in others {
            if !self.may_hold.contains(&holds) {
                self.may_hold.push(holds);
            }
        }
    }

    /// Boots until nothing is in doubt, then brings an update to its end.
    pub(crate) fn check(mut self, next: &Release) {
        self.power_on(1);
        self.run(&Op::Boot);
        if self.report.is_some_and(|report| report.mode == Mode::Trial) {
            // Nobody confirms: back to what was there before.
            self.power_on(2);
            self.run(&Op::Boot);
        }
        let first = self.report.expect("booted");
        assert_eq!(first.mode, Mode::Confirmed);
        self.power_on(3);
        self.run(&Op::Boot);
        assert_eq!(self.report.map(|report| report.slot), Some(first.slot), "changed its mind");

        self.run(&Op::Install(next.clone(), 700));
        self.power_on(4);
        self.run(&Op::Boot);
        assert_eq!(self.report.map(|report| report.mode), Some(Mode::Trial));
        self.run(&Op::Confirm);
        for seed in 5..7 {
            self.power_on(seed);
            self.run(&Op::Boot);
            let report = self.report.expect("booted");
            assert_eq!((report.mode, report.slot), (Mode::Confirmed, first.slot.other()));
            assert_eq!(report.floor, next.body.security_version);
        }
    }
}

/// What a boot starts, and what the device holds then.
fn after_boot(holds: &Holds) -> ((Mode, Release), Holds) {
    match &holds.candidate {
        Some((Candidate::Staged, release)) => {
            let candidate = Some((Candidate::Trial, release.clone()));
            ((Mode::Trial, release.clone()), Holds { candidate, ..holds.clone() })
        }
        _ => {
            ((Mode::Confirmed, holds.confirmed.clone()), Holds { candidate: None, ..holds.clone() })
        }
    }
}
