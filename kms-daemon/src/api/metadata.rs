//! `KeyMetadata`: the description of a key in `CreateKey` and `DescribeKey`.

use std::borrow::Cow;

use hsm_protocol::key_spec::{KeySpec, KeyUsage};

use super::model::outputs::{
    KeyMetadata, MultiRegionConfiguration, MultiRegionKey, XksKeyConfigurationType,
};
use kms_base::identifier::Scope;
use kms_keys::multi_region::MultiRegion;
use kms_keys::{KeyMaterial, KeyRecord, spec};
use kms_model::enums::{ExpirationModelType, KeyManagerType, MultiRegionKeyType};
use kms_model::state::KeyState;

/// Returns the metadata of a key, with exactly the members that its kind and state have.
pub(super) fn key_metadata(key: &KeyRecord) -> KeyMetadata<'_> {
    key_metadata_in(key.state, key)
}

/// As [`key_metadata`], for a key whose `state` is not in its record: a custom key store decides about it, too.
pub(super) fn key_metadata_in(state: KeyState, key: &KeyRecord) -> KeyMetadata<'_> {
    let spec_name = key.spec.aws_name().unwrap_or_default();
    let listed = AlgorithmLists::of(key);
    let regions = key.multi_region.as_ref();
    let manager = match key.service {
        Some(_) => KeyManagerType::AWS,
        None => KeyManagerType::CUSTOMER,
    };
    let mut metadata = KeyMetadata {
        aws_account_id: Some(key.scope.account.as_str().into()),
        key_id: key.id.to_string().into(),
        arn: Some(key.arn().into()),
        creation_date: Some(key.created),
        enabled: Some(state == KeyState::Enabled),
        description: Some(key.description.as_str().into()),
        key_usage: key.usage.aws_name().map(Into::into),
        key_state: Some(state.name().into()),
        origin: key.origin_name().map(Into::into),
        key_manager: Some(manager.name().into()),
        key_spec: Some(spec_name.into()),
        // The deprecated twin gives every name, including those that its type in the model lacks.
        customer_master_key_spec: Some(spec_name.into()),
        multi_region: Some(key.id.device().multi_region),
        deletion_date: key.deletion,
        multi_region_configuration: regions.map(|regions| configuration(key, regions)),
        pending_deletion_window_in_days: regions.and_then(|r| r.window_days).map(i64::from),
        encryption_algorithms: listed.encryption,
        signing_algorithms: listed.signing,
        mac_algorithms: listed.mac,
        key_agreement_algorithms: listed.agreement,
        encapsulation_algorithms: listed.encapsulation,
        ..KeyMetadata::default()
    };
    if key.is_external() && key.has_all_material() {
        let expires = key.materials.iter().filter_map(KeyMaterial::expires).min();
        let model = match expires {
            Some(_) => ExpirationModelType::KEY_MATERIAL_EXPIRES,
            None => ExpirationModelType::KEY_MATERIAL_DOES_NOT_EXPIRE,
        };
        metadata.expiration_model = Some(model.name().into());
        metadata.valid_to = expires;
    }
    if let Some(external) = &key.external {
        metadata.custom_key_store_id = Some(external.store.as_str().into());
        match &external.cluster {
            Some(cluster) => metadata.cloud_hsm_cluster_id = Some(cluster.as_str().into()),
            None => {
                metadata.xks_key_configuration =
                    Some(XksKeyConfigurationType { id: Some(external.id.as_str().into()) });
            }
        }
    } else if key.spec == KeySpec::SYMMETRIC_DEFAULT
        && let Some(material) = key.current_material()
    {
        metadata.current_key_material_id = Some(material.id.to_string().into());
    }
    metadata
}

/// The algorithms that a key may be used with. At most one of the lists is present.
#[derive(Default)]
pub(super) struct AlgorithmLists {
    pub(super) encryption: Option<Vec<Cow<'static, str>>>,
    pub(super) signing: Option<Vec<Cow<'static, str>>>,
    pub(super) mac: Option<Vec<Cow<'static, str>>>,
    pub(super) agreement: Option<Vec<Cow<'static, str>>>,
    pub(super) encapsulation: Option<Vec<Cow<'static, str>>>,
}

impl AlgorithmLists {
    /// Returns the algorithms of a key.
    pub(super) fn of(key: &KeyRecord) -> Self {
        let mut lists = Self::default();
        let list = match key.usage {
            KeyUsage::ENCRYPT_DECRYPT => &mut lists.encryption,
            KeyUsage::SIGN_VERIFY => &mut lists.signing,
            KeyUsage::GENERATE_VERIFY_MAC => &mut lists.mac,
            KeyUsage::KEY_AGREEMENT => &mut lists.agreement,
            KeyUsage::ENCAPSULATE_DECAPSULATE => &mut lists.encapsulation,
            _ => return lists,
        };
        let names = spec::algorithms(key.spec, key.usage);
        *list = names.map(|names| names.into_iter().map(Into::into).collect());
        lists
    }
}

/// Returns `MultiRegionConfiguration`: the Regions of the related keys.
fn configuration(key: &KeyRecord, regions: &MultiRegion) -> MultiRegionConfiguration<'static> {
    let entry = |region: &String| MultiRegionKey {
        arn: Some(Scope::new(&*key.scope.account, region).key_arn(key.id).into()),
        region: Some(region.clone().into()),
    };
    let kind = match key.is_replica() {
        true => MultiRegionKeyType::REPLICA,
        false => MultiRegionKeyType::PRIMARY,
    };
    MultiRegionConfiguration {
        multi_region_key_type: Some(kind.name().into()),
        primary_key: Some(entry(&regions.primary)),
        replica_keys: Some(regions.replicas.iter().map(entry).collect()),
    }
}
