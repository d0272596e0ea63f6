//! The content of an export.
//!
//! ```text
//! length    4  of the header, big-endian
//! header       JSON
//! records      each: length of the key (2), length of the value (4), revision (8), key, value; keys ascend
//! end       2  zeros
//! count     8  records
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{TransferError, is_carried};
use crate::backup::container::{Kind, Sealer, Unsealer, compare_checksum};
use kms_audit::StoreId;
use kms_base::hex;
use kms_base::passphrase::Passphrase;
use kms_store::{Entry, MAX_KEY, MAX_VALUE, Revision};

/// The format that is written and read.
const FORMAT: u32 = 1;
/// Longest header, in bytes.
const LONGEST: u32 = 64 << 10;
const BUFFER: usize = 1 << 20;

/// What an export says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    format: u32,
    /// When it was begun, ISO 8601.
    pub created: String,
    /// Version of the program that made it.
    pub version: String,
    /// Where the records were, for people.
    pub from: String,
    /// The store, if it was a file.
    pub store: Option<StoreId>,
    /// Its revision.
    pub revision: u64,
}

impl Header {
    /// Of a store at a revision.
    #[must_use]
    pub fn new(created: String, from: String, store: Option<StoreId>, revision: Revision) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, created, version, from, store, revision: revision.0 }
    }

    fn write(&self, to: &mut impl Write) -> Result<(), TransferError> {
        let impossible = || TransferError::Content("its header is too long".to_owned());
        let text = serde_json::to_vec(self).map_err(|_| impossible())?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
        to.write_all(&length.ok_or_else(impossible)?.to_be_bytes())?;
        Ok(to.write_all(&text)?)
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self, TransferError> {
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let length = u32::from_be_bytes(array(from)?);
        if length > LONGEST {
            return Err(TransferError::Content("its header is too long".to_owned()));
        }
        let mut text = vec![0; length as usize];
        from.read_exact(&mut text)?;
        let malformed = |error: serde_json::Error| TransferError::Content(error.to_string());
        let Any { format } = serde_json::from_slice(&text).map_err(malformed)?;
        if format > FORMAT {
            return Err(TransferError::Newer);
        }
        serde_json::from_slice(&text).map_err(malformed)
    }
}

/// Writes the content.
pub(super) struct Writer<W: Write> {
    out: W,
    last: Vec<u8>,
    records: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(mut out: W, header: &Header) -> Result<Self, TransferError> {
        header.write(&mut out)?;
        Ok(Self { out, last: Vec::new(), records: 0 })
    }

    /// Adds a record, whose key comes after all before it. Returns its size in the file.
    pub(super) fn put(&mut self, entry: &Entry) -> Result<u64, TransferError> {
        let Entry { key, value, revision } = entry;
        let impossible = |what: &str| TransferError::Content(what.to_owned());
        if *key <= self.last || key.len() > MAX_KEY || value.len() > MAX_VALUE {
            return Err(impossible("a record is out of order or too long"));
        }
        let lengths = (u16::try_from(key.len()), u32::try_from(value.len()));
        let (Ok(key_length), Ok(value_length)) = lengths else {
            return Err(impossible("a record is too long"));
        };
        self.out.write_all(&key_length.to_be_bytes())?;
        self.out.write_all(&value_length.to_be_bytes())?;
        self.out.write_all(&revision.0.to_be_bytes())?;
        self.out.write_all(key)?;
        self.out.write_all(value)?;
        self.last.clone_from(key);
        self.records += 1;
        Ok(14 + (key.len() + value.len()) as u64)
    }

    /// Ends the content; returns the number of records.
    pub(super) fn finish(mut self) -> Result<(W, u64), TransferError> {
        self.out.write_all(&[0; 2])?;
        self.out.write_all(&self.records.to_be_bytes())?;
        Ok((self.out, self.records))
    }
}

/// Reads the records.
pub(super) struct Records<R> {
    from: R,
    last: Vec<u8>,
    records: u64,
    is_done: bool,
}

impl<R: Read> Records<R> {
    pub(super) fn begin(mut from: R) -> Result<(Header, Self), TransferError> {
        let header = Header::read(&mut from)?;
        Ok((header, Self { from, last: Vec::new(), records: 0, is_done: false }))
    }

