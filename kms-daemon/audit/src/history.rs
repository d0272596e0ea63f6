//! The history of events: what CloudTrail's `LookupEvents` answers, the newest first, out of the files
//! of the log.
//!
//! A call reads files whole, the last one first, and stops after [`MAX_READ`] bytes: what it has then
//! is a page, and the next call goes on. Memory is that of one line and one page.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::AuditLog;
use super::chain::Kind;
use super::record::event_time;
use super::segment::Segment;

/// Bytes of lines that one call reads, and no more than the rest of the file that they end in.
const MAX_READ: u64 = 64 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A line is not what it was.
    #[error("{path}:{line} is damaged; run `kmsctl audit verify` on its directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// What an event can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `eventID`.
    EventId,
    /// `eventName`: the operation.
    EventName,
    /// `readOnly`.
    ReadOnly,
    /// The name of the user.
    Username,
    /// The type of a resource.
    ResourceType,
    /// The name of a resource.
    ResourceName,
    /// `eventSource`: the service.
    EventSource,
    /// The access key of the caller.
    AccessKeyId,
}

impl Attribute {
    /// The attribute of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "EventId" => Self::EventId,
            "EventName" => Self::EventName,
            "ReadOnly" => Self::ReadOnly,
            "Username" => Self::Username,
            "ResourceType" => Self::ResourceType,
            "ResourceName" => Self::ResourceName,
            "EventSource" => Self::EventSource,
            "AccessKeyId" => Self::AccessKeyId,
            _ => return None,
        })
    }

    fn is(self, record: &Value, wanted: &str) -> bool {
        match self {
            Self::EventId => record["eventID"] == *wanted,
            Self::EventName => record["eventName"] == *wanted,
            Self::ReadOnly => {
                record["readOnly"].as_bool().is_some_and(|is| wanted == is.to_string())
            }
            Self::Username => username(record).is_some_and(|name| name == wanted),
            Self::ResourceType => resources(record).iter().any(|(kind, _)| *kind == wanted),
            Self::ResourceName => resources(record).iter().any(|(_, name)| *name == wanted),
            Self::EventSource => record["eventSource"] == *wanted,
            Self::AccessKeyId => record["userIdentity"]["accessKeyId"] == *wanted,
        }
    }
}

/// What somebody looks for: events of an account in a Region.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// An attribute, and what it has to be.
    pub attribute: Option<(Attribute, String)>,
    /// From this time on.
    pub since: SystemTime,
    /// Until this time, which belongs to it.
    pub until: Option<SystemTime>,
    /// Only lines before this one.
    pub before: Option<u64>,
    /// Most events of a page; at least 1.
    pub limit: usize,
}

/// Events, the newest first.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// The events.
    pub events: Vec<Value>,
    /// The next page has lines before this one; `None` at the end.
    pub before: Option<u64>,
}

impl Lookup {
    fn takes(&self, record: &Value, (since, until): (&str, Option<&str>)) -> bool {
        let time = record["eventTime"].as_str().unwrap_or_default();
        let (account, region) = (&record["recipientAccountId"], &record["awsRegion"]);
        *account == *self.account
            && *region == *self.region
            && time >= since
            && until.is_none_or(|until| time <= until)
            && self
                .attribute
                .as_ref()
                .is_none_or(|(attribute, wanted)| attribute.is(record, wanted))
    }
}

impl AuditLog {
    /// A page of the history. Blocks.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn look_up(&self, lookup: &Lookup) -> Result<Page, HistoryError> {
        self.look_up_reading(lookup, MAX_READ)
    }

    fn look_up_reading(&self, lookup: &Lookup, most: u64) -> Result<Page, HistoryError> {
        let directory = self.directory();
        let list = |source| HistoryError::Read { path: directory.to_owned(), source };
        let (since, until) = (event_time(lookup.since), lookup.until.map(event_time));
        let times = (since.as_str(), until.as_deref());
        let day =
            |time: &str| time.chars().filter(char::is_ascii_digit).take(8).collect::<String>();
        // A record may be written on the day after that of its time.
        let newest = lookup.until.and_then(|until| until.checked_add(DAY)).map(event_time);
        let (oldest, newest) = (day(&since), newest.as_deref().map(day));
        let before = lookup.before.unwrap_or(u64::MAX).min(self.sequence().saturating_add(1));
        let mut page = Page::default();
        let mut read = 0;
        let mut segments = Segment::list(directory).map_err(list)?;
        // No file has lines of two days.
        segments.retain(|segment| segment.first < before && segment.day >= oldest);
        segments.retain(|segment| newest.as_ref().is_none_or(|newest| segment.day <= *newest));
        while let Some(segment) = segments.pop() {
            let room = lookup.limit - page.events.len();
            let (found, more) =
                last_of(&segment, before, room, &mut read, |record| lookup.takes(record, times))?;
            let first = found.front().map(|(sequence, _)| *sequence);
            page.events.extend(found.into_iter().rev().map(|(_, record)| record));
            if page.events.len() == lookup.limit {
                page.before = first.filter(|_| more || !segments.is_empty());
                return Ok(page);
            }
            if read >= most {
                page.before = (!segments.is_empty()).then_some(segment.first);
                return Ok(page);
            }
        }
        Ok(page)
    }
}

