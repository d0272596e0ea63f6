//! The record of a request: members and values of AWS CloudTrail's KMS events.

use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use super::AuditFacts;
use super::facts::KEY;
use host_driver::audit::DeviceReceipt;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::{Principal, PrincipalKind};

/// CloudTrail's bound on user agents, error codes and error messages, in bytes.
const SHORT: usize = 1024;
/// Bound on texts of a request that nobody has vouched for, in bytes; a tenth of a record.
const CLAIM: usize = 128;
/// Bound on the error message of such a request, in bytes: it may repeat what was sent.
const CLAIM_MESSAGE: usize = 256;
/// CloudTrail's bound on `requestParameters`, in bytes of JSON.
const LONG: usize = 100 * 1024;

/// The version of CloudTrail's form that records have. What it adds to 1.08, and applies here, are
/// `keyExchange` in `tlsDetails` and the ids of key material.
pub(super) const EVENT_VERSION: &str = "1.11";

/// How records name a refusal by policies.
pub(super) const ACCESS_DENIED: &str = "AccessDenied";

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// A verified identity.
    Verified(&'a Principal),
    /// Authentication failed. The access key id is the one the request named: a claim only.
    Unverified(Option<&'a str>),
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Answered with 200.
    Success,
    /// Refused or failed, with this code and text.
    Failure(&'a str, Option<&'a str>),
}

impl<'a> Outcome<'a> {
    /// A refusal by KMS.
    #[must_use]
    pub fn refused(error: &'a KmsError) -> Self {
        Self::Failure(error_code(error), error.recorded_message())
    }
}

/// One API request, refused ones included.
#[derive(Debug)]
pub struct RequestRecord<'a> {
    /// `requestID`.
    pub request_id: Uuid,
    /// `eventID`.
    pub event_id: Uuid,
    /// `eventSource`, for example `kms.amazonaws.com`.
    pub source: &'a str,
    /// `eventName`: the operation, as far as it is known.
    pub operation: &'a str,
    /// `readOnly`.
    pub read_only: bool,
    /// `userIdentity`.
    pub caller: Caller<'a>,
    /// `awsRegion`.
    pub region: &'a str,
    /// `recipientAccountId`.
    pub account: &'a str,
    /// `sourceIPAddress`.
    pub source_ip: IpAddr,
    /// `userAgent`.
    pub user_agent: Option<&'a str>,
    /// `tlsDetails` except for the host header, if the connection is encrypted.
    pub tls: Option<&'a Value>,
    /// `clientProvidedHostHeader` of `tlsDetails`.
    pub host: Option<&'a str>,
    /// `eventTime`: when the request was completed.
    pub completed: SystemTime,
    /// `errorCode` and `errorMessage`.
    pub outcome: Outcome<'a>,
    /// Whether it was refused because there is no room for its record.
    pub no_room: bool,
    /// What the operation said.
    pub facts: &'a AuditFacts,
}

