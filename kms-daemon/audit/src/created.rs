//! Which keys a log tells of.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::chain::{Kind, Line};
use super::segment::Segment;

/// Operations that make a key.
const MAKING: [&str; 2] = ["CreateKey", "ReplicateKey"];

/// ARNs of keys that may have been made after the store had this revision, and were not destroyed
/// since, in the order of their records. Reads the whole log.
///
/// # Errors
/// If a file cannot be read.
pub fn created_keys(dir: &Path, after: u64) -> io::Result<Vec<String>> {
    let (mut made, mut known) = (Vec::<String>::new(), BTreeSet::new());
    let mut revision = None;
    for segment in Segment::list(dir)? {
        let mut lines = segment.lines()?;
        while let Some(raw) = lines.next()? {
            let Some(line) = raw.line else { continue };
            revision = line.store.map(|mark| mark.revision).or(revision);
            let destroyed = line.record["eventName"] == "DeleteKey";
            if line.kind == Kind::ServiceEvent && destroyed {
                let gone: Vec<&str> = keys(&line).collect();
                made.retain(|arn| !gone.contains(&arn.as_str()));
            }
            // What an earlier release wrote has no marks.
            let later = revision.is_none_or(|revision| revision > after);
            if later && makes_key(&line) {
                made.extend(keys(&line).map(str::to_owned).filter(|arn| known.insert(arn.clone())));
            }
        }
    }
    Ok(made)
}

fn makes_key(line: &Line) -> bool {
    let name = line.record["eventName"].as_str().unwrap_or_default();
    line.kind == Kind::Request
        && MAKING.contains(&name)
        && line.record["eventSource"] == "kms.amazonaws.com"
        && line.record["errorCode"].is_null()
}

fn keys(line: &Line) -> impl Iterator<Item = &str> {
    let resources = line.record["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let keys = resources.iter().filter(|resource| resource["type"] == "AWS::KMS::Key");
    keys.filter_map(|resource| resource["ARN"].as_str())
}