/// The last `room` records of a file that are wanted, in order, and whether there are more.
fn last_of(
    segment: &Segment,
    before: u64,
    room: usize,
    read: &mut u64,
    wanted: impl Fn(&Value) -> bool,
) -> Result<(VecDeque<(u64, Value)>, bool), HistoryError> {
    let path = || segment.path.clone();
    let failed = |source| HistoryError::Read { path: path(), source };
    let (mut found, mut more) = (VecDeque::new(), false);
    let mut lines = match segment.lines() {
        // It was removed, or compressed, since it was seen.
        Err(error) if error.kind() == io::ErrorKind::NotFound => segment.compressed().lines(),
        lines => lines,
    }
    .map_err(failed)?;
    while let Some(raw) = lines.next().map_err(failed)? {
        *read = read.saturating_add(u64::try_from(raw.bytes.len()).unwrap_or(u64::MAX));
        let line = match raw.line {
            Some(line) if line.sequence < before => line,
            Some(_) => break,
            // It is being written.
            None if !raw.ended && !segment.is_compressed() => break,
            None => return Err(HistoryError::Damaged { path: path(), line: raw.number }),
        };
        if matches!(line.kind, Kind::Request | Kind::ServiceEvent) && wanted(&line.record) {
            if found.len() == room {
                found.pop_front();
                more = true;
            }
            found.push_back((line.sequence, line.record));
        }
    }
    Ok((found, more))
}

/// Who it was, as the history names them.
pub fn username(record: &Value) -> Option<&str> {
    let identity = &record["userIdentity"];
    match identity["type"].as_str()? {
        "Root" => Some("root"),
        // The name of the session.
        "AssumedRole" => identity["arn"].as_str()?.rsplit('/').next(),
        _ => identity["userName"].as_str(),
    }
}