impl RequestRecord<'_> {
    /// Receipts of the device commands that the request caused.
    #[must_use]
    pub fn receipts(&self) -> &[DeviceReceipt] {
        &self.facts.receipts
    }

    /// The record in CloudTrail's form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut record = Map::new();
        let (text, message) = match self.caller {
            Caller::Verified(_) => (SHORT, SHORT),
            Caller::Unverified(_) => (CLAIM, CLAIM_MESSAGE),
        };
        let mut set = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
        set("eventVersion", json!(EVENT_VERSION));
        set("userIdentity", self.user_identity());
        set("eventTime", json!(event_time(self.completed)));
        set("eventSource", json!(self.source));
        set("eventName", json!(bounded(self.operation, text)));
        set("awsRegion", json!(self.region));
        set("sourceIPAddress", json!(self.source_ip));
        set("userAgent", json!(self.user_agent.map(|agent| bounded(agent, text))));
        let failed = match self.outcome {
            Outcome::Success => false,
            Outcome::Failure(code, said) => {
                set("errorCode", json!(bounded(code, text)));
                if let Some(said) = said {
                    set("errorMessage", json!(bounded(said, message)));
                }
                true
            }
        };
        set("requestParameters", self.request_parameters());
        let elements = self.facts.response_elements.as_ref().filter(|_| !failed);
        set("responseElements", json!(elements));
        if !self.facts.additional.is_empty() {
            set("additionalEventData", json!(self.facts.additional));
        }
        set("requestID", json!(self.request_id.to_string()));
        set("eventID", json!(self.event_id.to_string()));
        set("readOnly", json!(self.read_only));
        set("resources", self.resources());
        set("eventType", json!("AwsApiCall"));
        set("managementEvent", json!(true));
        set("eventCategory", json!("Management"));
        set("recipientAccountId", json!(self.account));
        if !self.other_accounts().is_empty() {
            set("sharedEventID", json!(self.shared_id().to_string()));
        }
        if let Some(tls) = self.tls {
            let mut details = tls.clone();
            details["clientProvidedHostHeader"] = json!(self.host.map(|host| bounded(host, text)));
            set("tlsDetails", details);
        }
        Value::Object(record)
    }

    fn user_identity(&self) -> Value {
        match self.caller {
            Caller::Verified(principal) => verified(principal),
            Caller::Unverified(None) => json!({ "type": "Unknown" }),
            Caller::Unverified(Some(key)) => {
                json!({ "type": "Unknown", "accessKeyId": bounded(key, CLAIM) })
            }
        }
    }

    fn request_parameters(&self) -> Value {
        let Some(parameters) = &self.facts.request_parameters else { return Value::Null };
        let value = Value::Object(parameters.clone());
        if value.to_string().len() > LONG { json!({ "omitted": true }) } else { value }
    }

    fn resources(&self) -> Value {
        let resource = |resource: &super::AuditResource| {
            json!({
                "accountId": resource.account, "type": KEY, "ARN": resource.arn,
            })
        };
        self.facts.resources.iter().map(resource).collect()
    }
}

/// `userIdentity` of a verified caller.
fn verified(principal: &Principal) -> Value {
    let mut identity = json!({
        "type": match &principal.kind {
            PrincipalKind::Root => "Root",
            PrincipalKind::User(_) => "IAMUser",
            PrincipalKind::Role(_) => "AssumedRole",
        },
        "principalId": principal.id(),
        "arn": principal.caller_arn(),
        "accountId": principal.account,
        "accessKeyId": principal.access_key_id,
    });
    if let Some(name) = principal.username() {
        identity["userName"] = json!(name);
    }
    let mut context = Map::new();
    if let PrincipalKind::Role(role) = &principal.kind {
        let issuer = json!({
            "type": "Role",
            "principalId": role.role_id,
            "arn": principal.arn(),
            "accountId": principal.account,
            "userName": role.role,
        });
        context.insert("sessionIssuer".to_owned(), issuer);
    }
    if let Some(session) = &principal.session {
        let issued = event_time(session.issued.into());
        let attributes = json!({ "creationDate": issued, "mfaAuthenticated": "false" });
        context.insert("attributes".to_owned(), attributes);
        if let Some(source) = &session.source_identity {
            context.insert("sourceIdentity".to_owned(), json!(source));
        }
        identity["sessionContext"] = Value::Object(context);
    }
    identity
}

/// CloudTrail records policy denials under another name than the API answers.
fn error_code(error: &KmsError) -> &'static str {
    match error.exception() {
        Exception::AccessDenied => ACCESS_DENIED,
        other => other.code(),
    }
}

/// ISO 8601, UTC, whole seconds.
pub fn event_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
        .unwrap_or_default()
}

/// The form of dates inside of parameters and results: `Aug 10, 2022, 10:38:27 PM`.
pub fn member_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[month repr:short] [day padding:none], [year], [hour repr:12 padding:none]:[minute]:[second] [period]"
        ))
        .unwrap_or_default()
}

