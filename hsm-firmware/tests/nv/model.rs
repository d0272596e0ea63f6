//! What the log must answer: a plain map, operations on it, and the comparison of both.

use std::collections::BTreeMap;

use hsm_firmware::nv::{Geometry, LogError, MAX_DATA, RecordLog};

use crate::flash::{BLOCK, Chip, Rng};

/// Ids used by the tests.
pub(crate) const IDS: u16 = 7;

/// Three segments, each just large enough, so that rotations are frequent.
pub(crate) const GEOMETRY: Geometry =
    Geometry { start: BLOCK as u32, segment: 9 * BLOCK as u32, segments: 3 };

/// Size of a chip for [`GEOMETRY`]: one block more on either side.
pub(crate) const CHIP: usize = BLOCK * 29;

pub(crate) type Model = BTreeMap<u16, Vec<u8>>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(u16, Vec<u8>),
    Remove(u16),
    EraseAll,
    /// Power fails while nothing is being written.
    Remount,
}

impl Op {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let id = rng.below(usize::from(IDS)) as u16;
        match rng.below(100) {
            0..70 => Self::Write(id, random_data(rng, 120)),
            70..76 => Self::Write(id, random_data(rng, 900)),
            76..78 => Self::Write(id, random_data(rng, 3000)),
            78..90 => Self::Remove(id),
            90..92 => Self::EraseAll,
            _ => Self::Remount,
        }
    }

    /// Applies the operation to the model, unless the log has no room for it.
    pub(crate) fn apply(&self, model: &mut Model) -> Result<(), LogError> {
        match self {
            Self::Write(id, data) => {
                let others = model.iter().filter(|(other, _)| *other != id);
                let live: usize = others.map(|(_, data)| size(data)).sum();
                if data.len() > MAX_DATA {
                    return Err(LogError::TooLong);
                }
                if live + size(data) > GEOMETRY.capacity() as usize {
                    return Err(LogError::Full);
                }
                model.insert(*id, data.clone());
            }
            Self::Remove(id) => drop(model.remove(id)),
            Self::EraseAll => model.clear(),
            Self::Remount => {}
        }
        Ok(())
    }

    /// Runs the operation on a log.
    pub(crate) fn run<const W: usize>(&self, log: &mut RecordLog<Chip<W>>) -> Result<(), LogError> {
        match self {
            Self::Write(id, data) => log.write(*id, data),
            Self::Remove(id) => log.remove(*id),
            Self::EraseAll => log.erase_all(),
            Self::Remount => {
                *log = open(log.flash().clone());
                log.mount()
            }
        }
    }
}

fn size(data: &[u8]) -> usize {
    data.len().next_multiple_of(16) + 32
}

fn random_data(rng: &mut Rng, bound: usize) -> Vec<u8> {
    // Plenty of 0xFF: data that looks erased must not be mistaken for it.
    let erased = rng.below(4) == 0;
    (0..rng.below(bound)).map(|_| if erased { 0xFF } else { rng.byte() }).collect()
}

pub(crate) fn open<const W: usize>(chip: Chip<W>) -> RecordLog<Chip<W>> {
    RecordLog::new(chip, GEOMETRY)
}

/// Reads every record.
pub(crate) fn contents<const W: usize>(log: &mut RecordLog<Chip<W>>) -> Result<Model, LogError> {
    let mut model = Model::new();
    let mut buf = [0; MAX_DATA];
    for id in 0..IDS {
        if let Some(data) = log.read(id, &mut buf)? {
            model.insert(id, data.to_vec());
        }
    }
    Ok(model)
}

/// What a mounted log leaves on the chip: one segment in use, all else erased.
pub(crate) fn assert_scrubbed<const W: usize>(chip: &Chip<W>, model: &Model) {
    let start = GEOMETRY.start as usize;
    let segments = chip.cells()[start..].chunks(GEOMETRY.segment as usize).take(3);
    let used: Vec<&[u8]> =
        segments.filter(|cells| cells.iter().any(|cell| *cell != 0xFF)).collect();
    assert_eq!(used.len(), 1, "segments in use");
    let live: usize = model.values().map(|data| size(data)).sum();
    assert!(used[0][32 + live..].iter().all(|cell| *cell == 0xFF), "superseded bytes left");
}
