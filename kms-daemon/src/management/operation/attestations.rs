//! Statements of devices about keys and about themselves, for the root of the account, and what the daemon
//! itself knows about a key's protection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::DeviceId;
use hsm_protocol::attestation::NONCE;
use hsm_protocol::token::KeyToken;

use super::call::Call;
use super::domains::region;
use super::guarded_keys::owned_key;
use crate::engine::Stated;
use crate::management::Node;
use kms_base::error::KmsError;
use kms_base::hex;
use kms_query::IamError;

pub(super) async fn key(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let region = region(call)?;
    let key = owned_key(call, region).await?;
    let nonce = nonce(call)?;
    let regions = call.keys.regions();
    let engine = regions.engine(region)?;
    let (tag, receipts) = call.trace();
    let statement = engine.devices(tag, receipts).attest_key(&key, &nonce).await?;
    let stated = regions.certified(region, statement).await?;
    Ok(Some(told(&stated, Some(key.arn()))))
}

pub(super) async fn device(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let nonce = nonce(call)?;
    let region = region(call)?;
    let device = match call.form.optional("DeviceId") {
        None => None,
        Some(text) => Some(DeviceId(hex::decode(text).ok_or_else(|| {
            IamError::invalid("DeviceId is a device's fingerprint, 32 hexadecimal digits.")
        })?)),
    };
    let regions = call.keys.regions();
    let engine = regions.engine(region)?;
    let (tag, receipts) = call.trace();
    let statement = engine.devices(tag, receipts).attest_device(device, &nonce).await?;
    let stated = regions.certified(region, statement).await?;
    Ok(Some(told(&stated, None)))
}

/// What the key's tokens say. It is the daemon's word: a device attests it.
pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let key = owned_key(call, region(call)?).await?;
    let mut materials = Vec::new();
    for material in key.materials.iter().filter(|material| material.is_present()) {
        let attributes = KeyToken::parse(&material.token).map_err(KmsError::internal)?.attributes;
        let facts = attributes.history.names().map(Node::from);
        let rule = attributes.approval;
        let is_clean = attributes.history.was_never_outside() && !attributes.key.multi_region;
        materials.push(Node::members(vec![
            ("MaterialId", Some(Node::from(material.id.to_string()))),
            ("DomainId", Some(Node::from(attributes.domain.to_string()))),
            ("DomainKey", Some(Node::Number(attributes.domain_key.into()))),
            ("History", Some(Node::List(facts.collect()))),
            ("NeverOutside", Some(Node::Flag(is_clean))),
            ("Approvals", rule.map(|rule| Node::Number(rule.total.into()))),
            ("Officers", rule.map(|rule| Node::Number(rule.officers.into()))),
        ]));
    }
    let named = |name: Option<&str>| Node::from(name.unwrap_or_default());
    Ok(Some(Node::Members(vec![
        ("KeyArn", Node::from(key.arn())),
        ("KeySpec", named(key.spec.aws_name())),
        ("KeyUsage", named(key.usage.aws_name())),
        ("Origin", named(key.origin_name())),
        ("Materials", Node::List(materials)),
    ])))
}

fn told(stated: &Stated, key: Option<String>) -> Node {
    let ca = stated.device_ca.map(|ca| Node::from(hex::encode(&ca.to_bytes())));
    Node::members(vec![
        ("KeyArn", key.map(Node::from)),
        ("DeviceId", Some(Node::from(stated.device.to_string()))),
        ("Statement", Some(Node::from(STANDARD.encode(&stated.statement)))),
        ("Certified", Some(Node::Flag(stated.is_certified))),
        ("DeviceCa", ca),
    ])
}

fn nonce(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let nonce = STANDARD.decode(call.form.required("Nonce")?).ok();
    let nonce = nonce.filter(|nonce| NONCE.contains(&nonce.len()));
    nonce.ok_or_else(|| IamError::invalid("Nonce is 8 to 64 bytes in Base64."))
}
