//! Conditions on `requestMetadata`, in the policy language of IAM.
//!
//! The policy of a store has the form of an identity policy. Its actions are `kms:DescribeKey`
//! (`GetKeyMetadata`), `kms:Encrypt` and `kms:Decrypt`, its resources are keys of the store. Conditions
//! ask for what AWS KMS has told:
//!
//! | member | condition key |
//! |---|---|
//! | `awsPrincipalArn` | `aws:PrincipalArn` |
//! | `awsSourceVpc`, `awsSourceVpce` | `aws:SourceVpc`, `aws:SourceVpce` |
//! | `kmsViaService` | `kms:ViaService` |
//! | `kmsOperation`, `kmsKeyArn`, `kmsRequestId` | `xks:KmsOperation`, `xks:KmsKeyArn`, `xks:KmsRequestId` |
//!
//! and for time, address, encryption of the connection, Region and account. The value of any other key
//! is unknown, so that a statement that depends on it does not allow, but does deny: a misspelt name
//! opens nothing.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use kms_base::identifier::Scope;
use kms_policy::{
    Action, Caller, ConditionKey, Context, Decision, IdentityPolicy, Name, Policies, Request,
    Resource, Value, authorize,
};

use crate::metadata::RequestMetadata;

/// How a request has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The address of the peer of the connection.
    pub source_ip: IpAddr,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
    /// When it was complete.
    pub received: SystemTime,
}

/// What conditions can ask of a request.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    /// What AWS KMS has told.
    pub metadata: &'a RequestMetadata,
    /// How the request has arrived.
    pub arrival: Arrival,
    /// Account and Region of the store and its keys.
    pub scope: &'a Scope,
}

impl Conditions<'_> {
    /// Whether the policy of a store allows an action on the key with this ARN.
    #[must_use]
    pub fn allowed(&self, policy: &IdentityPolicy, action: Action, key: &str) -> bool {
        let account = self.scope.account.as_str();
        // Identity policies are of users and roles. Nothing here can ask for the name of this one.
        let arn = format!("arn:{}:iam::{account}:user/xks", self.scope.partition());
        let Some(caller) = Caller::user(&arn) else { return false };
        let resource = Resource::Account { arn: Some(key), account };
        let request = Request { caller, action, resource, context: self };
        let policies = Policies { identity: std::slice::from_ref(policy), ..Policies::default() };
        matches!(authorize(&request, &policies), Decision::Allowed(_))
    }

    fn own(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "xks:kmsoperation" => Some(Value::from(&*self.metadata.kms_operation)),
            "xks:kmskeyarn" => self.metadata.kms_key_arn.as_deref().map(Value::from),
            "xks:kmsrequestid" => Some(Value::from(&*self.metadata.kms_request_id)),
            _ => Some(Value::Unknown),
        }
    }
}

