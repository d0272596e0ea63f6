//! Policies that the service writes itself.

use serde_json::{Value, json};

use super::{Bound, KeyPolicy};
use kms_base::identifier::Scope;

impl KeyPolicy {
    /// The policy of a key that is created without one: the account decides.
    #[must_use]
    pub fn default_for(scope: &Scope) -> Self {
        Self::built_in(
            scope,
            &json!({
                "Version": "2012-10-17",
                "Id": "key-default-1",
                "Statement": [{
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": { "AWS": scope.root_arn() },
                    "Action": "kms:*",
                    "Resource": "*",
                }],
            }),
        )
    }

    /// The policy of an AWS managed key: whoever is in the account may use it by its service, and
    /// look at it.
    #[must_use]
    pub fn managed_for(scope: &Scope, service: &str) -> Self {
        Self::built_in(
            scope,
            &json!({
                "Version": "2012-10-17",
                "Id": format!("auto-{service}-1"),
                "Statement": [
                    {
                        "Sid": format!("Allow access through {service} for all principals in the account that are authorized to use it"),
                        "Effect": "Allow",
                        "Principal": { "AWS": "*" },
                        "Action": [
                            "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*",
                            "kms:CreateGrant", "kms:DescribeKey",
                        ],
                        "Resource": "*",
                        "Condition": { "StringEquals": {
                            "kms:CallerAccount": scope.account,
                            "kms:ViaService": format!("{service}.{}.amazonaws.com", scope.region),
                        } },
                    },
                    {
                        "Sid": "Allow direct access to key metadata to the account",
                        "Effect": "Allow",
                        "Principal": { "AWS": scope.root_arn() },
                        "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
                        "Resource": "*",
                    },
                ],
            }),
        )
    }

    /// The policy of a key that is there for show only: it is closed to everybody, and takes as
    /// much to read and to evaluate as the policy that most keys have.
    pub(crate) fn decoy_for(scope: &Scope) -> Self {
        Self::built_in(
            scope,
            &json!({
                "Version": "2012-10-17",
                "Id": "key-default-1",
                "Statement": [{
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Deny",
                    "Principal": { "AWS": ["*", scope.root_arn()] },
                    "Action": "*",
                    "Resource": "*",
                }],
            }),
        )
    }

    /// The policy of a key that no request can be about.
    pub fn closed() -> Self {
        Self::built_in(
            &Scope::new("", ""),
            &json!({
                "Version": "2012-10-17",
                "Statement": { "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*" },
            }),
        )
    }

    /// A policy that says nothing about what grants give.
    pub fn silent() -> Self {
        Self::built_in(
            &Scope::new("", ""),
            &json!({
                "Version": "2012-10-17",
                "Statement": {
                    "Effect": "Deny", "Principal": "*", "Action": "kms:CreateKey", "Resource": "*",
                },
            }),
        )
    }

    fn built_in(scope: &Scope, document: &Value) -> Self {
        let text = format!("{document:#}");
        // Tested with every form of it; the parts that vary are accounts and Regions.
        Self::parse(&text, scope, &Bound::new()).expect("a policy of ours is one")
    }
}
