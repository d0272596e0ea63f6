//! What an operation contributes to its audit record.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use host_driver::audit::DeviceReceipt;
use kms_base::identifier::Scope;

/// Facts about one request that only its operation knows.
///
/// The API fills them in while it works, so that a refused request still says what it was about.
/// Nothing secret may be put here: no plaintext, ciphertext, message, digest, signature, MAC,
/// random bytes, grant token or policy text returned to the caller. The encryption context is
/// logged in the clear, as AWS CloudTrail does.
#[derive(Debug, Default)]
pub struct AuditFacts {
    /// CloudTrail `requestParameters`: lower-camel-case names, defaults filled in. `None` becomes
    /// JSON null.
    pub request_parameters: Option<Map<String, Value>>,
    /// CloudTrail `responseElements`, null for most operations. Dropped when the request fails.
    pub response_elements: Option<Map<String, Value>>,
    /// CloudTrail `additionalEventData`; left out when empty.
    pub additional: Map<String, Value>,
    /// Keys (and aliases) the request was about, in the order CloudTrail lists them.
    pub resources: Vec<AuditResource>,
    /// What the service did by itself in the course of the request; recorded before it.
    pub events: Vec<KeyEvent>,
    /// Receipts of every audited device command that was run, failed ones included.
    pub receipts: Vec<DeviceReceipt>,
}

impl AuditFacts {
    /// Sets one request parameter.
    pub fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.request_parameters.get_or_insert_default().insert(name.to_owned(), value.into());
    }

    /// Sets one request parameter, if it was given.
    pub fn optional_parameter(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.parameter(name, value);
        }
    }

    /// Sets a request parameter of names and values, such as an encryption context, if there are any.
    pub fn pairs(&mut self, name: &str, pairs: &BTreeMap<String, String>) {
        if !pairs.is_empty() {
            let pairs = pairs.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str())));
            self.parameter(name, Value::Object(pairs.collect()));
        }
    }

    /// Sets one response element.
    pub fn element(&mut self, name: &str, value: impl Into<Value>) {
        self.response_elements.get_or_insert_default().insert(name.to_owned(), value.into());
    }

    /// Sets one member of `additionalEventData`.
    pub fn additional(&mut self, name: &str, value: impl Into<Value>) {
        self.additional.insert(name.to_owned(), value.into());
    }

    /// Sets which material of a symmetric key was used, as `member` of `additionalEventData`.
    pub fn material_used(&mut self, member: &str, material: Option<&str>) {
        if let Some(material) = material {
            self.additional(member, material);
        }
    }

    /// Sets the response element `keyId` to the key that was changed, as AWS does also where the API
    /// does not answer it.
    pub fn name_changed_key(&mut self) {
        let named = self.response_elements.as_ref();
        if named.is_some_and(|elements| elements.contains_key("keyId")) {
            return;
        }
        if let Some(arn) = self.first_key().map(str::to_owned) {
            self.element("keyId", arn);
        }
    }

    /// Adds a KMS key to the resources, once.
    pub fn key(&mut self, account: &str, arn: &str) {
        self.resource(account, arn);
    }

    /// Adds an alias to the resources, once.
    pub fn alias(&mut self, account: &str, arn: &str) {
        self.resource(account, arn);
    }

    /// The ARN of the first key among the resources.
    #[must_use]
    pub fn first_key(&self) -> Option<&str> {
        self.resources.iter().find(|resource| resource.is_key()).map(|key| key.arn.as_str())
    }

    fn resource(&mut self, account: &str, arn: &str) {
        if !self.resources.iter().any(|known| known.arn == arn) {
            self.resources.push(AuditResource { account: account.to_owned(), arn: arn.to_owned() });
        }
    }
}

/// What the service did by itself to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// CloudTrail's `eventName`.
    pub name: &'static str,
    /// The key id.
    pub key: String,
    /// Its account and Region.
    pub scope: Scope,
    /// Its ARN.
    pub arn: String,
    /// What else `serviceEventDetails` say.
    pub details: Map<String, Value>,
}

/// CloudTrail's type of the resources of KMS. Aliases have it as well.
pub(super) const KEY: &str = "AWS::KMS::Key";

/// One element of CloudTrail's `resources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditResource {
    /// Account that owns the resource.
    pub account: String,
    /// Full ARN.
    pub arn: String,
}

impl AuditResource {
    /// Whether it is a KMS key.
    #[must_use]
    pub fn is_key(&self) -> bool {
        is_key_arn(&self.arn)
    }
}

/// Whether a resource is a key and no alias. Old records give aliases a type of their own, new ones,
/// as AWS does, that of keys.
pub(super) fn is_key_arn(arn: &str) -> bool {
    !arn.splitn(6, ':').nth(5).is_some_and(|resource| resource.starts_with("alias/"))
}
