//! `LookupEvents`: the history of events of the account in the Region, from the audit log.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::call::Call;
use super::trails::{times, trails};
use crate::management::Node;
use kms_audit::{Attribute, Lookup, event_resources, username};
use kms_base::hex;
use kms_base::text::bounded;
use kms_query::{Code, Form, IamError};

/// Most events of a page, and how many there are unless the caller says.
const MAX_RESULTS: usize = 50;
/// How far back the history goes.
const HISTORY: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Longest value that is looked for, in characters.
const MAX_VALUE: usize = 2000;

pub(super) async fn look_up(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let attribute = attribute(call.form)?;
    let (begin, end) = times(call)?;
    let limit = limit(call)?;
    let insights = match call.form.optional("EventCategory") {
        None => false,
        Some("insight") => true,
        Some(_) => {
            let text = "EventCategory is insight.";
            return Err(IamError::new(Code::InvalidEventCategoryException, text));
        }
    };
    let query = query(call);
    let before = match call.form.optional("NextToken") {
        Some(token) => Some(read_token(token, &query)?),
        None => None,
    };
    call.authorize(None)?;
    if insights {
        // Nobody looks for unusual activity here.
        return Ok(Some(Node::Members(vec![("Events", Node::List(Vec::new()))])));
    }
    let oldest = SystemTime::from(call.now()).checked_sub(HISTORY);
    let oldest = oldest.unwrap_or(SystemTime::UNIX_EPOCH);
    let page = trails(call)?
        .look_up(Lookup {
            account: call.account().to_owned(),
            region: call.region().to_owned(),
            attribute,
            since: begin.map_or(oldest, |begin| SystemTime::from(begin).max(oldest)),
            until: end.map(SystemTime::from),
            before,
            limit,
        })
        .await?;
    let events = page.events.iter().map(event).collect();
    let token = page.before.map(|before| {
        Node::from(BASE64.encode(json!({ "before": before, "query": query }).to_string()))
    });
    Ok(Some(Node::members(vec![("Events", Some(Node::List(events))), ("NextToken", token)])))
}

fn event(record: &Value) -> Node {
    let text = |value: &Value| value.as_str().map(Node::from);
    let time = record["eventTime"].as_str();
    let time = time.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let time = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    let resource = |(kind, name): &(&str, &str)| {
        Node::Members(vec![
            ("ResourceType", Node::from(*kind)),
            ("ResourceName", Node::from(*name)),
        ])
    };
    let resources = event_resources(record).iter().map(resource).collect();
    Node::members(vec![
        ("EventId", text(&record["eventID"])),
        ("EventName", text(&record["eventName"])),
        ("ReadOnly", record["readOnly"].as_bool().map(|is| Node::from(is.to_string()))),
        ("AccessKeyId", text(&record["userIdentity"]["accessKeyId"])),
        ("EventTime", time.map(Node::Number)),
        ("EventSource", text(&record["eventSource"])),
        ("Username", username(record).map(Node::from)),
        ("Resources", Some(Node::List(resources))),
        ("CloudTrailEvent", Some(Node::from(record.to_string()))),
    ])
}

fn attribute(form: &Form) -> Result<Option<(Attribute, String)>, IamError> {
    let invalid = |text: String| IamError::new(Code::InvalidLookupAttributesException, text);
    match form.items("LookupAttributes", &["AttributeKey", "AttributeValue"])? {
        0 => return Ok(None),
        1 => {}
        _ => return Err(invalid("LookupAttributes has one item at most.".to_owned())),
    }
    let key = form.required("LookupAttributes.member.1.AttributeKey")?;
    let value = form.required("LookupAttributes.member.1.AttributeValue")?;
    let attribute = Attribute::parse(key).ok_or_else(|| {
        let key = bounded(key, 64);
        invalid(format!("Events cannot be looked up by {key}."))
    })?;
    if !(1..=MAX_VALUE).contains(&value.chars().count()) {
        return Err(invalid(format!("AttributeValue has 1 to {MAX_VALUE} characters.")));
    }
    Ok(Some((attribute, value.to_owned())))
}

fn limit(call: &mut Call<'_>) -> Result<usize, IamError> {
    let Some(text) = call.form.optional("MaxResults") else { return Ok(MAX_RESULTS) };
    let number = text.parse().ok().filter(|number| (1..=MAX_RESULTS).contains(number));
    let number: usize = number.ok_or_else(|| {
        let text = format!("MaxResults is a number from 1 to {MAX_RESULTS}.");
        IamError::new(Code::InvalidMaxResultsException, text)
    })?;
    call.parameter("maxResults", number);
    Ok(number)
}

/// What a query is known by: a page goes on with the same one alone.
fn query(call: &Call<'_>) -> String {
    let mut hash = Sha256::new();
    let names = [
        "LookupAttributes.member.1.AttributeKey",
        "LookupAttributes.member.1.AttributeValue",
        "StartTime",
        "EndTime",
        "EventCategory",
    ];
    let given = names.map(|name| call.form.optional(name).unwrap_or_default());
    for text in [call.account(), call.region()].into_iter().chain(given) {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Where a page begins. A token that was made up begins somewhere else in the same history, which its
/// caller may read anyway.
fn read_token(token: &str, query: &str) -> Result<u64, IamError> {
    let content = BASE64.decode(token).ok();
    let content = content.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let content = content.filter(|content| content["query"] == *query);
    content.and_then(|content| content["before"].as_u64()).ok_or_else(|| {
        let text = "The NextToken is not of this query.";
        IamError::new(Code::InvalidNextTokenException, text)
    })
}