impl Context for Conditions<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        let RequestMetadata { aws_principal_arn, aws_source_vpc, aws_source_vpce, .. } =
            self.metadata;
        match key.name() {
            Name::PrincipalArn => aws_principal_arn.as_deref().map(Value::from),
            Name::SourceVpc => aws_source_vpc.as_deref().map(Value::from),
            Name::SourceVpce => aws_source_vpce.as_deref().map(Value::from),
            Name::ViaService => self.metadata.kms_via_service.as_deref().map(Value::from),
            Name::SourceIp => Some(Value::Address(self.arrival.source_ip)),
            Name::SecureTransport => Some(Value::Bool(self.arrival.is_encrypted)),
            Name::CurrentTime | Name::EpochTime => {
                let since = self.arrival.received.duration_since(UNIX_EPOCH).unwrap_or_default();
                Some(Value::Date(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
            }
            Name::RequestedRegion => Some(Value::from(self.scope.region.as_str())),
            Name::ResourceAccount => Some(Value::from(self.scope.account.as_str())),
            Name::Other => self.own(key.parameter()),
            _ => Some(Value::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/1";

    fn allowed(policy: &str, action: Action, metadata: &RequestMetadata) -> bool {
        let scope = Scope::new("000000000000", "us-east-1");
        let arrival =
            Arrival { source_ip: [192, 0, 2, 1].into(), is_encrypted: true, received: UNIX_EPOCH };
        let conditions = Conditions { metadata, arrival, scope: &scope };
        conditions.allowed(&IdentityPolicy::parse(policy).unwrap(), action, KEY)
    }

    fn metadata() -> RequestMetadata {
        RequestMetadata {
            aws_principal_arn: Some("arn:aws:iam::111122223333:role/app".to_owned()),
            kms_operation: "GenerateDataKey".to_owned(),
            kms_key_arn: Some("arn:aws:kms:us-east-1:111122223333:key/2".to_owned()),
            kms_request_id: "r-1".to_owned(),
            kms_via_service: Some("ebs".to_owned()),
            ..RequestMetadata::default()
        }
    }

    fn policy(effect: &str, condition: &str) -> String {
        let all = r#"{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}"#;
        let first = if effect == "Deny" { all.to_owned() + "," } else { String::new() };
        format!(
            r#"{{"Version": "2012-10-17", "Statement": [{first}
            {{"Effect": "{effect}", "Action": "kms:*", "Resource": "*", "Condition": {condition}}}]}}"#
        )
    }

    #[test]
    fn every_member_can_be_asked_for() {
        let told = RequestMetadata {
            aws_source_vpc: Some("vpc-1".to_owned()),
            aws_source_vpce: Some("vpce-1".to_owned()),
            ..metadata()
        };
        for (operator, key, right, wrong) in [
            (
                "ArnLike",
                "aws:PrincipalArn",
                "arn:aws:iam::111122223333:role/*",
                "arn:aws:iam::1:role/*",
            ),
            ("StringEquals", "aws:SourceVpc", "vpc-1", "vpc-2"),
            ("StringEquals", "aws:SourceVpce", "vpce-1", "vpce-2"),
            ("StringEquals", "kms:ViaService", "ebs", "s3"),
            ("StringLike", "xks:KmsOperation", "Generate*", "Decrypt"),
            ("StringEquals", "xks:KmsKeyArn", "arn:aws:kms:us-east-1:111122223333:key/2", "x"),
            ("StringEquals", "xks:KmsRequestId", "r-1", "r-2"),
            ("IpAddress", "aws:SourceIp", "192.0.2.0/24", "198.51.100.0/24"),
            ("Bool", "aws:SecureTransport", "true", "false"),
            ("DateLessThan", "aws:CurrentTime", "2030-01-01T00:00:00Z", "1960-01-01T00:00:00Z"),
        ] {
            let condition = |value: &str| format!(r#"{{"{operator}": {{"{key}": "{value}"}}}}"#);
            for (value, holds) in [(right, true), (wrong, false)] {
                let text = policy("Allow", &condition(value));
                assert_eq!(allowed(&text, Action::Encrypt, &told), holds, "{text}");
                let text = policy("Deny", &condition(value));
                assert_eq!(allowed(&text, Action::Encrypt, &told), !holds, "{text}");
            }
        }
    }

    #[test]
    fn what_nobody_has_told_is_absent() {
        let vpc = r#"{"StringEquals": {"aws:SourceVpc": "vpc-1"}}"#;
        assert!(!allowed(&policy("Allow", vpc), Action::Encrypt, &metadata()));
        let none = r#"{"Null": {"aws:SourceVpc": "true"}}"#;
        assert!(allowed(&policy("Allow", none), Action::Encrypt, &metadata()));
    }

    #[test]
    fn a_key_that_nobody_knows_opens_nothing() {
        for key in ["xks:KmsOperatoin", "aws:username", "kms:EncryptionContext:a", "s3:prefix"] {
            let condition = format!(r#"{{"StringNotEquals": {{"{key}": "x"}}}}"#);
            for effect in ["Allow", "Deny"] {
                let text = policy(effect, &condition);
                assert!(!allowed(&text, Action::Encrypt, &metadata()), "{text}");
            }
        }
    }

    #[test]
    fn actions_and_keys_count() {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement":
                {{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "{KEY}"}}}}"#
        );
        assert!(allowed(&text, Action::Decrypt, &metadata()));
        assert!(!allowed(&text, Action::Encrypt, &metadata()));
        let other = text.replace("key/1", "key/3");
        assert!(!allowed(&other, Action::Decrypt, &metadata()));
    }

    /// The caller of AWS KMS need not be one that has an ARN.
    #[test]
    fn services_have_no_arn() {
        let told =
            RequestMetadata { aws_principal_arn: Some("AWS Internal".to_owned()), ..metadata() };
        let by_arn = r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:*"}}"#;
        assert!(!allowed(&policy("Allow", by_arn), Action::Encrypt, &told));
        let by_text = r#"{"StringEquals": {"aws:PrincipalArn": "AWS Internal"}}"#;
        assert!(allowed(&policy("Allow", by_text), Action::Encrypt, &told));
    }
}
