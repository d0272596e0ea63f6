//! Files of CloudTrail's own form: what programs that read CloudTrail find below an S3 prefix.
//!
//! ```text
//! AWSLogs/ACCOUNT/CloudTrail/REGION/YYYY/MM/DD/ACCOUNT_CloudTrail_REGION_YYYYMMDDTHHmmZ_ID.json.gz
//! {"Records":[…]}
//! ```
//!
//! A file has the records of one account and Region out of one file of the log, and the time of the
//! first of them in its name. Names follow from the log alone, so that delivering a file once more
//! replaces what was delivered by the same, or by more.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::chain::{Kind, Line};
use super::query::Query;
use super::reading::Item;
use super::segment::Segment;
use super::verify::VerifyError;
use kms_base::identifier::is_region;
use kms_base::{durable, hex};

/// Files that are written at the same time: each takes some hundred KiB for its compression.
const OPEN: usize = 16;
/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 20;
/// End of the name of a file.
const SUFFIX: &str = ".json.gz";

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailFile {
    /// Its path, below the directory that it was delivered to.
    pub file: String,
    /// How many records it has.
    pub records: u64,
    /// SHA-256 of it as it stands there, compressed.
    pub sha256: String,
}

/// Account and Region of a record.
pub(crate) type Place = (String, String);

/// What a file of a place will have.
#[derive(Debug)]
struct Content {
    /// `eventTime` of its first record.
    begin: String,
}

/// Writes the records of a file of a log below `target`, those that `wanted` takes; whole and durable
/// when it returns. Records of no account or Region are `home`'s.
///
/// # Errors
/// A failure of the file system, and the file.
pub(super) fn deliver(
    segment: &Segment,
    target: &Path,
    home: (&str, &str),
    wanted: &dyn Fn(&Line) -> bool,
) -> Result<Vec<TrailFile>, (PathBuf, io::Error)> {
    let mut places: BTreeMap<Place, Content> = BTreeMap::new();
    let mut root = String::new();
    records(segment, &mut |line| {
        if root.is_empty() {
            root = line.hash.to_string();
        }
        if wanted(line) {
            let begin = || line.record["eventTime"].as_str().unwrap_or_default().to_owned();
            let place = place(&line.record, home);
            places.entry(place).or_insert_with(|| Content { begin: begin() });
        }
        Ok(())
    })
    .map_err(|error| (segment.path.clone(), error))?;
    let places: Vec<_> = places.into_iter().collect();
    let mut written = Vec::new();
    for some in places.chunks(OPEN) {
        let mut files = BTreeMap::new();
        for (place, content) in some {
            let of = (place.0.as_str(), place.1.as_str());
            let path = PathBuf::from(file_name(of, &content.begin, &root));
            let file = Writing::begin(target, &path).map_err(|error| (path.clone(), error))?;
            files.insert(place.clone(), file);
        }
        records(segment, &mut |line| match files.get_mut(&place(&line.record, home)) {
            Some(file) if wanted(line) => file.content.add(&line.record).map(drop),
            _ => Ok(()),
        })
        .map_err(|error| (target.to_owned(), error))?;
        for file in files.into_values() {
            let path = file.path.clone();
            written.push(file.finish(target).map_err(|error| (path, error))?);
        }
    }
    Ok(written)
}

/// Reads a file, until `visit` returns false; returns whether it was read to its end.
///
/// # Errors
/// [`VerifyError`] if it cannot be opened. That it is damaged is told as a gap.
pub(super) fn read(path: &Path, visit: &mut dyn FnMut(Item) -> bool) -> Result<bool, VerifyError> {
    let file =
        File::open(path).map_err(|source| VerifyError::Read { path: path.to_owned(), source })?;
    let room = Cell::new(MAX_RECORD);
    let bytes = Bounded { inner: BufReader::new(MultiGzDecoder::new(file)), room: &room };
    let mut stopped = false;
    let records = Reading { visit, room: &room, stopped: &mut stopped };
    let mut json = serde_json::Deserializer::from_reader(bytes);
    let outcome = records.deserialize(&mut json).and_then(|()| json.end());
    match outcome {
        _ if stopped => Ok(false),
        Ok(()) => Ok(true),
        Err(error) => Ok(visit(Item::Gap(format!(
            "{}: it is not a complete file in CloudTrail's form: {error}",
            path.display()
        )))),
    }
}