    /// Returns the next record; `None` once all were read, are as many as they should be, and nothing follows.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TransferError> {
        if self.is_done {
            return Ok(None);
        }
        let impossible = |what: &str| Err(TransferError::Content(what.to_owned()));
        let key_length = usize::from(u16::from_be_bytes(array(&mut self.from)?));
        if key_length == 0 {
            let count = u64::from_be_bytes(array(&mut self.from)?);
            if count != self.records {
                return impossible("it has another number of records than it says");
            }
            if self.from.read(&mut [0])? > 0 {
                return impossible("something follows its records");
            }
            self.is_done = true;
            return Ok(None);
        }
        let value_length = u32::from_be_bytes(array(&mut self.from)?) as usize;
        let revision = Revision(u64::from_be_bytes(array(&mut self.from)?));
        if key_length > MAX_KEY || value_length > MAX_VALUE {
            return impossible("a record is too long");
        }
        let mut key = vec![0; key_length];
        self.from.read_exact(&mut key)?;
        if key <= self.last {
            return impossible("its records are out of order");
        }
        if !is_carried(&key) {
            return impossible("it has a record that does not belong into an export");
        }
        let mut value = vec![0; value_length];
        self.from.read_exact(&mut value)?;
        self.last.clone_from(&key);
        self.records += 1;
        Ok(Some(Entry { key, value: value.into(), revision }))
    }

    pub(super) const fn count(&self) -> u64 {
        self.records
    }
}

fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], TransferError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The content of an export, sealed.
pub(super) fn seal<W: Write>(
    out: W,
    passphrase: &Passphrase,
    header: &Header,
) -> Result<Writer<Sealer<W>>, TransferError> {
    Writer::begin(Sealer::begin(out, Kind::Export, passphrase)?, header)
}

/// An export that is whole and authentic, to its last byte.
pub struct ExportFile<'p> {
    file: File,
    path: PathBuf,
    length: u64,
    passphrase: &'p Passphrase,
    header: Header,
    records: u64,
    sha256: String,
    /// What the container says that no other one says.
    name: [u8; 32],
}

/// The records of a file.
pub(super) type FileRecords<'f> = Records<Unsealer<BufReader<&'f File>>>;

impl<'p> ExportFile<'p> {
    /// Opens an export, and reads all of it: its checksum, what authenticates it, and the order of its records.
    /// `progress` hears of the bytes of the records. Blocks.
    ///
    /// # Errors
    /// [`TransferError`], if anything is not as it was written.
    pub fn open(
        path: &Path,
        passphrase: &'p Passphrase,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, TransferError> {
        let failed = |source| TransferError::File { what: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(TransferError::NoExport);
        }
        let length = about.len();
        let buffered = BufReader::with_capacity(BUFFER, &file);
        let sum = compare_checksum(buffered, length, Kind::Export, &mut |_| {})?;
        file.rewind().map_err(failed)?;
        let unsealer = Unsealer::begin(
            BufReader::with_capacity(BUFFER, &file),
            length,
            Kind::Export,
            passphrase,
        )?;
        let name = *unsealer.name();
        let (header, mut records) = Records::begin(unsealer)?;
        let mut done = 0;
        while let Some(entry) = records.next()? {
            done += (entry.key.len() + entry.value.len()) as u64;
            progress(done.min(length), length);
        }
        let (records, sha256, path) = (records.count(), hex::encode(&sum), path.to_owned());
        Ok(Self { file, path, length, passphrase, header, records, sha256, name })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The number of its records.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.records
    }

    /// Its size, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Its SHA-256, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Reads its records once more. What was put in its place meanwhile is refused.
    pub(super) fn records(&self) -> Result<FileRecords<'_>, TransferError> {
        let mut file = &self.file;
        file.rewind().map_err(|source| TransferError::File {
            what: "read",
            path: self.path.clone(),
            source,
        })?;
        let file = BufReader::with_capacity(BUFFER, file);
        let unsealer = Unsealer::begin(file, self.length, Kind::Export, self.passphrase)?;
        if *unsealer.name() != self.name {
            return Err(TransferError::Altered(0));
        }
        Ok(Records::begin(unsealer)?.1)
    }
}
