//! The record on the worst flash there is: each word that power was cut in reads as old or as new,
//! anew at each read, until it is erased or programmed properly.

use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

use super::Record;
use crate::layout::{SlotId, UNIT};
use crate::state::{Other, State};

/// Two entries fit in a sector.
const SECTOR: usize = 256;
const WORDS: usize = 3 * SECTOR / UNIT;
const BLANK: [u8; UNIT] = [0xFF; UNIT];

#[derive(Clone)]
struct Moody {
    /// Of each word, what it reads as: one of two values where they differ.
    words: [([u8; UNIT], [u8; UNIT]); WORDS],
    programmed: [bool; WORDS],
    fuse: u64,
    powered: bool,
    random: u64,
}

impl Moody {
    /// xorshift64* (Vigna 2016).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn step(&mut self) -> Result<bool, NorFlashErrorKind> {
        if !self.powered {
            return Err(NorFlashErrorKind::Other);
        }
        self.powered = self.fuse > 0;
        self.fuse = self.fuse.saturating_sub(1);
        Ok(self.powered)
    }

    /// Leaves a word old, new, or in doubt.
    fn tear(&mut self, word: usize, new: [u8; UNIT]) {
        let (a, b) = self.words[word];
        let old = if self.below(2) == 0 { a } else { b };
        self.words[word] = match self.below(4) {
            0 => (a, b),
            1 => (new, new),
            _ => (old, new),
        };
    }
}

impl ErrorType for Moody {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Moody {
    const READ_SIZE: usize = UNIT;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        if !self.powered {
            return Err(NorFlashErrorKind::Other);
        }
        for (word, out) in (offset as usize / UNIT..).zip(bytes.chunks_mut(UNIT)) {
            let (a, b) = self.words[word];
            out.copy_from_slice(if self.below(2) == 0 { &a } else { &b });
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        WORDS * UNIT
    }
}

impl NorFlash for Moody {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let whole = self.step()?;
        for word in from as usize / UNIT..to as usize / UNIT {
            if whole {
                self.words[word] = (BLANK, BLANK);
                self.programmed[word] = false;
            } else {
                self.tear(word, BLANK);
            }
        }
        if whole { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        for (word, new) in (offset as usize / UNIT..).zip(bytes.chunks(UNIT)) {
            let new = new.try_into().unwrap();
            let whole = self.step()?;
            assert!(!self.programmed[word], "word {word} is programmed twice");
            assert_eq!(self.words[word], (BLANK, BLANK), "word {word} is in doubt");
            self.programmed[word] = true;
            if !whole {
                self.tear(word, new);
                return Err(NorFlashErrorKind::Other);
            }
            self.words[word] = (new, new);
        }
        Ok(())
    }
}

fn state(floor: u32) -> State {
    State { active: SlotId::A, other: Other::Staged, floor }
}

/// Cuts in a row, without a whole recovery between them. On this flash, three are too many (see the
/// record's limits).
const CUTS: u32 = 2;

/// Mounts, settles and writes with cuts at random steps, very often. What was written or seen once
/// stays until something newer was begun.
#[test]
fn nothing_is_lost_and_nothing_returns() {
    let (mut cuts, mut doubtful) = (0, 0);
    for seed in 1..700 {
        let mut flash = Moody {
            words: [(BLANK, BLANK); WORDS],
            programmed: [false; WORDS],
            fuse: u64::MAX,
            powered: true,
            random: seed,
        };
        let (mut floor, mut in_a_row) = (0, 0);
        let mut possible: Vec<Option<State>> = vec![None];
        for _ in 0..40 {
            flash.powered = true;
            let spared = in_a_row >= CUTS || flash.below(3) == 0;
            flash.fuse = if spared { u64::MAX } else { flash.below(14) };
            let mut record = Record::mount(&mut flash, 0);
            let seen = record.state();
            assert!(possible.contains(&seen), "seed {seed}: {seen:?} of {possible:?}");
            if record.settle(&mut flash).is_err() {
                cuts += 1;
                in_a_row += 1;
                continue;
            }
            in_a_row = 0;
            doubtful += usize::from(possible.len() > 1);
            possible = vec![seen];
            for _ in 0..flash.below(5) {
                floor += 1;
                let new = state(floor);
                let written = record.write(&mut flash, &new);
                if written.is_err() {
                    cuts += 1;
                    in_a_row = 1;
                    possible.push(Some(new));
                    break;
                }
                assert_eq!(record.state(), Some(new));
                possible = vec![Some(new)];
            }
        }
    }
    assert!(cuts > 3_000 && doubtful > 1_000, "{cuts} cuts, {doubtful} states in doubt");
}
