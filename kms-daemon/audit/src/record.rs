//! The record of a request: members and values of AWS CloudTrail's KMS events.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use super::AuditFacts;
use super::chain::is_within;
use super::facts::KEY;
use host_driver::audit::DeviceReceipt;
use kms_base::error::{Exception, KmsError};
use kms_base::principal::{Principal, PrincipalKind, TemporarySession};
use kms_base::text::bounded;

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
    /// The holder of a credential of an external key store, which acts for the root of its account. The text
    /// is the store's prefix.
    Store(&'a Principal, &'a str),
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

    /// The record in CloudTrail's form, as a tree.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }

    /// Whether no member is nested more deeply than `depth`, the record itself counted.
    pub(super) fn is_within(&self, depth: usize) -> bool {
        let AuditFacts { request_parameters, response_elements, additional, .. } = self.facts;
        let mut members =
            [request_parameters.as_ref(), response_elements.as_ref(), Some(additional)]
                .into_iter()
                .flatten()
                .flat_map(Map::values);
        // All else is flat, or made here: `sessionContext.sessionIssuer.type`, of depth 4.
        depth > 4 && members.all(|value| is_within(value, depth - 2))
    }
}

impl Serialize for RequestRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (text, message) = match self.caller {
            Caller::Verified(_) | Caller::Store(..) => (SHORT, SHORT),
            Caller::Unverified(_) => (CLAIM, CLAIM_MESSAGE),
        };
        let (code, said) = match self.outcome {
            Outcome::Success => (None, None),
            Outcome::Failure(code, said) => (Some(code), said),
        };
        let others = !self.other_accounts().is_empty();
        Members {
            event_version: EVENT_VERSION,
            user_identity: self.user_identity(),
            event_time: event_time(self.completed),
            event_source: self.source,
            event_name: bounded(self.operation, text),
            region: self.region,
            source_ip: self.source_ip,
            user_agent: self.user_agent.map(|agent| bounded(agent, text)),
            error_code: code.map(|code| bounded(code, text)),
            error_message: said.map(|said| bounded(said, message)),
            request_parameters: self.request_parameters(),
            response_elements: self.facts.response_elements.as_ref().filter(|_| code.is_none()),
            additional: &self.facts.additional,
            request_id: self.request_id,
            event_id: self.event_id,
            read_only: self.read_only,
            resources: Resources(&self.facts.resources),
            event_type: "AwsApiCall",
            management_event: true,
            event_category: "Management",
            account: self.account,
            shared_id: others.then(|| self.shared_id()),
            tls: self.tls.map(|details| Tls(details, self.host.map(|host| bounded(host, text)))),
        }
        .serialize(serializer)
    }
}

/// The members of a record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    event_version: &'static str,
    user_identity: Identity<'a>,
    event_time: String,
    event_source: &'a str,
    event_name: &'a str,
    #[serde(rename = "awsRegion")]
    region: &'a str,
    #[serde(rename = "sourceIPAddress")]
    source_ip: IpAddr,
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    request_parameters: Parameters<'a>,
    response_elements: Option<&'a Map<String, Value>>,
    #[serde(rename = "additionalEventData", skip_serializing_if = "Map::is_empty")]
    additional: &'a Map<String, Value>,
    #[serde(rename = "requestID", serialize_with = "as_text")]
    request_id: Uuid,
    #[serde(rename = "eventID", serialize_with = "as_text")]
    event_id: Uuid,
    read_only: bool,
    resources: Resources<'a>,
    event_type: &'static str,
    management_event: bool,
    event_category: &'static str,
    #[serde(rename = "recipientAccountId")]
    account: &'a str,
    #[serde(rename = "sharedEventID", skip_serializing_if = "Option::is_none")]
    shared_id: Option<Uuid>,
    #[serde(rename = "tlsDetails", skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
}

fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'a> {
    Given(Option<&'a Map<String, Value>>),
    Omitted { omitted: bool },
}

