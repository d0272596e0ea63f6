//! AWS managed keys: one for each AWS service, made when its alias is first used.
//!
//! Their rules follow from their policy, which nobody can change: whoever is in the account may
//! look at them. Only the service may use them, and no service calls here.

use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};

use super::Call;
use serde_json::Map;

use crate::policy::{self};
use kms_base::error::KmsError;
use kms_base::identifier::{AliasName, KeyId, Scope, Tags};
use kms_keys::catalog::Update;
use kms_keys::document::KeyPolicy;
use kms_keys::rotation::Schedule;
use kms_keys::{AliasRecord, KeyRecord, Stored};
use kms_model::state::KeyState;

/// Days between rotations.
const PERIOD: u32 = 365;

/// The services that have a key, by the name in its alias; in byte order.
pub(super) const SERVICES: &[&str] = &[
    "acm",
    "backup",
    "codecommit",
    "connect",
    "dms",
    "dynamodb",
    "ebs",
    "elasticfilesystem",
    "es",
    "fsx",
    "glue",
    "kinesis",
    "kinesisvideo",
    "lambda",
    "rds",
    "redshift",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "workspaces",
    "xray",
];

/// The service that an alias belongs to, if there is one.
pub(super) fn service(name: &AliasName) -> Option<&'static str> {
    let service = name.as_str().strip_prefix(kms_base::identifier::alias::RESERVED_PREFIX)?;
    SERVICES.iter().copied().find(|known| *known == service)
}

/// The aliases of AWS managed keys, whether there are such keys yet or not, in byte order.
pub(super) fn aliases() -> impl Iterator<Item = AliasName> {
    let name = |service| format!("{}{service}", kms_base::identifier::alias::RESERVED_PREFIX);
    SERVICES.iter().filter_map(move |service| AliasName::parse(&name(service)))
}

/// Makes the key behind an alias of a service; whoever is first makes it for all.
pub(super) async fn create(
    call: &mut Call<'_>,
    scope: &Scope,
    name: &AliasName,
    service: &str,
) -> Result<Option<Stored<KeyRecord>>, KmsError> {
    let account = policy::service::account_of_managed_key(scope);
    let (spec, usage) = (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let (id, now) = (KeyId::random(), call.service.now());
    let material = call.devices().generate_key(&account, id, spec, usage).await?;
    let key = KeyRecord {
        id,
        scope: scope.clone(),
        spec,
        usage,
        origin: Origin::AWS_KMS,
        state: KeyState::Enabled,
        description: format!("Default key of {service} in this account"),
        created: now,
        deletion: None,
        rotation: Some(Schedule { period_days: PERIOD, next: now.plus_days(PERIOD) }),
        policy: KeyPolicy::managed_for(scope, service),
        tags: Tags::new(),
        materials: vec![material],
        pending: None,
        multi_region: None,
        service: Some(service.to_owned()),
        external: None,
    };
    let alias = AliasRecord { target: id, created: now, updated: now };
    if call.service.catalog().aliases().create_managed(&key, name, &alias).await? == Update::Applied
    {
        call.event("CreateKey", &key, Map::new());
    }
    let Some(alias) = call.service.catalog().aliases().get(scope, name).await? else {
        return Ok(None);
    };
    Ok(call.service.catalog().key(scope, alias.target).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_listed_in_order() {
        assert!(SERVICES.is_sorted());
        assert_eq!(aliases().count(), SERVICES.len());
        for alias in aliases() {
            assert!(service(&alias).is_some_and(|service| alias.as_str().ends_with(service)));
        }
        assert_eq!(service(&AliasName::parse("alias/aws/nothing").unwrap()), None);
        assert_eq!(service(&AliasName::parse("alias/s3").unwrap()), None);
    }
}
