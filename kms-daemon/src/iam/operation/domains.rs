//! The domain of a Region, for the root of the first account. What counts is who has signed a change, not
//! who hands it over; the device decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::domain::MAX_STATE;
use serde_json::json;

use super::call::Call;
use crate::ceremony::PeerText;
use crate::error::KmsError;
use crate::hex;
use crate::iam::Node;
use crate::iam::error::IamError;

/// Longest ballot, in bytes: a proposal of 4 KiB with eight signatures.
const MAX_BALLOT: usize = 8 * 1024;

pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let region = region(call)?;
    let regions = call.keys.regions();
    let found = regions.domain(region).await?;
    let info = regions.info(region).await?;
    let mut buffer = [0; MAX_STATE];
    let state = found.state.encode(&mut buffer).map_err(KmsError::internal)?;
    let present: Vec<String> = found.present.iter().map(ToString::to_string).collect();
    Ok(Some(Node::Members(vec![
        ("State", Node::from(STANDARD.encode(state))),
        ("Peer", Node::from(PeerText(info).to_string())),
        ("InService", Node::from(present.join(","))),
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

/// The Region that the call is about.
pub(super) fn region<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let region = call.form.required("RegionName")?;
    match call.keys.regions().names().iter().any(|name| name == region) {
        true => Ok(region),
        false => Err(IamError::invalid(format!("{region:?} is no Region that is served here."))),
    }
}