/// The time in the name of a file, `YYYYMMDDTHHmmZ`; `None` if it is not the name of such a file.
pub(super) fn time_of_name(name: &OsStr) -> Option<String> {
    let mut parts = name.to_str()?.strip_suffix(SUFFIX)?.rsplitn(3, '_');
    let (_, time, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let form = time.len() == 14 && time.is_ascii() && time.as_bytes()[8] == b'T';
    (form && rest.contains("_CloudTrail_")).then(|| time.to_owned())
}

/// The records of a file of the log.
fn records(segment: &Segment, take: &mut dyn FnMut(&Line) -> io::Result<()>) -> io::Result<()> {
    let mut lines = segment.lines()?;
    while let Some(raw) = lines.next()? {
        match raw.line {
            Some(line) if matches!(line.kind, Kind::Request | Kind::ServiceEvent) => take(&line)?,
            Some(_) => {}
            // It is being written, or was when the power failed.
            None if !raw.ended && !segment.is_compressed() => {}
            None => {
                let text = format!("line {} of it is damaged", raw.number);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
    Ok(())
}

/// Whose record it is. Both become parts of a path, so they must have their form.
pub fn place(record: &Value, home: (&str, &str)) -> Place {
    let account = record["recipientAccountId"].as_str();
    let account = account.filter(|id| id.len() == 12 && id.bytes().all(|c| c.is_ascii_digit()));
    let region = record["awsRegion"].as_str().filter(|region| is_region(region));
    (account.unwrap_or(home.0).to_owned(), region.unwrap_or(home.1).to_owned())
}

/// `AWSLogs/…` of the records of a place, with a time in its name as events have it,
/// `YYYY-MM-DDTHH:MM:SSZ`. Its last part follows from `root`, which is of these records alone.
pub fn file_name((account, region): (&str, &str), time: &str, root: &str) -> String {
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    let digits = if digits.len() == 14 { digits.as_str() } else { "19700101000000" };
    let (year, month, day, minute) = (&digits[..4], &digits[4..6], &digits[6..8], &digits[8..12]);
    let digest = Sha256::digest(format!("{root} {account} {region}"));
    let letters = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let id: String = digest[..16]
        .iter()
        .map(|byte| char::from(letters[usize::from(*byte) % letters.len()]))
        .collect();
    let name = format!("{account}_CloudTrail_{region}_{year}{month}{day}T{minute}Z_{id}{SUFFIX}");
    format!("AWSLogs/{account}/CloudTrail/{region}/{year}/{month}/{day}/{name}")
}

/// The content of a file, while it is written to `W`.
pub struct Records<W: Write> {
    encoder: BufWriter<GzEncoder<W>>,
    summary: Summary,
    hash: Sha256,
}

/// Facts about the content of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records it has.
    pub(crate) records: u64,
    /// The earliest `eventTime` of them.
    pub oldest: String,
    /// The latest.
    pub newest: String,
    /// SHA-256 of the content before it is compressed, hexadecimal.
    pub sha256: String,
}

impl<W: Write> Records<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(writer: W) -> io::Result<Self> {
        let encoder = BufWriter::new(GzEncoder::new(writer, Compression::default()));
        let mut records = Self { encoder, summary: Summary::default(), hash: Sha256::new() };
        records.write(b"{\"Records\":[")?;
        Ok(records)
    }

    /// Adds a record; how many bytes it took before it is compressed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, record: &Value) -> io::Result<usize> {
        if self.summary.records > 0 {
            self.write(b",")?;
        }
        let text = serde_json::to_vec(record).map_err(io::Error::from)?;
        self.write(&text)?;
        let Summary { records, oldest, newest, .. } = &mut self.summary;
        let time = record["eventTime"].as_str().unwrap_or_default();
        if *records == 0 || time < oldest.as_str() {
            time.clone_into(oldest);
        }
        if time > newest.as_str() {
            time.clone_into(newest);
        }
        *records += 1;
        Ok(text.len())
    }

    /// Ends the file, and says what is in it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<(W, Summary)> {
        self.write(b"]}")?;
        let encoder = self.encoder.into_inner().map_err(io::IntoInnerError::into_error)?;
        let sha256 = hex::encode(&self.hash.finalize());
        Ok((encoder.finish()?, Summary { sha256, ..self.summary }))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.encoder.write_all(bytes)
    }
}

