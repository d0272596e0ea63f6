//! The file format of a backup: encrypted and authenticated as a whole under a passphrase (ADR 20). Exports of a
//! store (ADR 42) have the same format with another magic, which the check covers: neither is taken for the other.
//!
//! ```text
//! magic        20  "STRONGROOM BACKUP 1\n", or "STRONGROOM EXPORT 1\n"
//! salt         32  random
//! memory        4  KiB, passes 4, lanes 4: cost of Argon2id, big-endian
//! check        32  HMAC-SHA-256 of all before it
//! chunks           65,536 bytes each, the last one 1 to 65,536, each with a tag of 16 behind it
//! checksum     32  SHA-256 of all before it
//! ```
//! Argon2id (RFC 9106) makes 64 bytes of passphrase and salt: the key of the chunks, and that of
//! the check. Chunks are AES-256-GCM with the number of the chunk and whether it is the last one as
//! IV and the check as additional data (the STREAM construction), so that none can be
//! changed, moved, left out or taken from another backup. The checksum is for whoever has no
//! passphrase: it shows damage, not forgery.

use std::io::{self, Read, Write};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use kms_base::passphrase::{Cost, Passphrase};

/// Bytes of a magic.
const MAGIC: usize = 20;
/// Bytes of a magic before the number of the format.
const FAMILY: usize = 18;
const SALT: usize = 32;
const CHECK: usize = 32;
const CHECKSUM: usize = 32;
const TAG: usize = 16;
const CHUNK: usize = 64 << 10;
/// Bytes before the first chunk.
const HEAD: usize = MAGIC + SALT + 12 + CHECK;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A backup of a data directory.
    Backup,
    /// The records of a store.
    Export,
}

impl Kind {
    const fn magic(self) -> &'static [u8; MAGIC] {
        match self {
            Self::Backup => b"STRONGROOM BACKUP 1\n",
            Self::Export => b"STRONGROOM EXPORT 1\n",
        }
    }

    /// What the magic of any format of the kind begins with.
    fn family(self) -> &'static [u8] {
        &self.magic()[..FAMILY]
    }
}

/// The keys of one backup.
#[derive(Clone)]
struct Keys {
    chunks: Zeroizing<[u8; 32]>,
    head: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn of(passphrase: &Passphrase, salt: &[u8], cost: Cost) -> Result<Self, BackupError> {
        let made = passphrase.long_key(salt, cost)?;
        let mut keys = Self { chunks: Zeroizing::default(), head: Zeroizing::default() };
        keys.chunks.copy_from_slice(&made[..32]);
        keys.head.copy_from_slice(&made[32..]);
        Ok(keys)
    }

    fn check(&self, head: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(&{
            let mut block = [0; 64];
            block[..32].copy_from_slice(&*self.head);
            block.into()
        });
        mac.update(head);
        mac
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.chunks).into())
    }
}

/// The IV of a chunk: its number, and whether it is the last.
fn iv(number: u64, last: bool) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut iv = [0; 12];
    iv[3..11].copy_from_slice(&number.to_be_bytes());
    iv[11] = last.into();
    iv.into()
}

/// Writes a backup.
pub(crate) struct Sealer<W> {
    out: Summed<W>,
    cipher: Aes256Gcm,
    check: [u8; CHECK],
    chunk: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> Sealer<W> {
    /// Begins a backup with a random salt.
    pub(crate) fn begin(out: W, kind: Kind, passphrase: &Passphrase) -> Result<Self, BackupError> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| BackupError::Random(error.to_string()))?;
        Self::begin_with(out, kind, passphrase, salt, Cost::OF_NEW)
    }

    fn begin_with(
        out: W,
        kind: Kind,
        passphrase: &Passphrase,
        salt: [u8; SALT],
        cost: Cost,
    ) -> Result<Self, BackupError> {
        let keys = Keys::of(passphrase, &salt, cost)?;
        let head = [kind.magic().as_slice(), &salt, &cost.to_bytes()].concat();
        let check: [u8; CHECK] = keys.check(&head).finalize().into_bytes().into();
        let mut out = Summed { inner: out, digest: Sha256::new(), bytes: 0 };
        out.write_all(&head)?;
        out.write_all(&check)?;
        let chunk = Zeroizing::new(Vec::with_capacity(CHUNK));
        Ok(Self { out, cipher: keys.cipher(), check, chunk, number: 0 })
    }

    /// Ends the backup; the writer, the bytes written, and the SHA-256 of them all.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64, [u8; 32])> {
        self.seal(true)?;
        let checksum: [u8; CHECKSUM] = self.out.digest.clone().finalize().into();
        self.out.write_all(&checksum)?;
        self.out.flush()?;
        let Summed { inner, digest, bytes } = self.out;
        Ok((inner, bytes, digest.finalize().into()))
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let iv = iv(self.number, last);
        let tag = self
            .cipher
            .encrypt_inout_detached(&iv, &self.check, self.chunk.as_mut_slice().into())
            .map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.out.write_all(&self.chunk)?;
        self.out.write_all(&tag)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is sealed only once more follows: the last one is sealed as such.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sums what passes.
