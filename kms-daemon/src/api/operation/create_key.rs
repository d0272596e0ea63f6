//! `CreateKey`: makes a key. It is durable before the answer.

use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use serde_json::{Value, json};

use super::put_key_policy::accept;
use crate::api::checks::invalid;
use crate::api::development::Chosen;
use crate::api::metadata::key_metadata;
use crate::api::model::create_key::{Input, Output};
use crate::api::model::outputs::KeyMetadata;
use crate::api::{Answer, Call, development, tagging};
use crate::policy::{Attachment, Lookups, NewKey, Subject, Traits};
use kms_audit::member_time;
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;
use kms_keys::KeyRecord;
use kms_keys::catalog::Update;
use kms_keys::document::KeyPolicy;
use kms_keys::multi_region::MultiRegion;
use kms_model::enums::{self, KeyUsageType, MultiRegionKeyType, OriginType};
use kms_model::state::KeyState;

mod external;

pub(super) async fn run(call: &mut Call<'_>, mut input: Input) -> Result<Answer, KmsError> {
    let mut tags = input.tags.take().unwrap_or_default();
    let policy = input.policy.take();
    let chosen = Chosen::take(&mut tags, call.service.development)?;
    let spec = choose_spec(&input)?;
    let usage = input.key_usage.unwrap_or(KeyUsageType::ENCRYPT_DECRYPT);
    if !spec.allows(usage) {
        let (spec, usage) = (spec.name(), usage.name());
        return Err(invalid(format!("KeyUsage {usage} is not compatible with KeySpec {spec}")));
    }
    // Given material is imported material.
    let is_given = chosen.material.is_some();
    let default = if is_given { OriginType::EXTERNAL } else { OriginType::AWS_KMS };
    let origin = input.origin.unwrap_or(default);
    let in_store = check_store(&input, origin)?;
    let xks_key_id = input.xks_key_id.as_deref();
    let asked_bypass = input.bypass_policy_lockout_safety_check;
    let bypass = asked_bypass.unwrap_or(false);
    let description = input.description.clone().unwrap_or_default();
    let tags = tagging::read(tags)?;

    call.facts.parameter("description", description.as_str());
    call.facts.parameter("origin", origin.name());
    call.facts.parameter("keySpec", spec.name());
    call.facts.parameter("customerMasterKeySpec", spec.name());
    call.facts.parameter("keyUsage", usage.name());
    call.facts.parameter("bypassPolicyLockoutSafetyCheck", bypass);
    call.facts.parameter("multiRegion", input.multi_region.unwrap_or(false));
    call.facts.optional_parameter("customKeyStoreId", in_store);
    call.facts.optional_parameter("xksKeyId", xks_key_id);
    call.facts.optional_parameter("policy", policy.as_deref());
    if !tags.is_empty() {
        call.facts.parameter("tags", tagging::audit_value(&tags));
    }
    let multi_region = input.multi_region.unwrap_or(false);
    let new_key = NewKey {
        traits: Traits {
            spec: Some(spec.name()),
            usage: Some(usage.name()),
            origin: Some(origin.name()),
            multi_region: multi_region.then_some(MultiRegionKeyType::PRIMARY),
        },
        tags: &tags,
    };
    let home = call.authorize_new_key(call.home(), new_key, asked_bypass)?;
    // What the device makes for a key in an external key store is a key like any other.
    let (spec, usage, origin) = match in_store {
        None => offered(spec, usage, origin)?,
        Some(_) => offered(spec, usage, OriginType::AWS_KMS)?,
    };
    let external = match in_store {
        None => None,
        Some(store) => {
            let wanted = external::Wanted { store, xks_key_id, spec, multi_region };
            Some(external::find(call, &home, wanted).await?)
        }
    };
    if let Some(id) = chosen.id
        && call.service.catalog().key(&home, id).await?.is_some()
    {
        let text = format!("A key with the id {id} already exists");
        return Err(KmsError::new(Exception::AlreadyExists, text));
    }
    let id = match chosen.id {
        Some(id) if id.device().multi_region != multi_region => {
            return Err(invalid(
                "The chosen key id begins with mrk- exactly for MultiRegion keys.",
            ));
        }
        Some(id) => id,
        None if multi_region => KeyId::random_multi_region(),
        None => KeyId::random(),
    };
    let policy = match policy {
        Some(text) => {
            let bound = call.service.bound(&text).await?;
            let place = Attachment {
                scope: &home,
                arn: &home.key_arn(id),
                subject: Subject::New(new_key),
                lookups: Lookups::NONE,
            };
            accept(&text, &bound, bypass, call.requester(), place)?
        }
        None => KeyPolicy::default_for(&home),
    };

    call.count_key(&home).await?;
    // Imported material is still to come.
    let materials = match origin {
        Origin::EXTERNAL => Vec::new(),
        _ => vec![call.devices().generate_key(&home, id, spec, usage).await?],
    };
    let external = match external {
        Some(place) => Some(place.key(id).await?),
        None => None,
    };
    let state = if materials.is_empty() { KeyState::PendingImport } else { KeyState::Enabled };
    let mut key = KeyRecord {
        id,
        scope: (*home).clone(),
        spec,
        usage,
        origin,
        state,
        description,
        created: call.service.now(),
        deletion: None,
        rotation: None,
        policy,
        tags,
        materials,
        pending: None,
        service: None,
        external,
        multi_region: multi_region.then(|| MultiRegion::new(&*home.region)),
    };
    if let Some(material) = &chosen.material {
        development::check(spec, usage, key.is_external())?;
        key.materials.push(development::import(call, &home, &key, material).await?);
        key.state = KeyState::Enabled;
    }
    if key.external.is_some() {
        external::insert(call, &key).await?;
    } else if call.service.catalog().insert_key(&key).await? == Update::Conflict {
        return Err(KmsError::internal(format!("key id {id} was drawn twice")));
    }
    call.facts.key(&key.scope.account, &key.arn());
    let metadata = key_metadata(&key);
    call.facts.element("keyMetadata", audit_form(&metadata)?);
    Answer::of(&Output { key_metadata: Some(metadata) })
}