/// A file while it is written, under a name of its own.
struct Writing {
    path: PathBuf,
    staged: PathBuf,
    content: Records<File>,
}

impl Writing {
    fn begin(target: &Path, path: &Path) -> io::Result<Self> {
        let full = target.join(path);
        durable::create_private_dir(full.parent().unwrap_or(target))?;
        let mut staged = full.into_os_string();
        staged.push(".new");
        let staged = PathBuf::from(staged);
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&staged)?;
        Ok(Self { path: path.to_owned(), staged, content: Records::begin(file)? })
    }

    fn finish(self, target: &Path) -> io::Result<TrailFile> {
        let (file, summary) = self.content.finish()?;
        file.sync_all()?;
        let full = target.join(&self.path);
        fs::rename(&self.staged, &full)?;
        durable::sync_dir(full.parent().unwrap_or(target))?;
        // Read back, so that the record describes what is really in the file.
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        let mut file = File::open(&full)?;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        Ok(TrailFile {
            file: self.path.to_string_lossy().into_owned(),
            records: summary.records,
            sha256: hex::encode(&hash.finalize()),
        })
    }
}

/// Bytes, of which only so many may come until there is new room.
struct Bounded<'r, R> {
    inner: R,
    room: &'r Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.room.get().checked_sub(u64::try_from(read).unwrap_or(u64::MAX));
        self.room.set(left.ok_or_else(|| io::Error::other("a record is too long"))?);
        Ok(read)
    }
}

/// Hands over each element of `Records` as soon as it is read.
struct Reading<'v> {
    visit: &'v mut dyn FnMut(Item) -> bool,
    room: &'v Cell<u64>,
    stopped: &'v mut bool,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Records")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "Records" {
                found = true;
                map.next_value_seed(Elements(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        match found {
            true => Ok(()),
            false => Err(serde::de::Error::missing_field("Records")),
        }
    }
}

struct Elements<'e, 'v>(&'e mut Reading<'v>);

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(record) = list.next_element::<Value>()? {
            self.0.room.set(MAX_RECORD);
            if !(self.0.visit)(Item::Record(record)) {
                *self.0.stopped = true;
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Writes the records of the log in `directories` below `target` in CloudTrail's form, those that
/// `query` takes; those of no account or Region as those of account 000000000000 in us-east-1. Tells
/// of each file once it is durable.
///
/// # Errors
/// [`VerifyError`] if there is no log, a file of it is damaged, or one cannot be written. What was
/// written is whole.
pub fn export(
    directories: &[PathBuf],
    target: &Path,
    mut query: Query,
    tell: &mut dyn FnMut(TrailFile),
) -> Result<(), VerifyError> {
    let mut segments = Vec::new();
    for directory in directories {
        let read = |source| VerifyError::Read { path: directory.clone(), source };
        segments.extend(Segment::list(directory).map_err(read)?);
    }
    segments.sort_by_key(|segment| segment.first);
    segments.dedup_by_key(|segment| segment.first);
    if segments.is_empty() {
        return Err(VerifyError::NoLog(directories.first().cloned().unwrap_or_default()));
    }
    for segment in segments {
        // The file is read twice, and a query is shown each record once.
        let read = |source| VerifyError::Read { path: segment.path.clone(), source };
        let mut wanted = BTreeSet::new();
        records(&segment, &mut |line| {
            if query.takes(&line.record) {
                wanted.insert(line.sequence);
            }
            Ok(())
        })
        .map_err(read)?;
        let home = ("000000000000", "us-east-1");
        let written = deliver(&segment, target, home, &|line| wanted.contains(&line.sequence));
        let written = written.map_err(|(path, source)| VerifyError::Read { path, source })?;
        written.into_iter().for_each(&mut *tell);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
