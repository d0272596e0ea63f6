//! Trails of CloudTrail, which deliver audit records to a bucket, with signed digests.
//!
//! Topics, log groups, keys for the files, tags and trails of an organisation are not offered: a request for them
//! is refused with an error that says so.

use std::sync::Arc;

use super::call::Call;
use crate::management::{Node, check};
use crate::trail::record::{Trail, TrailId};
use crate::trail::{Settings, Trails, identify};
use kms_audit::{event_time, member_time};
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_query::member;
use kms_query::{Code, IamError};

/// Most names of a request.
const MAX_NAMES: usize = 100;
/// How long a digest key is told to be good: there is no end that anybody has planned.
const VALIDITY_DAYS: u32 = 3650;
/// Parameters that ask for what is not here, if they are given at all.
const ABSENT: [&str; 4] =
    ["SnsTopicName", "CloudWatchLogsLogGroupArn", "CloudWatchLogsRoleArn", "KmsKeyId"];

pub(super) async fn create(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let settings = settings(call)?;
    call.form.required("S3BucketName")?;
    let name = call.form.required("Name")?;
    let id = identify(name, call.account(), call.region())?;
    if name.starts_with("arn:") {
        let text = "Name is the name of the trail, not its ARN.";
        return Err(IamError::new(Code::InvalidTrailNameException, text));
    }
    call.authorize(Some(&id.arn()))?;
    let trail = trails(call)?.create(&id, &settings).await?;
    Ok(Some(made(call, &trail)))
}

pub(super) async fn update(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let settings = settings(call)?;
    let id = own(call).await?;
    let trail = trails(call)?.update(&id, &settings).await?;
    Ok(Some(made(call, &trail)))
}

pub(super) async fn delete(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = own(call).await?;
    trails(call)?.delete(&id).await?;
    Ok(None)
}

pub(super) async fn start(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = own(call).await?;
    trails(call)?.start(&id).await?;
    Ok(None)
}

pub(super) async fn stop(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = own(call).await?;
    trails(call)?.stop(&id).await?;
    Ok(None)
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = named(call)?;
    call.authorize(Some(&id.arn()))?;
    let trail = trails(call)?.find(&id).await?;
    Ok(Some(Node::Members(vec![("Trail", described(&trail))])))
}

pub(super) async fn status(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let id = named(call)?;
    call.authorize(Some(&id.arn()))?;
    let (trail, status) = trails(call)?.status(&id).await?;
    let time = |time: Option<Timestamp>| time.map(|time| Node::Number(time.as_millis() / 1000));
    // The members with times as texts are older; AWS answers them still.
    let text = |time: Option<Timestamp>| {
        Node::from(time.map(|time| event_time(time.into())).unwrap_or_default())
    };
    let succeeded = status.attempted.filter(|_| status.error.is_none());
    Ok(Some(Node::members(vec![
        ("IsLogging", Some(Node::Flag(trail.is_logging()))),
        ("LatestDeliveryTime", time(status.delivered)),
        ("LatestDeliveryError", status.error.map(Node::from)),
        ("LatestDigestDeliveryTime", time(status.digest_delivered)),
        ("LatestDigestDeliveryError", status.digest_error.map(Node::from)),
        ("StartLoggingTime", time(trail.started)),
        ("StopLoggingTime", time(trail.stopped)),
        ("LatestDeliveryAttemptTime", Some(text(status.attempted))),
        ("LatestDeliveryAttemptSucceeded", Some(text(succeeded))),
        ("LatestNotificationAttemptTime", Some(text(None))),
        ("LatestNotificationAttemptSucceeded", Some(text(None))),
        ("TimeLoggingStarted", Some(text(trail.started))),
        ("TimeLoggingStopped", Some(text(trail.stopped))),
    ])))
}

pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let names = call.form.list("trailNameList")?;
    check::many("trailNameList", names.len(), MAX_NAMES)?;
    let shadows = flag(call, "includeShadowTrails")?.unwrap_or(true);
    let (account, region) = (call.account(), call.region());
    let named: Vec<TrailId> =
        names.iter().map(|name| identify(name, account, region)).collect::<Result<_, _>>()?;
    call.authorize(None)?;
    let mut found = trails(call)?.seen(account, region).await?;
    found.retain(|trail| {
        let wanted = named.is_empty() || named.contains(&trail.id);
        wanted && (shadows || trail.id.region == region)
    });
    let list = found.iter().map(described).collect();
    Ok(Some(Node::Members(vec![("trailList", Node::List(list))])))
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    if call.form.optional("NextToken").is_some() {
        // All are on one page: an account has five in a Region.
        return Err(IamError::invalid("The NextToken is not one of this service."));
    }
    call.authorize(None)?;
    let found = trails(call)?.of_account(call.account()).await?;
    let item = |trail: &Trail| {
        Node::Members(vec![
            ("TrailARN", Node::from(trail.id.arn())),
            ("Name", Node::from(trail.id.name.as_str())),
            ("HomeRegion", Node::from(trail.id.region.as_str())),
        ])
    };
    Ok(Some(Node::Members(vec![("Trails", Node::List(found.iter().map(item).collect()))])))
}

pub(super) async fn public_keys(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let (begin, end) = times(call)?;
    if call.form.optional("NextToken").is_some() {
        let text = "The NextToken is not one of this service.";
        return Err(IamError::new(Code::InvalidTokenException, text));
    }
    call.authorize(None)?;
    let now = call.now();
    let end = end.unwrap_or(now);
    let begin = begin.unwrap_or(end.min(now));
    let found = trails(call)?.public_key(call.region()).await?;
    let found = found
        .filter(|(_, _, created)| *created <= end && begin <= created.plus_days(VALIDITY_DAYS));
    let key = |(value, fingerprint, created): (String, String, Timestamp)| {
        let until = created.plus_days(VALIDITY_DAYS);
        Node::Members(vec![
            ("Value", Node::from(value)),
            ("ValidityStartTime", Node::Number(created.as_millis() / 1000)),
            ("ValidityEndTime", Node::Number(until.as_millis() / 1000)),
            ("Fingerprint", Node::from(fingerprint)),
        ])
    };
    let keys = found.into_iter().map(key).collect();
    Ok(Some(Node::Members(vec![("PublicKeyList", Node::List(keys))])))
}

/// The trails of the installation.
pub(super) fn trails(call: &Call<'_>) -> Result<Arc<Trails>, IamError> {
    let trails = call.management.trails.as_ref().map(Arc::clone);
    trails.ok_or_else(|| KmsError::internal("there is no log to deliver").into())
}

/// The times of a request, recorded as AWS records them.
///
/// # Errors
/// [`Code::InvalidTimeRangeException`].
pub(super) fn times(
    call: &mut Call<'_>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), IamError> {
    let mut time = |name: &'static str| -> Result<Option<Timestamp>, IamError> {
        let Some(text) = call.form.optional(name) else { return Ok(None) };
        let seconds = text.parse().ok().and_then(Timestamp::from_epoch_seconds);
        let wrong = || IamError::invalid(format!("{name} is a time in seconds since the epoch."));
        let time = seconds.ok_or_else(wrong)?;
        call.parameter(&member(name), member_time(time.into()));
        Ok(Some(time))
    };
    let (begin, end) = (time("StartTime")?, time("EndTime")?);
    if begin.zip(end).is_some_and(|(begin, end)| end < begin) {
        let text = "EndTime is before StartTime.";
        return Err(IamError::new(Code::InvalidTimeRangeException, text));
    }
    Ok((begin, end))
}

/// The trail that a request names.
fn named(call: &Call<'_>) -> Result<TrailId, IamError> {
    identify(call.form.required("Name")?, call.account(), call.region())
}

