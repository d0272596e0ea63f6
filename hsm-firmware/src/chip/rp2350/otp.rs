//! One-time-programmable memory (13): the sealing key, the chip's number, and what has been locked for good.
//!
//! Whoever provisions a device writes 16 rows with error correction, two bytes of the key each, from [`KEY_ROW`] on,
//! and then the lock word of their page: [`KEY_LOCK`]. Both before the first start: records that were stored without a
//! key are not sealed later.

use super::super::register::Register;

/// OTP with error correction: two rows of 16 bits in a word (13.1).
const CORRECTED: usize = 0x4013_0000;
/// OTP without: a row of 24 bits in a word.
const RAW: usize = 0x4013_4000;
const REGISTERS: usize = 0x4012_0000;
/// What a row reads as that must not be read.
const REFUSED: u32 = u32::MAX;

/// Page of 64 rows that has the key. Boot ROM and Raspberry Pi use none of it (13.10).
const KEY_PAGE: usize = 56;
/// First row of the sealing key.
pub const KEY_ROW: usize = KEY_PAGE * 64;
/// Row of the page's lock word for Secure, Non-secure and boot loader accesses (PAGE56_LOCK1).
pub const LOCK_ROW: usize = 0xF80 + 2 * KEY_PAGE + 1;
/// What is to be written there, three times in 24 bits: the page cannot be read or written by Non-secure
/// code or by the boot loader (over USB, too), and Secure code can only read it.
pub const KEY_LOCK: u8 = 0b11_11_01;
/// The part of it without which a key is not used.
const NO_OTHERS: u8 = 0b11_11_00;

/// Software lock of the key's page (13.9, SW_LOCK56); lasts until the next reset. No access for anyone.
const SOFTWARE_LOCK: usize = REGISTERS + KEY_PAGE * size_of::<u32>();
const NOBODY: u32 = 0b1111;

/// Critical flags as the boot has read them (13.9, CRITICAL).
const CRITICAL: usize = REGISTERS + 0x148;

/// What cannot be undone on this chip any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Locks {
    /// Only signed images start.
    pub secure_boot: bool,
    /// No debugger can make Secure accesses, or no debugger can make any.
    pub debug: bool,
}

impl Locks {
    /// What a value of the register says.
    const fn from_flags(flags: u32) -> Self {
        const SECURE_BOOT: u32 = 1 << 0;
        const SECURE_DEBUG_OFF: u32 = 1 << 1;
        const DEBUG_OFF: u32 = 1 << 2;
        Self {
            secure_boot: flags & SECURE_BOOT != 0,
            debug: flags & (SECURE_DEBUG_OFF | DEBUG_OFF) != 0,
        }
    }

    /// The name of the product on USB, with what whoever holds the device could do to it.
    #[must_use]
    pub const fn product(self) -> &'static str {
        match (self.secure_boot, self.debug) {
            (true, true) => "Strongroom HSM",
            (true, false) => "Strongroom HSM (debug port open)",
            (false, true) => "Strongroom HSM (starts any firmware)",
            (false, false) => "Strongroom HSM (starts any firmware, debug port open)",
        }
    }

    /// Those of this chip.
    #[must_use]
    pub fn read() -> Self {
        Self::from_flags(word(CRITICAL).read())
    }
}

/// Returns the chip's public number, which no other chip has: 16 hexadecimal digits.
#[must_use]
pub fn chip_number() -> [u8; 16] {
    let [low, high] = [0, 1].map(|at| word(CORRECTED + at * size_of::<u32>()).read());
    digits(u64::from(high) << 32 | u64::from(low))
}

fn digits(number: u64) -> [u8; 16] {
    core::array::from_fn(|at| {
        let digit = (number >> (60 - 4 * at) & 0xF) as u8;
        if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
    })
}

/// Reads the sealing key and closes its page until the next reset. `None` if the page is not provisioned: not
/// locked against all but Secure code, or without a key.
#[must_use]
pub fn take_sealing_key() -> Option<[u8; 32]> {
    let lock = word(RAW + LOCK_ROW * size_of::<u32>()).read();
    let key = is_provisioned(lock).then(|| {
        let rows = core::array::from_fn(|at| word(CORRECTED + KEY_ROW * 2 + at * 4).read());
        key_of(&rows)
    });
    word(SOFTWARE_LOCK).write(NOBODY);
    key.flatten()
}

/// Whether a page with this lock word is closed to all but Secure code. Each bit is the majority of three (13.5).
const fn is_provisioned(lock: u32) -> bool {
    let [one, two, three, refused] = lock.to_le_bytes();
    let lock = one & two | one & three | two & three;
    refused == 0 && lock & NO_OTHERS == NO_OTHERS
}

/// The key in these rows; `None` if none has been written, or they must not be read.
fn key_of(words: &[u32; 8]) -> Option<[u8; 32]> {
    if words.iter().all(|word| *word == 0) || words.contains(&REFUSED) {
        return None;
    }
    let mut key = [0; 32];
    for (place, word) in key.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Some(key)
}

fn word(address: usize) -> Register<u32> {
    // SAFETY: only with addresses above, which are those of words and registers of the OTP.
    unsafe { Register::new(address) }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    const LOCK: u32 = u32::from_le_bytes([KEY_LOCK, KEY_LOCK, KEY_LOCK, 0]);

    #[test]
    fn rows_are_those_of_the_page() {
        assert_eq!((KEY_ROW, LOCK_ROW), (0xE00, 0xFF1));
    }

    #[test]
    fn a_page_counts_only_if_others_are_locked_out() {
        assert!(is_provisioned(LOCK));
        assert!(is_provisioned(LOCK & !0xFF)); // two of three
        assert!(is_provisioned(0x3C_3C_3C));
        assert!(!is_provisioned(LOCK & !0xFFFF)); // one of three
        assert!(!is_provisioned(0));
        assert!(!is_provisioned(0x0C_0C_0C)); // the boot loader may read it
        assert!(!is_provisioned(0x30_30_30)); // Non-secure code may
        assert!(!is_provisioned(REFUSED));
    }

    #[test]
    fn a_key_is_what_was_written() {
        let words: [u32; 8] = core::array::from_fn(|at| 0x0403_0201 + 0x0404_0404 * at as u32);
        let expected: [u8; 32] = core::array::from_fn(|at| at as u8 + 1);
        assert_eq!(key_of(&words), Some(expected));
        assert_eq!(key_of(&[0; 8]), None);
        let mut refused = words;
        refused[7] = REFUSED;
        assert_eq!(key_of(&refused), None);
    }

    #[test]
    fn flags_and_number() {
        assert_eq!(Locks::from_flags(0), Locks { secure_boot: false, debug: false });
        assert_eq!(Locks::from_flags(1), Locks { secure_boot: true, debug: false });
        assert_eq!(Locks::from_flags(2), Locks { secure_boot: false, debug: true });
        assert_eq!(Locks::from_flags(5), Locks { secure_boot: true, debug: true });
        assert!(Locks::from_flags(0).product().contains("any firmware, debug port open"));
        assert_eq!(Locks::from_flags(5).product(), "Strongroom HSM");
        assert_eq!(&digits(0x0123_4567_89AB_CDEF), b"0123456789ABCDEF");
    }
}
