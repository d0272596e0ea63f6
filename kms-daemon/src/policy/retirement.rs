//! Who may retire a grant.

use kms_keys::document::KeyPolicy;
use std::sync::LazyLock;

use kms_policy::{Grantee, Resource};

use super::{Lookups, Request, RequestAttributes, Requester, denied, engine, how_named};
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_keys::catalog::FoundGrant;
use kms_model::Action;

/// Decides whether a caller may retire a grant on `key`. The key policy has no say in it.
///
/// # Errors
/// `Exception::AccessDenied` unless it is the retiring principal, the account that made the
/// grant, or a grantee who was given [`Action::RetireGrant`], and no policy of the caller's own
/// forbids it. To a caller of another account than the key's it is always the same text.
pub fn authorize_retirement(
    requester: Requester<'_>,
    key: &KeyRecord,
    found: &FoundGrant,
    lookups: &Lookups,
) -> Result<(), KmsError> {
    let (grant, principal, action) = (&found.record, requester.principal, Action::RetireGrant);
    let retiring = grant.retiring.as_ref().and_then(|party| how_named(party, requester));
    let granted =
        how_named(&grant.grantee, requester).filter(|_| grant.terms.operations.contains(&action));
    let issuer = (grant.issuer == principal.account).then_some(match principal.is_root() {
        true => Grantee::Caller,
        false => Grantee::Account,
    });
    let (arn, account) = (key.arn(), key.scope.account.as_str());
    let resource = Resource::Key { arn: &arn, account, policy: Some(SILENT.compiled()) };
    let attributes = RequestAttributes::Grant(grant);
    let request = Request { attributes, lookups, ..Request::on_key(requester, action, key) };
    let reason = "because the grant does not name it as the retiring principal";
    let unnamed = || denied(principal, action, &arn, reason);
    // Nothing allows it but the grant. The decision is made whether the grant names the caller or
    // not, so that the time does not tell other accounts.
    let Err(refusal) = engine::decide(&request, resource) else { return Err(unnamed()) };
    let ways = [retiring, granted, issuer];
    let mut named = ways.iter().flatten();
    if named.clone().any(|grantee| refusal.grantees.contain(*grantee)) {
        return Ok(());
    }
    match named.next() {
        None if !requester.is_foreign_to(&key.scope) => Err(unnamed()),
        _ => Err(refusal.into()),
    }
}

/// A policy that says nothing about grants.
static SILENT: LazyLock<KeyPolicy> = LazyLock::new(KeyPolicy::silent);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};

    use super::*;
    use kms_base::clock::Timestamp;
    use kms_base::error::Exception;
    use kms_base::identifier::{KeyId, Scope, Tags};
    use kms_base::principal::Principal;
    use kms_keys::catalog::Versioned;
    use kms_keys::grant::{Constraints, Party, Terms};
    use kms_keys::{GrantId, GrantRecord};
    use kms_model::state::KeyState;
    use kms_store::Revision;

    fn key() -> KeyRecord {
        let scope = Scope::new("000000000000", "us-east-1");
        KeyRecord {
            id: KeyId::random(),
            policy: KeyPolicy::default_for(&scope),
            scope,
            spec: KeySpec::SYMMETRIC_DEFAULT,
            usage: KeyUsage::ENCRYPT_DECRYPT,
            origin: Origin::AWS_KMS,
            state: KeyState::Enabled,
            description: String::new(),
            created: Timestamp::default(),
            deletion: None,
            rotation: None,
            tags: Tags::new(),
            materials: Vec::new(),
            pending: None,
            multi_region: None,
            service: None,
            external: None,
        }
    }

    #[test]
    fn a_grant_is_retired_by_those_it_names_and_by_its_issuer() {
        let key = key();
        let grant = |retiring: Option<&str>, operations: &[Action]| {
            let value = GrantRecord {
                name: None,
                created: Timestamp::default(),
                grantee: Party::principal("111111111111", "aws").unwrap(),
                retiring: retiring.and_then(|text| Party::principal(text, "aws")),
                issuer: "222222222222".to_owned(),
                terms: Terms {
                    operations: operations.to_vec(),
                    constraints: Constraints::default(),
                },
            };
            FoundGrant {
                scope: key.scope.clone(),
                key: key.id,
                id: GrantId([0; 32]),
                record: Arc::new(Versioned { revision: Revision(1), value }),
            }
        };
        let plain = grant(None, &[Action::Encrypt]);
        let retirable = grant(Some("333333333333"), &[Action::Encrypt]);
        let by_grantee = grant(None, &[Action::Encrypt, Action::RetireGrant]);
        for (account, grant, may) in [
            ("111111111111", &plain, false),
            ("111111111111", &retirable, false),
            ("111111111111", &by_grantee, true),
            ("222222222222", &plain, true),
            ("333333333333", &plain, false),
            ("333333333333", &retirable, true),
            ("000000000000", &retirable, false),
        ] {
            let root = Principal::root(account, "AKIA");
            let decided = authorize_retirement(Requester::root(&root), &key, grant, Lookups::NONE);
            let refused = decided.err().map(|error| error.exception());
            assert_eq!(refused, (!may).then_some(Exception::AccessDenied), "{account}");
        }
    }
}