/// The trail that a request is to change, which its home Region alone does.
async fn own(call: &mut Call<'_>) -> Result<TrailId, IamError> {
    let id = named(call)?;
    call.authorize(Some(&id.arn()))?;
    let elsewhere = match id.region == call.region() {
        false => true,
        true => {
            let all = trails(call)?.of_account(call.account()).await?;
            let shadow = |other: &Trail| other.multi_region && other.id.name == id.name;
            !all.iter().any(|other| other.id == id) && all.iter().any(shadow)
        }
    };
    if elsewhere {
        let text = "A trail is changed in its home Region.";
        return Err(IamError::new(Code::InvalidHomeRegionException, text));
    }
    Ok(id)
}

/// What a request says of a trail.
fn settings(call: &mut Call<'_>) -> Result<Settings, IamError> {
    let unsupported = |name: &str| {
        let text = format!("{name} is not supported by this service.");
        IamError::new(Code::UnsupportedOperationException, text)
    };
    let given = |name: &&&str| call.form.optional(name).is_some_and(|text| !text.is_empty());
    if let Some(name) = ABSENT.iter().find(given) {
        return Err(unsupported(name));
    }
    if call.form.items("TagsList", &["Key", "Value"])? > 0 {
        return Err(unsupported("TagsList"));
    }
    for name in ["IsOrganizationTrail", "RecursiveLogging"] {
        if flag(call, name)? == Some(true) {
            return Err(unsupported(name));
        }
    }
    let text = |name: &str| call.form.optional(name).map(str::to_owned);
    let (bucket, prefix) = (text("S3BucketName"), text("S3KeyPrefix"));
    Ok(Settings {
        bucket,
        prefix,
        multi_region: flag(call, "IsMultiRegionTrail")?,
        global_events: flag(call, "IncludeGlobalServiceEvents")?,
        validation: flag(call, "EnableLogFileValidation")?,
    })
}

/// A truth value if it is given, recorded as one.
fn flag(call: &mut Call<'_>, name: &str) -> Result<Option<bool>, IamError> {
    if call.form.optional(name).is_none() {
        return Ok(None);
    }
    let value = check::flag(call.form, name)?;
    call.parameter(&member(name), value);
    Ok(Some(value))
}

/// What both answer and record say of a trail that was made or changed.
fn made(call: &mut Call<'_>, trail: &Trail) -> Node {
    call.element("name", trail.id.name.as_str());
    call.element("s3BucketName", trail.bucket.as_str());
    if let Some(prefix) = &trail.prefix {
        call.element("s3KeyPrefix", prefix.as_str());
    }
    call.element("includeGlobalServiceEvents", trail.global_events);
    call.element("isMultiRegionTrail", trail.multi_region);
    call.element("trailARN", trail.id.arn());
    call.element("logFileValidationEnabled", trail.validation);
    call.element("isOrganizationTrail", false);
    Node::members(common(trail))
}

fn described(trail: &Trail) -> Node {
    let mut members = common(trail);
    members.push(("HomeRegion", Some(Node::from(trail.id.region.as_str()))));
    members.push(("HasCustomEventSelectors", Some(Node::Flag(false))));
    members.push(("HasInsightSelectors", Some(Node::Flag(false))));
    Node::members(members)
}

fn common(trail: &Trail) -> Vec<(&'static str, Option<Node>)> {
    vec![
        ("Name", Some(Node::from(trail.id.name.as_str()))),
        ("S3BucketName", Some(Node::from(trail.bucket.as_str()))),
        ("S3KeyPrefix", trail.prefix.as_deref().map(Node::from)),
        ("IncludeGlobalServiceEvents", Some(Node::Flag(trail.global_events))),
        ("IsMultiRegionTrail", Some(Node::Flag(trail.multi_region))),
        ("TrailARN", Some(Node::from(trail.id.arn()))),
        ("LogFileValidationEnabled", Some(Node::Flag(trail.validation))),
        ("IsOrganizationTrail", Some(Node::Flag(false))),
    ]
}
