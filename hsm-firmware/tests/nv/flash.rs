//! NOR flash in memory that follows the rules of real NOR flash, and fails like it.
//!
//! - Programming only clears bits, and erasing sets all bits of a block. Setting a bit by programming
//!   panics, and so does programming a word twice between erasures, which parts with ECC forbid.
//! - Power can be cut before any word of a program and before any block of an erasure. The operation
//!   under way is left half done: any subset of its bits may have changed, in any subset of its words,
//!   and bits may read differently each time until they are programmed or erased properly.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

pub(crate) const BLOCK: usize = 1024;

/// Small random generator (xorshift64*, Vigna 2016), whose state belongs to the test case.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub(crate) fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}

#[derive(Clone)]
pub(crate) struct Chip<const WORD: usize> {
    cells: Vec<u8>,
    /// Bits that read at random.
    weak: Vec<u8>,
    any_weak: bool,
    /// Words that have been programmed since their last erasure.
    programmed: Vec<bool>,
    /// Words that do not take a program, like worn ones.
    stuck: Vec<usize>,
    /// Blocks that cannot be erased.
    locked: std::ops::Range<usize>,
    /// Words and blocks that can be programmed and erased before power fails.
    fuse: Option<u64>,
    /// Words programmed and blocks erased so far.
    pub(crate) steps: u64,
    powered: bool,
    rng: Rng,
}

impl<const WORD: usize> Chip<WORD> {
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        Self {
            cells: vec![0xFF; size],
            weak: vec![0; size],
            any_weak: false,
            programmed: vec![false; size / WORD],
            stuck: Vec::new(),
            locked: 0..0,
            fuse: None,
            steps: 0,
            powered: true,
            rng: Rng::new(seed),
        }
    }

    /// Cuts power after this many more steps.
    pub(crate) fn cut_after(&mut self, steps: u64) {
        self.fuse = Some(steps);
    }

    pub(crate) fn is_powered(&self) -> bool {
        self.powered
    }

    /// Restores power, with a new seed for everything random.
    pub(crate) fn power_on(&mut self, seed: u64) {
        self.powered = true;
        self.fuse = None;
        self.rng = Rng::new(seed);
    }

    /// The cells as they were programmed.
    pub(crate) fn cells(&self) -> &[u8] {
        &self.cells
    }

    /// Clears bits without the log's knowledge.
    pub(crate) fn damage(&mut self, at: usize, mask: u8) {
        self.cells[at] &= !mask;
    }

    /// Makes the word at this address unusable: it keeps one bit clear permanently.
    pub(crate) fn wear_out(&mut self, at: usize) {
        self.stuck.push(at / WORD);
        self.cells[at] &= !1;
    }

    /// Makes the blocks of these bytes impossible to erase.
    pub(crate) fn lock(&mut self, bytes: std::ops::Range<usize>) {
        self.locked = bytes.start / BLOCK..bytes.end / BLOCK;
    }

    /// Counts a step; returns false if power fails in it.
    fn step(&mut self) -> bool {
        if self.fuse == Some(0) {
            self.powered = false;
            return false;
        }
        self.fuse = self.fuse.map(|left| left - 1);
        self.steps += 1;
        true
    }

    fn program_word(&mut self, word: usize, new: &[u8]) {
        assert!(!self.programmed[word], "word {:#x} programmed twice", word * WORD);
        self.programmed[word] = true;
        for (at, new) in (word * WORD..).zip(new) {
            assert_eq!(self.cells[at] & new, *new, "program sets a bit at {at:#x}");
            self.cells[at] = *new;
            // A complete program makes the bits that it clears stable, but not the bits that it
            // leaves alone.
            self.weak[at] &= new;
        }
    }

    /// Lets power fail while these words are programmed.
    fn tear_program(&mut self, first: usize, words: &[&[u8]], done: usize) {
        let in_order = self.rng.below(2) == 0;
        for (n, new) in words.iter().enumerate().skip(done) {
            let word = first + n;
            match if in_order && n == done { 1 } else { self.rng.below(4) } {
                0 if !in_order => self.program_word(word, new),
                1 if !in_order || n == done => {
                    self.programmed[word] = true;
                    for (at, new) in (word * WORD..).zip(*new) {
                        let clearing = self.cells[at] & !new;
                        self.half_change(at, clearing);
                    }
                }
                _ => {}
            }
        }
    }

    /// Lets power fail while a block is erased.
    fn tear_erase(&mut self, block: usize) {
        for at in block * BLOCK..(block + 1) * BLOCK {
            match self.rng.below(4) {
                0 => {}
                1 => {
                    self.cells[at] = 0xFF;
                    self.weak[at] = 0;
                }
                _ => self.half_change(at, !self.cells[at]),
            }
        }
    }

    /// Changes some of the changing bits, leaves others, and makes some weak.
    fn half_change(&mut self, at: usize, changing: u8) {
        let (changed, weak) = (self.rng.byte(), self.rng.byte() & self.rng.byte());
        self.cells[at] ^= changing & changed;
        self.weak[at] |= changing & weak;
        self.any_weak = true;
    }
}

impl<const WORD: usize> ErrorType for Chip<WORD> {
    type Error = NorFlashErrorKind;
}

impl<const WORD: usize> ReadNorFlash for Chip<WORD> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        if !self.powered {
            return Err(NorFlashErrorKind::Other);
        }
        let offset = offset as usize;
        bytes.copy_from_slice(&self.cells[offset..offset + bytes.len()]);
        if self.any_weak {
            for (byte, weak) in bytes.iter_mut().zip(&self.weak[offset..]) {
                if *weak != 0 {
                    *byte ^= weak & self.rng.byte();
                }
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl<const WORD: usize> NorFlash for Chip<WORD> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for block in from as usize / BLOCK..to as usize / BLOCK {
            if !self.powered || self.locked.contains(&block) {
                return Err(NorFlashErrorKind::Other);
            }
            if !self.step() {
                self.tear_erase(block);
                return Err(NorFlashErrorKind::Other);
            }
            let bytes = block * BLOCK..(block + 1) * BLOCK;
            self.cells[bytes.clone()].fill(0xFF);
            self.weak[bytes.clone()].fill(0);
            self.programmed[bytes.start / WORD..bytes.end / WORD].fill(false);
            for word in self.stuck.iter().filter(|word| bytes.contains(&(**word * WORD))) {
                self.cells[word * WORD] &= !1;
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let first = offset as usize / WORD;
        let words: Vec<&[u8]> = bytes.chunks(WORD).collect();
        for (n, new) in words.iter().enumerate() {
            if !self.powered {
                return Err(NorFlashErrorKind::Other);
            }
            if !self.step() {
                self.tear_program(first, &words, n);
                return Err(NorFlashErrorKind::Other);
            }
            self.program_word(first + n, new);
        }
        Ok(())
    }
}