/// The key spec, from either of the twin parameters.
fn choose_spec(input: &Input) -> Result<enums::KeySpec, KmsError> {
    let spec = match (input.key_spec, input.customer_master_key_spec) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. \
                 CustomerMasterKeySpec is deprecated.",
            ));
        }
        (Some(spec), None) => spec,
        (None, Some(spec)) => spec.key_spec(),
        (None, None) => enums::KeySpec::SYMMETRIC_DEFAULT,
    };
    if input.key_usage.is_none() && spec != enums::KeySpec::SYMMETRIC_DEFAULT {
        return Err(invalid(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption \
             keys.",
        ));
    }
    Ok(spec)
}

/// The custom key store that the key is to be in.
fn check_store(input: &Input, origin: OriginType) -> Result<Option<&str>, KmsError> {
    let name = origin.name();
    let in_store = matches!(origin, OriginType::AWS_CLOUDHSM | OriginType::EXTERNAL_KEY_STORE);
    if in_store != input.custom_key_store_id.is_some() {
        let rule = if in_store { "is required with" } else { "is not valid with" };
        return Err(invalid(format!("CustomKeyStoreId {rule} Origin {name}.")));
    }
    let external = origin == OriginType::EXTERNAL_KEY_STORE;
    if external != input.xks_key_id.is_some() {
        let rule = if external { "is required with" } else { "is not valid with" };
        return Err(invalid(format!("XksKeyId {rule} Origin {name}.")));
    }
    Ok(input.custom_key_store_id.as_deref())
}

/// Refuses what exists in the API but is not offered here.
fn offered(
    spec: enums::KeySpec,
    usage: KeyUsageType,
    origin: OriginType,
) -> Result<(KeySpec, KeyUsage, Origin), KmsError> {
    let unsupported = |member: &str, name: &str| {
        let text = format!("{member} {name} is not supported by this service.");
        KmsError::new(Exception::UnsupportedOperation, text)
    };
    let origin = origin.device().ok_or_else(|| unsupported("Origin", origin.name()))?;
    if origin == Origin::EXTERNAL && !spec.is_importable() {
        let spec = spec.name();
        return Err(invalid(format!("KeySpec {spec} is not supported for Origin {origin:?}")));
    }
    let spec = spec.device().ok_or_else(|| unsupported("KeySpec", spec.name()))?;
    Ok((spec, usage.device(), origin))
}

/// Metadata as audit records have it: names start in lower case, and dates are text.
pub(super) fn audit_form(metadata: &KeyMetadata<'_>) -> Result<Value, KmsError> {
    let mut form = lower(serde_json::to_value(metadata).map_err(KmsError::internal)?);
    for name in ["creationDate", "deletionDate", "validTo"] {
        if let Some(date) = form.get_mut(name) {
            let time = date.as_f64().and_then(Timestamp::from_epoch_seconds);
            *date = json!(time.map(|time| member_time(time.into())));
        }
    }
    Ok(form)
}

fn lower(value: Value) -> Value {
    let name = |name: String| {
        let mut chars = name.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(n, value)| (name(n), lower(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(lower).collect(),
        other => other,
    }
}