/// The longest prefix of at most `limit` bytes.
fn bounded(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use kms_base::clock::Timestamp;
    use kms_base::principal::{RoleSession, TemporarySession, User};

    fn record(outcome: Outcome<'_>, caller: Caller<'_>, facts: &AuditFacts) -> Value {
        RequestRecord {
            request_id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(2),
            source: "kms.amazonaws.com",
            operation: "Encrypt",
            read_only: true,
            caller,
            region: "us-east-1",
            account: "000000000000",
            source_ip: Ipv4Addr::LOCALHOST.into(),
            user_agent: Some("aws-cli/2"),
            tls: None,
            host: None,
            completed: UNIX_EPOCH + Duration::from_millis(1_440_938_160_999),
            outcome,
            no_room: false,
            facts,
        }
        .to_json()
    }

    #[test]
    fn a_successful_request() {
        let mut facts = AuditFacts::default();
        facts.parameter("keyId", "alias/a");
        facts.key("000000000000", "arn:aws:kms:us-east-1:000000000000:key/1");
        facts.key("000000000000", "arn:aws:kms:us-east-1:000000000000:key/1");
        let principal = Principal::root("000000000000", "AKIAEXAMPLE");
        let expected = json!({
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "Root",
                "principalId": "000000000000",
                "arn": "arn:aws:iam::000000000000:root",
                "accountId": "000000000000",
                "accessKeyId": "AKIAEXAMPLE",
            },
            "eventTime": "2015-08-30T12:36:00Z",
            "eventSource": "kms.amazonaws.com",
            "eventName": "Encrypt",
            "awsRegion": "us-east-1",
            "sourceIPAddress": "127.0.0.1",
            "userAgent": "aws-cli/2",
            "requestParameters": { "keyId": "alias/a" },
            "responseElements": null,
            "requestID": "00000000-0000-0000-0000-000000000001",
            "eventID": "00000000-0000-0000-0000-000000000002",
            "readOnly": true,
            "resources": [{
                "accountId": "000000000000",
                "type": "AWS::KMS::Key",
                "ARN": "arn:aws:kms:us-east-1:000000000000:key/1",
            }],
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "eventCategory": "Management",
            "recipientAccountId": "000000000000",
        });
        assert_eq!(record(Outcome::Success, Caller::Verified(&principal), &facts), expected);
    }

    #[test]
    fn a_refused_request() {
        let mut facts = AuditFacts::default();
        facts.element("grantId", "x");
        facts.parameter("description", "d".repeat(LONG));
        let error = KmsError::new(Exception::AccessDenied, "é".repeat(SHORT));
        let principal = Principal::root("000000000000", "AKIA");
        let known = record(Outcome::refused(&error), Caller::Verified(&principal), &facts);
        assert_eq!(known["errorMessage"].as_str().unwrap().len(), SHORT);
        let record = record(Outcome::refused(&error), Caller::Unverified(Some("AKIA")), &facts);
        assert_eq!(record["errorCode"], "AccessDenied");
        assert_eq!(record["errorMessage"].as_str().unwrap().len(), CLAIM_MESSAGE);
        assert_eq!(record["responseElements"], Value::Null);
        assert_eq!(record["requestParameters"], json!({ "omitted": true }));
        assert_eq!(record["userIdentity"], json!({ "type": "Unknown", "accessKeyId": "AKIA" }));
    }

    #[test]
    fn a_user_and_a_session_of_a_role() {
        let facts = AuditFacts::default();
        let (id, path, name) = ("AIDAX".to_owned(), "/".to_owned(), "ana".to_owned());
        let mut caller = Principal::root("000000000000", "AKIAX");
        caller.kind = PrincipalKind::User(User { id, path, name });
        let user = record(Outcome::Success, Caller::Verified(&caller), &facts);
        let expected = json!({
            "type": "IAMUser",
            "principalId": "AIDAX",
            "arn": "arn:aws:iam::000000000000:user/ana",
            "accountId": "000000000000",
            "accessKeyId": "AKIAX",
            "userName": "ana",
        });
        assert_eq!(user["userIdentity"], expected);

        caller.kind = PrincipalKind::Role(RoleSession {
            role_id: "AROAX".to_owned(),
            path: "/team/".to_owned(),
            role: "deploy".to_owned(),
            session: "s1".to_owned(),
        });
        let (issued, expires) = (Timestamp::from_millis(1_440_938_160_000), Timestamp::default());
        let source_identity = Some("ana".to_owned());
        caller.session = Some(TemporarySession {
            issued,
            expires,
            source_identity,
            ..TemporarySession::default()
        });
        let session = record(Outcome::Success, Caller::Verified(&caller), &facts);
        let expected = json!({
            "type": "AssumedRole",
            "principalId": "AROAX:s1",
            "arn": "arn:aws:sts::000000000000:assumed-role/deploy/s1",
            "accountId": "000000000000",
            "accessKeyId": "AKIAX",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAX",
                    "arn": "arn:aws:iam::000000000000:role/team/deploy",
                    "accountId": "000000000000",
                    "userName": "deploy",
                },
                "attributes": {
                    "creationDate": "2015-08-30T12:36:00Z",
                    "mfaAuthenticated": "false",
                },
                "sourceIdentity": "ana",
            },
        });
        assert_eq!(session["userIdentity"], expected);
    }
}
