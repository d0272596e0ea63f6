//! Temporary credentials: an access key `ASIA…`, a secret, and a session token with everything
//! about them, which nothing in the store has to remember.
//!
//! ```text
//! Base64 of: version (1) | length of the Region (1) | Region | ciphertext blob | MAC (16)
//! ```
//! The blob is the content in JSON, encrypted by a device of the Region under the system key, bound
//! to the access key id. The MAC, under the key that markers are sealed with, is there so that
//! nothing made up reaches a device.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::Version;
use super::vault::{Opened, Sealed, Trace, Vault};
use crate::credentials::{random_id, random_secret};
use crate::mac::{MAC_SIZE, MacKey};
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Tags;
use kms_base::principal::SessionPolicy;
use kms_query::{Code, IamError};

/// Version of the layout.
const LAYOUT: u8 = 1;
/// What a device encrypts at most, in bytes.
const MAX_CONTENT: usize = 4096;
/// First field of the MAC.
const SUBJECT: &[u8] = b"session-token";

/// What a session token holds. There is no `Debug` of it: it has the secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Content<'c> {
    pub(super) version: Version,
    /// The secret access key: Base64, so that it stands in the JSON as it is.
    pub(super) secret: &'c str,
    pub(super) account: Cow<'c, str>,
    pub(super) subject: Subject,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
    /// The session policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<Cow<'c, str>>,
    /// Managed policies that limit the session as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) managed: Vec<SessionPolicy>,
    /// Tags of the session.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub(super) tags: Tags,
    /// The keys of those that stay with the sessions that come of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) transitive: Vec<String>,
}

/// What narrows a session, and what is said of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras<'e> {
    /// The session policy.
    pub(crate) policy: Option<&'e str>,
    /// Managed policies that limit it as well.
    pub(crate) managed: Vec<SessionPolicy>,
    /// Its tags.
    pub(crate) tags: Tags,
    /// The keys of those that stay with the sessions that come of it.
    pub(crate) transitive: Vec<String>,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Subject {
    /// The owner of this access key; the session ends with the key.
    Key(String),
    /// A session of a role.
    Role {
        /// Name of the role.
        name: String,
        /// Unique id of the role: another role of that name is not meant.
        id: String,
        /// Name of the session.
        session: String,
        /// Who is behind it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_identity: Option<String>,
    },
}

impl Subject {
    /// Who is behind the session, if whoever made it said.
    pub(crate) fn source_identity(&self) -> Option<&str> {
        match self {
            Self::Key(_) => None,
            Self::Role { source_identity, .. } => source_identity.as_deref(),
        }
    }
}

/// Credentials as they are handed out.
pub(crate) struct Temporary {
    pub(crate) access_key_id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) token: Zeroizing<String>,
    /// What of the room for policies and tags is taken, in percent.
    pub(crate) packed: usize,
}

/// Makes credentials.
///
/// # Errors
/// [`Code::PackedPolicyTooLarge`]; [`Code::ServiceUnavailable`] if no device answers now.
pub(super) async fn issue(
    (vault, seal): (&Vault, &MacKey),
    account: &str,
    subject: Subject,
    (issued, expires): (Timestamp, Timestamp),
    extras: Extras<'_>,
    trace: Trace<'_>,
) -> Result<Temporary, IamError> {
    let Extras { policy, managed, tags, transitive } = extras;
    let access_key_id = random_id("ASIA").map_err(KmsError::internal)?;
    let secret = random_secret().map_err(KmsError::internal)?;
    let content = Content {
        version: Version,
        secret: &secret,
        account: account.into(),
        subject,
        issued,
        expires,
        policy: policy.map(Cow::from),
        managed,
        tags,
        transitive,
    };
    let content = serde_json::to_vec(&content).map(Zeroizing::new).map_err(KmsError::internal)?;
    let packed = content.len() * 100 / MAX_CONTENT;
    if content.len() > MAX_CONTENT {
        let text = format!(
            "Packed size of session policies and tags consumes {packed}% of allotted space."
        );
        return Err(IamError::new(Code::PackedPolicyTooLarge, text));
    }
    let sealed = vault.seal(&purpose(&access_key_id), &content, trace).await?;
    let length = u8::try_from(sealed.region.len()).map_err(KmsError::internal)?;
    let mut bytes = vec![LAYOUT, length];
    bytes.extend_from_slice(sealed.region.as_bytes());
    bytes.extend_from_slice(&sealed.blob);
    let mac = seal.mac(&[SUBJECT, access_key_id.as_bytes(), &bytes]);
    bytes.extend_from_slice(&mac);
    let token = Zeroizing::new(BASE64.encode(bytes));
    Ok(Temporary { access_key_id, secret, token, packed })
}