struct Resources<'a>(&'a [super::AuditResource]);

impl Serialize for Resources<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Resource<'a> {
            account_id: &'a str,
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(rename = "ARN")]
            arn: &'a str,
        }
        serializer.collect_seq(self.0.iter().map(|resource| Resource {
            account_id: &resource.account,
            kind: KEY,
            arn: &resource.arn,
        }))
    }
}

/// What is said of the connection, and the host that the client named.
struct Tls<'a>(&'a Value, Option<&'a str>);

impl Serialize for Tls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("clientProvidedHostHeader", &self.1)?;
        map.end()
    }
}

/// `userIdentity`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_context: Option<SessionContext<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionContext<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session_issuer: Option<Issuer<'a>>,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issuer<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: &'a str,
    arn: String,
    account_id: &'a str,
    user_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    creation_date: String,
    mfa_authenticated: &'static str,
}

impl<'a> RequestRecord<'a> {
    fn user_identity(&self) -> Identity<'a> {
        match self.caller {
            Caller::Verified(principal) => Identity::of(principal),
            Caller::Store(principal, prefix) => Identity {
                kind: "ExternalKeyStore",
                principal_id: Some(prefix.to_owned()),
                arn: None,
                account_id: Some(&principal.account),
                access_key_id: Some(&principal.access_key_id),
                user_name: None,
                session_context: None,
            },
            Caller::Unverified(key) => Identity {
                kind: "Unknown",
                principal_id: None,
                arn: None,
                account_id: None,
                access_key_id: key.map(|key| bounded(key, CLAIM)),
                user_name: None,
                session_context: None,
            },
        }
    }

    fn request_parameters(&self) -> Parameters<'a> {
        let parameters = self.facts.request_parameters.as_ref();
        match parameters.is_some_and(|members| size(members) > LONG) {
            true => Parameters::Omitted { omitted: true },
            false => Parameters::Given(parameters),
        }
    }
}

impl<'a> Identity<'a> {
    /// That of a verified caller.
    fn of(principal: &'a Principal) -> Self {
        let issuer = match &principal.kind {
            PrincipalKind::Role(role) => Some(Issuer {
                kind: "Role",
                principal_id: &role.role_id,
                arn: principal.arn(),
                account_id: &principal.account,
                user_name: &role.role,
            }),
            PrincipalKind::Root | PrincipalKind::User(_) => None,
        };
        let context = |session: &'a TemporarySession| SessionContext {
            session_issuer: issuer,
            attributes: Attributes {
                creation_date: event_time(session.issued.into()),
                mfa_authenticated: "false",
            },
            source_identity: session.source_identity.as_deref(),
        };
        Self {
            kind: match &principal.kind {
                PrincipalKind::Root => "Root",
                PrincipalKind::User(_) => "IAMUser",
                PrincipalKind::Role(_) => "AssumedRole",
            },
            principal_id: Some(principal.id()),
            arn: Some(principal.caller_arn()),
            account_id: Some(&principal.account),
            access_key_id: Some(&principal.access_key_id),
            user_name: principal.username(),
            session_context: principal.session.as_ref().map(context),
        }
    }
}

/// Size of an object as JSON, in bytes.
fn size(members: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting never fails, and the names of members are texts.
    let _ = serde_json::to_writer(&mut count, members);
    count.0
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
    fn an_external_key_store_is_not_the_root_it_acts_for() {
        let root = Principal::root("000000000000", "XKSAEXAMPLE");
        let caller = Caller::Store(&root, "partner");
        let record = record(Outcome::Success, caller, &AuditFacts::default());
        let expected = json!({
            "type": "ExternalKeyStore",
            "principalId": "partner",
            "accountId": "000000000000",
            "accessKeyId": "XKSAEXAMPLE",
        });
        assert_eq!(record["userIdentity"], expected);
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
