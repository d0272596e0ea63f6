//! Policies that the service writes itself.

use serde_json::json;

use super::{
    ActionPattern, Effect, KeyPolicy, Listed, PrincipalPattern, ResourcePattern, Statement,
};
use crate::key::Scope;

impl KeyPolicy {
    /// The policy of a key that is created without one: the account decides.
    #[must_use]
    pub fn default_for(scope: &Scope) -> Self {
        let document = json!({
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [{
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": { "AWS": scope.root_arn() },
                "Action": "kms:*",
                "Resource": "*",
            }],
        });
        Self {
            text: format!("{document:#}"),
            statements: vec![Statement {
                effect: Effect::Allow,
                principals: Listed::Any(vec![PrincipalPattern::Account(scope.account.clone())]),
                actions: Some(Listed::Any(vec![ActionPattern("*".to_owned())])),
                resources: Some(Listed::Any(vec![ResourcePattern::Anything])),
            }],
        }
    }

    /// The policy of an AWS managed key: the account may look at it.
    #[must_use]
    pub fn managed_for(scope: &Scope, service: &str) -> Self {
        const ACTIONS: [&str; 4] = ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"];
        let document = json!({
            "Version": "2012-10-17",
            "Id": format!("auto-{service}-1"),
            "Statement": [{
                "Sid": "Allow direct access to key metadata to the account",
                "Effect": "Allow",
                "Principal": { "AWS": scope.root_arn() },
                "Action": ACTIONS,
                "Resource": "*",
            }],
        });
        let pattern = |action: &&str| ActionPattern(action["kms:".len()..].to_lowercase());
        Self {
            text: format!("{document:#}"),
            statements: vec![Statement {
                effect: Effect::Allow,
                principals: Listed::Any(vec![PrincipalPattern::Account(scope.account.clone())]),
                actions: Some(Listed::Any(ACTIONS.iter().map(pattern).collect())),
                resources: Some(Listed::Any(vec![ResourcePattern::Anything])),
            }],
        }
    }
}
