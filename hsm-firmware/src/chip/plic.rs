//! Platform-level interrupt controller (RISC-V PLIC specification 1.0.0), context 0: machine mode
//! of hart 0.

use super::register::Register;

const PENDING_WORDS: usize = 32;
const ENABLE: usize = 0x2000;
const THRESHOLD: usize = 0x20_0000;
const CLAIM: usize = 0x20_0004;

/// The controller.
#[derive(Clone, Copy, Debug)]
pub struct Plic(usize);

impl Plic {
    /// The controller at a base address.
    ///
    /// # Safety
    /// `base` must be that of a PLIC whose context 0 is this hart's machine mode.
    #[must_use]
    pub const unsafe fn new(base: usize) -> Self {
        Self(base)
    }

    /// Lets these sources through, and no others.
    pub fn enable_only(self, sources: &[u32]) {
        for word in 0..PENDING_WORDS {
            let bits = sources.iter().filter(|source| **source as usize / 32 == word);
            self.register(ENABLE + 4 * word)
                .write(bits.fold(0, |bits, source| bits | 1 << (source % 32)));
        }
        for source in sources {
            self.register(4 * *source as usize).write(1);
        }
        self.register(THRESHOLD).write(0);
    }

    /// Takes the pending source of the highest priority.
    #[must_use]
    pub fn claim(self) -> Option<u32> {
        Some(self.register(CLAIM).read()).filter(|source| *source != 0)
    }

    /// Ends the handling of a claimed source.
    pub fn complete(self, source: u32) {
        self.register(CLAIM).write(source);
    }

    fn register(self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of a PLIC; these offsets are in its map.
        unsafe { Register::new(self.0 + offset) }
    }
}