/// What an event was about: type and name of each.
pub fn resources(record: &Value) -> Vec<(&str, &str)> {
    /// Parameters that name resources: the service, the parameter, the type.
    const NAMED: [(&str, &str, &str); 8] = [
        ("cloudtrail", "name", "AWS::CloudTrail::Trail"),
        ("cloudtrail", "s3BucketName", "AWS::S3::Bucket"),
        ("iam", "userName", "AWS::IAM::User"),
        ("iam", "groupName", "AWS::IAM::Group"),
        ("iam", "roleName", "AWS::IAM::Role"),
        ("iam", "policyArn", "AWS::IAM::Policy"),
        ("iam", "accessKeyId", "AWS::IAM::AccessKey"),
        ("sts", "roleArn", "AWS::IAM::Role"),
    ];
    let listed = record["resources"].as_array().into_iter().flatten();
    let listed = listed.filter_map(|one| Some((one["type"].as_str()?, one["ARN"].as_str()?)));
    let source = record["eventSource"].as_str().unwrap_or_default();
    let service = source.split('.').next().unwrap_or_default();
    let named = NAMED.iter().filter(|(own, _, _)| *own == service);
    let named = named
        .filter_map(|(_, name, kind)| Some((*kind, record["requestParameters"][name].as_str()?)));
    listed.chain(named).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::super::{LogOptions, Policy};
    use super::*;

    fn lookup(limit: usize, before: Option<u64>) -> Lookup {
        Lookup {
            account: "111122223333".to_owned(),
            region: "us-east-1".to_owned(),
            attribute: None,
            since: UNIX_EPOCH,
            until: None,
            before,
            limit,
        }
    }

    /// When the first record was made.
    static BEGIN: LazyLock<SystemTime> =
        LazyLock::new(|| SystemTime::now() - Duration::from_secs(400));

    fn record(number: usize) -> Value {
        json!({
            "eventTime": event_time(*BEGIN + Duration::from_secs(number as u64)),
            "eventSource": "kms.amazonaws.com",
            "eventName": if number.is_multiple_of(10) { "CreateKey" } else { "Encrypt" },
            "eventID": format!("id-{number}"),
            "readOnly": !number.is_multiple_of(10),
            "awsRegion": "us-east-1",
            "recipientAccountId": if number.is_multiple_of(7) { "999999999999" } else { "111122223333" },
            "userIdentity": { "type": "Root", "accessKeyId": "AKIA" },
            "resources": [{ "type": "AWS::KMS::Key", "ARN": format!("arn:{}", number % 3) }],
            "filling": "x".repeat(600),
        })
    }

    async fn log(dir: &std::path::Path) -> AuditLog {
        // Some files.
        let policy = Policy { segment_size: 64 << 10, ..Policy::default() };
        let options = LogOptions { policy, ..LogOptions::default() };
        let (log, _) = AuditLog::open_with(dir, json!({}), options).await.unwrap();
        for number in 0..300 {
            log.append(Kind::Request, &record(number), &[]).await.unwrap();
        }
        log
    }

    fn all(log: &AuditLog, first: Lookup, most: u64) -> (Vec<String>, usize) {
        let (mut ids, mut pages, mut lookup) = (Vec::new(), 0, first);
        loop {
            let page = log.look_up_reading(&lookup, most).unwrap();
            pages += 1;
            assert!(page.events.len() <= lookup.limit);
            ids.extend(page.events.iter().map(|one| one["eventID"].as_str().unwrap().to_owned()));
            let Some(before) = page.before else { return (ids, pages) };
            assert!(lookup.before.is_none_or(|last| before < last), "pages go on");
            lookup.before = Some(before);
        }
    }

    #[tokio::test]
    async fn pages_have_each_event_once_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path()).await;
        let expected: Vec<_> =
            (0..300).rev().filter(|n| n % 7 != 0).map(|number| format!("id-{number}")).collect();
        for limit in [1, 7, 50, 1000] {
            assert_eq!(all(&log, lookup(limit, None), MAX_READ).0, expected, "{limit}");
        }
        // However little one call reads.
        let (ids, pages) = all(&log, lookup(1000, None), 1);
        assert_eq!(ids, expected);
        assert!(pages > 2, "{pages}");
    }

    #[tokio::test]
    async fn events_are_looked_up_by_one_attribute_and_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path()).await;
        let count = |name: &str, value: &str| {
            let attribute = Some((Attribute::parse(name).unwrap(), value.to_owned()));
            all(&log, Lookup { attribute, ..lookup(50, None) }, MAX_READ).0.len()
        };
        let of = |test: fn(usize) -> bool| (0..300).filter(|n| n % 7 != 0 && test(*n)).count();
        assert_eq!(count("EventName", "CreateKey"), of(|n| n % 10 == 0));
        assert_eq!(count("ReadOnly", "true"), of(|n| n % 10 != 0));
        assert_eq!(count("EventId", "id-8"), 1);
        assert_eq!(count("EventId", "id-7"), 0, "another account's");
        assert_eq!(count("Username", "root"), of(|_| true));
        assert_eq!(count("Username", "ana"), 0);
        assert_eq!(count("ResourceName", "arn:2"), of(|n| n % 3 == 2));
        assert_eq!(count("ResourceType", "AWS::KMS::Key"), of(|_| true));
        assert_eq!(count("EventSource", "iam.amazonaws.com"), 0);
        assert_eq!(count("AccessKeyId", "AKIA"), of(|_| true));
        let at = |second| *BEGIN + Duration::from_secs(second);
        let some = Lookup { since: at(10), until: Some(at(12)), ..lookup(50, None) };
        assert_eq!(all(&log, some, MAX_READ).0, ["id-12", "id-11", "id-10"]);
    }

    #[test]
    fn who_it_was_and_what_it_was_about() {
        let session = json!({ "userIdentity": {
            "type": "AssumedRole", "arn": "arn:aws:sts::000000000000:assumed-role/deploy/s1",
        }});
        assert_eq!(username(&session), Some("s1"));
        let user = json!({ "userIdentity": { "type": "IAMUser", "userName": "ana" }});
        assert_eq!(username(&user), Some("ana"));
        let trail = json!({
            "eventSource": "cloudtrail.amazonaws.com",
            "requestParameters": { "name": "main", "s3BucketName": "logs", "userName": "x" },
        });
        let expected = [("AWS::CloudTrail::Trail", "main"), ("AWS::S3::Bucket", "logs")];
        assert_eq!(resources(&trail), expected);
    }
}
