//! The domain of a Region, for the root of the first account. The signatures of a change count, not the
//! caller that delivers it; the device decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::domain::MAX_STATE;
use serde_json::json;

use super::call::Call;
use crate::management::Node;
use kms_base::error::KmsError;
use kms_base::hex;
use kms_ceremony::PeerText;
use kms_installation::report::RewrapReport;
use kms_query::IamError;

/// Longest ballot, in bytes: a proposal of 4 KiB with eight signatures.
const MAX_BALLOT: usize = 8 * 1024;

pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let region = region(call)?;
    let regions = call.keys.regions();
    let found = regions.domain(region).await?;
    let info = regions.info(region).await?;
    // What was counted before a rotation says nothing now.
    let is_of = |report: &RewrapReport| {
        report.region == region && report.active_key == found.state.active_key()
    };
    let rewrap = regions.rewraps().into_iter().find(is_of);
    let rewrap = rewrap.and_then(|report| serde_json::to_value(report).ok());
    let mut buffer = [0; MAX_STATE];
    let state = found.state.encode(&mut buffer).map_err(KmsError::internal)?;
    let present: Vec<String> = found.present.iter().map(ToString::to_string).collect();
    Ok(Some(Node::Members(vec![
        ("State", Node::from(STANDARD.encode(state))),
        ("Peer", Node::from(PeerText(info).to_string())),
        ("InService", Node::from(present.join(","))),
        ("Rewrap", Node::from(rewrap.map(|report| report.to_string()).unwrap_or_default())),
    ])))
}

pub(super) async fn change(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let region = region(call)?;
    let ballot = STANDARD.decode(call.form.required("Ballot")?).ok();
    let ballot = ballot.filter(|ballot| ballot.len() <= MAX_BALLOT);
    let ballot = ballot.ok_or_else(|| IamError::invalid("Ballot is a ballot in Base64."))?;
    let state = call.keys.regions().change_domain(region, ballot).await?;
    let hash = state.hash().map_err(KmsError::internal)?;
    call.element("domain", json!(state.domain.to_string()));
    call.element("version", json!(state.version));
    call.element("state", json!(hex::encode(&hash)));
    Ok(Some(Node::Members(vec![
        ("DomainId", Node::from(state.domain.to_string())),
        ("Version", Node::from(state.version.to_string())),
    ])))
}

/// A backup and its shares, none of which anybody reads who has them but not enough operators.
pub(super) async fn make_recovery(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let engine = call.keys.regions().engine(region(call)?)?;
    let (tag, receipts) = call.trace();
    let (state, set) = engine.make_recovery(tag, receipts).await?;
    call.element("domain", json!(state.domain.to_string()));
    call.element("version", json!(state.version));
    let mut buffer = [0; MAX_STATE];
    let state = state.encode(&mut buffer).map_err(KmsError::internal)?;
    let shares: Vec<u8> = set.shares.iter().flat_map(|share| *share.as_bytes()).collect();
    Ok(Some(Node::Members(vec![
        ("State", Node::from(STANDARD.encode(state))),
        ("Backup", Node::from(STANDARD.encode(&set.backup))),
        ("Shares", Node::from(STANDARD.encode(shares))),
    ])))
}

/// The Region that the call is about.
pub(super) fn region<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let region = call.form.required("RegionName")?;
    match call.keys.regions().names().iter().any(|name| name == region) {
        true => Ok(region),
        false => Err(IamError::invalid(format!("{region:?} is not a Region that is served here."))),
    }
}