/// Whether a token was made here for this access key.
pub(super) fn is_own(seal: &MacKey, access_key_id: &str, token: &[u8]) -> bool {
    verify(seal, access_key_id, token).is_some()
}

/// Opens a token: a [`Content`] in JSON. `None` if it was not made here for this access key.
///
/// # Errors
/// [`Exception::KeyUnavailable`] if no device can do it now.
pub(super) async fn open(
    (vault, seal): (&Vault, &MacKey),
    access_key_id: &str,
    token: &[u8],
    trace: Trace<'_>,
) -> Result<Option<Opened>, KmsError> {
    let Some(sealed) = verify(seal, access_key_id, token) else { return Ok(None) };
    match vault.open(&purpose(access_key_id), &sealed, trace).await {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.exception() == Exception::InvalidCiphertext => Ok(None),
        Err(error) => Err(error),
    }
}

fn verify(seal: &MacKey, access_key_id: &str, token: &[u8]) -> Option<Sealed> {
    let bytes = BASE64.decode(token).ok()?;
    let (body, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_SIZE)?)?;
    if !seal.verify(&[SUBJECT, access_key_id.as_bytes(), body], mac) {
        return None;
    }
    let [LAYOUT, length, rest @ ..] = body else { return None };
    let (region, blob) = rest.split_at_checked((*length).into())?;
    let region = std::str::from_utf8(region).ok()?.to_owned();
    Some(Sealed { region, blob: blob.to_vec() })
}

fn purpose(access_key_id: &str) -> [(&'static str, &str); 2] {
    [("accessKeyId", access_key_id), ("purpose", "session-token")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_token() {
        let subject = Subject::Role {
            name: "Deploy".to_owned(),
            id: "AROAX".to_owned(),
            session: "s".to_owned(),
            source_identity: None,
        };
        let mut content = Content {
            version: Version,
            secret: "abc/+",
            account: "111122223333".into(),
            subject,
            issued: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            policy: Some("{\"a\":1}".into()),
            managed: Vec::new(),
            tags: Tags::new(),
            transitive: Vec::new(),
        };
        let text = r#"{"version":1,"secret":"abc/+","account":"111122223333","subject":{"role":{"name":"Deploy","id":"AROAX","session":"s"}},"issued":1,"expires":2,"policy":"{\"a\":1}"}"#;
        assert_eq!(serde_json::to_string(&content).unwrap(), text);
        let read: Content<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(read.policy.as_deref(), Some("{\"a\":1}"));

        if let Subject::Role { source_identity, .. } = &mut content.subject {
            *source_identity = Some("ana".to_owned());
        }
        let text = text.replace(r#""session":"s""#, r#""session":"s","sourceIdentity":"ana""#);
        assert_eq!(serde_json::to_string(&content).unwrap(), text);
        let read: Content<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.subject.source_identity(), Some("ana"));

        let arn = "arn:aws:iam::111122223333:policy/p".to_owned();
        content.managed.push(SessionPolicy { arn, id: "ANPAEXAMPLE".to_owned() });
        content.tags.insert("team".to_owned(), "red".to_owned());
        content.transitive.push("team".to_owned());
        let end = r#","managed":[{"arn":"arn:aws:iam::111122223333:policy/p","id":"ANPAEXAMPLE"}],"tags":{"team":"red"},"transitive":["team"]}"#;
        let text = format!("{}{end}", text.strip_suffix('}').unwrap());
        assert_eq!(serde_json::to_string(&content).unwrap(), text);
        let read: Content<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!((&read.tags, &read.transitive), (&content.tags, &content.transitive));

        content.subject = Subject::Key("AKIAX".to_owned());
        (content.managed, content.tags, content.transitive) = Default::default();
        content.policy = None;
        let text = r#"{"version":1,"secret":"abc/+","account":"111122223333","subject":{"key":"AKIAX"},"issued":1,"expires":2}"#;
        assert_eq!(serde_json::to_string(&content).unwrap(), text);
    }
}
