//! The records for the next files of a trail, read from the log once, in its order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::record::Trail;
use kms_audit::{Item, Reader, Records, Summary, VerifyError, place};

/// Bytes of records after which files are ended, before they are compressed: what is held in memory.
const MAX_BATCH: usize = 16 << 20;

/// A place in the log, from which a trail is delivered.
pub(super) struct Reading {
    reader: Reader,
    /// A record that was read and is for a later batch.
    peeked: Option<(u64, Value)>,
    position: u64,
}

/// Which records a batch may have.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Those of this time and later are of the next interval, `YYYY-MM-DDTHH:MM:SSZ`.
    pub(super) end: String,
    /// The time now: records of the future come of a clock that was wrong, and nobody waits for it.
    pub(super) now: String,
    /// Exactly the lines up to this one: a batch that was begun before.
    pub(super) cut: Option<u64>,
}

/// Files that are to be delivered together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Lines up to this one are in it, or are not of the trail.
    pub(super) to: u64,
    /// By Region: the content, compressed, and the facts about it.
    pub(super) files: Vec<(String, Vec<u8>, Summary)>,
    /// Whether it ended because it got long.
    pub(super) full: bool,
    /// What the log says is missing or damaged.
    pub(super) gaps: Vec<String>,
}

impl Reading {
    /// Behind a line of the log in `directory`.
    pub(super) fn behind(directory: &Path, position: u64) -> Result<Self, VerifyError> {
        let reader = Reader::open(&[directory.to_owned()], None)?.behind(position)?;
        Ok(Self { reader, peeked: None, position })
    }

    /// Where it is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch of a trail. `home` is whose records without account or Region are.
    pub(super) fn batch(
        &mut self,
        trail: &Trail,
        home: (&str, &str),
        limits: &Limits,
    ) -> Result<Batch, VerifyError> {
        let mut batch = Batch { to: self.position, ..Batch::default() };
        let (mut files, mut bytes) = (BTreeMap::<String, Records<Vec<u8>>>::new(), 0);
        let last = limits.cut.unwrap_or(u64::MAX);
        let failed = |source| VerifyError::Read { path: PathBuf::new(), source };
        while let Some((sequence, record)) = self.next(&mut batch.gaps)? {
            let time = record["eventTime"].as_str().unwrap_or_default();
            let later = time >= limits.end.as_str() && time <= limits.now.as_str();
            if sequence > last || (later && limits.cut.is_none()) {
                self.peeked = Some((sequence, record));
                break;
            }
            self.position = sequence;
            batch.to = sequence;
            let Some(region) = region(trail, &record, home) else { continue };
            if !files.contains_key(&region) {
                files.insert(region.clone(), Records::begin(Vec::new()).map_err(failed)?);
            }
            if let Some(file) = files.get_mut(&region) {
                bytes += file.add(&record).map_err(failed)?;
            }
            if bytes >= MAX_BATCH && limits.cut.is_none() {
                batch.full = true;
                break;
            }
        }
        if self.peeked.is_none() && !batch.full {
            // Lines that are not records lie between.
            self.position = self.reader.sequence().min(last).max(self.position);
            batch.to = self.position;
        }
        for (region, file) in files {
            let (content, summary) = file.finish().map_err(failed)?;
            batch.files.push((region, content, summary));
        }
        Ok(batch)
    }

    fn next(&mut self, gaps: &mut Vec<String>) -> Result<Option<(u64, Value)>, VerifyError> {
        if let Some(peeked) = self.peeked.take() {
            return Ok(Some(peeked));
        }
        loop {
            match self.reader.next_item()? {
                Some(Item::Record(record)) => return Ok(Some((self.reader.sequence(), record))),
                Some(Item::Gap(text)) => gaps.push(text),
                None => return Ok(None),
            }
        }
    }
}

/// The Region below which a record is delivered; `None` if it is not of the trail.
fn region(trail: &Trail, record: &Value, home: (&str, &str)) -> Option<String> {
    let (account, region) = place(record, home);
    if account != trail.id.account {
        return None;
    }
    if trail.multi_region || region == trail.id.region {
        return Some(region);
    }
    let source = record["eventSource"].as_str().unwrap_or_default();
    let global = ["iam.amazonaws.com", "sts.amazonaws.com"].contains(&source);
    (trail.global_events && global).then(|| trail.id.region.clone())
}