struct Summed<I> {
    inner: I,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads a backup. Nothing that it returns has not been authenticated; that all of it was there is
/// known once it has returned everything.
pub(crate) struct Unsealer<R> {
    from: R,
    cipher: Aes256Gcm,
    check: [u8; CHECK],
    chunk: Zeroizing<Vec<u8>>,
    /// What of the chunk was returned.
    read: usize,
    number: u64,
    /// Bytes of chunks that were not read yet.
    left: u64,
}

impl<R: Read> Unsealer<R> {
    /// Begins to read a backup of `length` bytes.
    pub(crate) fn begin(
        mut from: R,
        length: u64,
        kind: Kind,
        passphrase: &Passphrase,
    ) -> Result<Self, BackupError> {
        let head = read_head(&mut from, length, kind)?;
        let mut cost = [0; 12];
        cost.copy_from_slice(&head[MAGIC + SALT..HEAD - CHECK]);
        let cost = Cost::from_bytes(cost);
        if !cost.is_bounded() {
            return Err(BackupError::Altered(0));
        }
        let (before, given) = head.split_at(HEAD - CHECK);
        let keys = Keys::of(passphrase, &before[MAGIC..MAGIC + SALT], cost)?;
        keys.check(before).verify_slice(given).map_err(|_| BackupError::WrongPassphrase)?;
        let mut check = [0; CHECK];
        check.copy_from_slice(given);
        let left = length - (HEAD + CHECKSUM) as u64;
        let chunk = Zeroizing::default();
        Ok(Self { from, cipher: keys.cipher(), check, chunk, read: 0, number: 0, left })
    }

    /// What no other file has: its check, which depends on its salt.
    pub(crate) const fn name(&self) -> &[u8; CHECK] {
        &self.check
    }

    /// Whether everything was returned.
    pub(crate) fn is_at_end(&self) -> bool {
        self.left == 0 && self.read == self.chunk.len()
    }

    fn next(&mut self) -> io::Result<()> {
        let size = self.left.min((CHUNK + TAG) as u64);
        let last = size == self.left;
        let offset = HEAD as u64 + self.number * (CHUNK + TAG) as u64;
        let altered = || io::Error::new(io::ErrorKind::InvalidData, Altered(offset));
        let length = usize::try_from(size).unwrap_or(0);
        let body = length.checked_sub(TAG).ok_or_else(altered)?;
        self.read = 0;
        self.chunk.clear();
        self.chunk.resize(length, 0);
        let whole = self.from.read_exact(&mut self.chunk);
        let mut tag = [0; TAG];
        tag.copy_from_slice(&self.chunk[body..]);
        self.chunk.truncate(body);
        let opened = self.cipher.decrypt_inout_detached(
            &iv(self.number, last),
            &self.check,
            self.chunk.as_mut_slice().into(),
            &Tag::from(tag),
        );
        if whole.is_err() || opened.is_err() {
            self.chunk.clear();
            whole?;
            return Err(altered());
        }
        self.left -= size;
        self.number += 1;
        Ok(())
    }
}

impl<R: Read> Read for Unsealer<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            if self.left == 0 || bytes.is_empty() {
                return Ok(0);
            }
            self.next()?;
        }
        let there = &self.chunk[self.read..];
        let taken = there.len().min(bytes.len());
        bytes[..taken].copy_from_slice(&there[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

/// A chunk is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("altered at byte {0}")]
pub(crate) struct Altered(pub(crate) u64);

/// Reads and looks at what is before the chunks.
fn read_head(from: &mut impl Read, length: u64, kind: Kind) -> Result<[u8; HEAD], BackupError> {
    let mut head = [0; HEAD];
    if length < (HEAD + TAG + CHECKSUM) as u64 {
        // What is shorter may still show that it is not a backup at all.
        let mut begin = Vec::new();
        from.take(FAMILY as u64).read_to_end(&mut begin)?;
        return Err(match kind.family().starts_with(&begin) {
            true => BackupError::Incomplete,
            false => BackupError::NoBackup,
        });
    }
    from.read_exact(&mut head)?;
    match head {
        head if head.starts_with(kind.magic()) => Ok(head),
        head if head.starts_with(kind.family()) => Err(BackupError::Newer),
        _ => Err(BackupError::NoBackup),
    }
}

/// Compares the checksum, without a passphrase; the SHA-256 of the whole file.
pub(crate) fn compare_checksum(
    mut from: impl Read,
    length: u64,
    kind: Kind,
    progress: &mut dyn FnMut(u64),
) -> Result<[u8; 32], BackupError> {
    let mut digest = Sha256::new();
    digest.update(read_head(&mut from, length, kind)?);
    let mut left = length - (HEAD + CHECKSUM) as u64;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        from.read_exact(&mut buffer[..size])?;
        digest.update(&buffer[..size]);
        left -= size as u64;
        progress(length - left);
    }
    let mut checksum = [0; CHECKSUM];
    from.read_exact(&mut checksum)?;
    let found: [u8; CHECKSUM] = digest.clone().finalize().into();
    if found != checksum {
        return Err(BackupError::Incomplete);
    }
    digest.update(checksum);
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests;
