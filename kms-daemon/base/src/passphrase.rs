//! Passphrases, and the keys that Argon2id (RFC 9106) makes of them.

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// Shortest passphrase, in bytes.
const SHORTEST: usize = 12;

/// What is made of a passphrase.
pub(crate) type LongKey = Zeroizing<[u8; 64]>;

/// Why a passphrase cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// It is too short to protect anything.
    #[error(
        "the passphrase must have at least {0} bytes in the first line of its file; make one: \
         head -c 24 /dev/urandom | base64"
    )]
    Short(usize),
    /// No key can be made of it.
    #[error("cannot derive keys from the passphrase: {0}")]
    Derivation(String),
}

/// What it costs to try a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Degree of parallelism.
    pub lanes: u32,
}

impl Cost {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, for machines with little memory.
    pub const OF_NEW: Self = Self { memory: 64 << 10, passes: 3, lanes: 4 };
    /// More is not computed for a file that asks for it: 1 GiB, 16 passes, 16 lanes.
    const MOST: Self = Self { memory: 1 << 20, passes: 16, lanes: 16 };

    /// Whether no more is asked for than is computed for any file.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        self.memory <= Self::MOST.memory
            && (1..=Self::MOST.passes).contains(&self.passes)
            && (1..=Self::MOST.lanes).contains(&self.lanes)
            && self.memory >= 8 * self.lanes
    }

    /// Memory, passes and lanes, 4 bytes each, the most significant first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (place, value) in bytes.chunks_mut(4).zip([self.memory, self.passes, self.lanes]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Cost::to_bytes`] has written.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [memory, passes, lanes] = [0, 4, 8]
            .map(|at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        Self { memory, passes, lanes }
    }
}

/// What a backup or an operator's key file is opened with. Zeroised when dropped.
pub struct Passphrase {
    text: Zeroizing<Vec<u8>>,
    /// What was made of it last, and for which salt and cost: it costs a second, and a backup is
    /// read more than once.
    made: Mutex<Option<(Vec<u8>, Cost, LongKey)>>,
}

impl Passphrase {
    /// The first line of a file.
    ///
    /// # Errors
    /// [`PassphraseError::Short`].
    pub fn of_file(content: &[u8]) -> Result<Self, PassphraseError> {
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.len() < SHORTEST {
            true => Err(PassphraseError::Short(SHORTEST)),
            false => Ok(Self { text: line.to_vec().into(), made: Mutex::default() }),
        }
    }

    /// Fills `out` with what Argon2id makes of the passphrase.
    ///
    /// # Errors
    /// [`PassphraseError::Derivation`].
    pub fn derive(&self, salt: &[u8], cost: Cost, out: &mut [u8]) -> Result<(), PassphraseError> {
        argon2id(&self.text, salt, cost, out)
    }

    /// What Argon2id makes of the passphrase, 64 bytes. The last one is kept.
    ///
    /// # Errors
    /// [`PassphraseError::Derivation`].
    pub fn long_key(&self, salt: &[u8], cost: Cost) -> Result<LongKey, PassphraseError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, at, key)) if of == salt && *at == cost => Ok(key.clone()),
            _ => {
                let mut key = Zeroizing::new([0; 64]);
                argon2id(&self.text, salt, cost, &mut *key)?;
                *made = Some((salt.to_vec(), cost, key.clone()));
                Ok(key)
            }
        }
    }
}

fn argon2id(
    passphrase: &[u8],
    salt: &[u8],
    cost: Cost,
    out: &mut [u8],
) -> Result<(), PassphraseError> {
    let failed = |error: argon2::Error| PassphraseError::Derivation(error.to_string());
    let params =
        Params::new(cost.memory, cost.passes, cost.lanes, Some(out.len())).map_err(failed)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, out)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_a_long_first_line() {
        for short in [&b"elevenbytes"[..], b"", b"\nsecond line is not it"] {
            assert!(matches!(Passphrase::of_file(short), Err(PassphraseError::Short(SHORTEST))));
        }
        let trimmed = Passphrase::of_file(b"on windows too\r\nrest").unwrap();
        assert_eq!(&*trimmed.text, b"on windows too");
    }
}
