//! Keys whose every use operators approve: binds the rule, lists waiting requests, and delivers signatures.
//! The signatures count, not the caller; the device decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::OperatorId;
use hsm_protocol::domain::change::Votes;
use hsm_protocol::domain::{MAX_STATE, Rule, Vote};
use hsm_protocol::identity::Signature;
use serde_json::json;

use super::call::{Call, contended, tries};
use super::domains::region;
use crate::engine::{ApprovalEntry, ApprovalId};
use crate::management::Node;
use crate::policy::{Authorized, Ownership, service};
use kms_base::error::KmsError;
use kms_base::hex;
use kms_base::identifier::Scope;
use kms_keys::KeyRecord;
use kms_keys::catalog::Update;
use kms_query::{Code, IamError};

pub(super) async fn require(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let region = region(call)?;
    for _ in tries() {
        let key = owned_key(call, region).await?;
        let rule = Rule { total: number(call, "Approvals")?, officers: number(call, "Officers")? };
        let engine = call.keys.regions().engine(region)?;
        let (tag, receipts) = call.trace();
        let materials = engine.devices(tag, receipts).require_approval(&key, rule).await?;
        let bound = KeyRecord { materials, ..(**key).clone() };
        let replaced = call.keys.catalog().replace_key(&key, &bound).await;
        if replaced.map_err(KmsError::from)? == Update::Applied {
            call.element("keyId", key.arn());
            call.element("approvals", json!(rule.total));
            call.element("officers", json!(rule.officers));
            return Ok(Some(Node::Members(vec![
                ("KeyArn", Node::from(key.arn())),
                ("Approvals", Node::Number(rule.total.into())),
                ("Officers", Node::Number(rule.officers.into())),
            ])));
        }
    }
    Err(contended())
}

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let engine = call.keys.regions().engine(region(call)?)?;
    let all = engine.pending_approvals();
    let seen = all.iter().filter(|entry| may_see(call, entry));
    Ok(Some(Node::Members(vec![("Approvals", Node::List(seen.map(described).collect()))])))
}

/// The request itself: to whoever has sent it, and to the root of the first account.
pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let (region, id) = (region(call)?, id(call)?);
    let all = call.keys.regions().engine(region)?.pending_approvals();
    let found = all.into_iter().find(|entry| entry.id == id && may_see(call, entry));
    let entry = found.ok_or_else(|| {
        let text = "No such request waits for approval here, or it is of somebody else. Send the \
                    request again: the answer names the one to have signed.";
        IamError::new(Code::NoSuchEntity, text)
    })?;
    let state = call.keys.regions().domain(region).await?.state;
    let mut buffer = [0; MAX_STATE];
    let state = state.encode(&mut buffer).map_err(KmsError::internal)?;
    let pending = entry.pending.to_bytes().map_err(KmsError::internal)?;
    let request = zeroize::Zeroizing::new(STANDARD.encode(&*pending));
    Ok(Some(Node::Members(vec![
        ("Approval", described(&entry)),
        ("ToSign", Node::from(STANDARD.encode(entry.pending.asked().message()))),
        ("Request", Node::Secret(request)),
        ("State", Node::from(STANDARD.encode(state))),
    ])))
}

pub(super) async fn submit(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let (region, id) = (region(call)?, id(call)?);
    let votes = votes(call.form.required("Votes")?)?;
    let engine = call.keys.regions().engine(region)?;
    let found = engine.pending_approvals().into_iter().find(|entry| entry.id == id);
    if let Some(entry) = found.filter(|entry| !may_see(call, entry)) {
        let text = format!("The request was sent by {}, who hands it over.", entry.caller);
        return Err(IamError::new(Code::AccessDenied, text));
    }
    let operators: Vec<String> = votes.iter().map(|vote| vote.operator.to_string()).collect();
    let (tag, receipts) = call.trace();
    let entry = engine.devices(tag, receipts).approve(&id, votes).await?;
    let asked = *entry.pending.asked();
    call.element("command", format!("{:?}", asked.opcode));
    call.element("keyMaterialId", asked.material.to_string());
    call.element("operators", json!(operators));
    call.element("caller", entry.caller.as_str());
    Ok(Some(Node::Members(vec![("Approval", described(&entry))])))
}

/// The key that the call is about, of the caller's account or, for the root of the first one, of any.
pub(super) async fn owned_key(
    call: &Call<'_>,
    region: &str,
) -> Result<Authorized<Ownership>, IamError> {
    // Before the key is looked for: nobody else is told whether there is one.
    call.authorize_explanation()?;
    let home = Scope::new(call.account(), region);
    let named = call.form.required("KeyId")?;
    let key = call.keys.key_named(&home, named).await?;
    let action = call.action_name();
    Ok(service::vouched_by_owner(key, call.principal(), &action, &call.iam.account)?)
}

/// Whether the caller has sent the request, or is the root of the first account.
fn may_see(call: &Call<'_>, entry: &ApprovalEntry) -> bool {
    call.principal().caller_arn() == entry.caller || call.authorize_accounts().is_ok()
}

fn described(entry: &ApprovalEntry) -> Node {
    let asked = entry.pending.asked();
    Node::Members(vec![
        ("ApprovalId", Node::from(hex::encode(&entry.id))),
        ("Caller", Node::from(entry.caller.as_str())),
        ("Command", Node::from(format!("{:?}", asked.opcode))),
        ("KeyId", Node::from(format!("{:?}", asked.key))),
        ("DeviceId", Node::from(asked.device.to_string())),
        ("Approvals", Node::Number(asked.rule.total.into())),
        ("Officers", Node::Number(asked.rule.officers.into())),
        ("Approved", Node::Flag(entry.is_approved)),
    ])
}

fn id(call: &Call<'_>) -> Result<ApprovalId, IamError> {
    let text = call.form.required("ApprovalId")?;
    let digits: String = text.chars().filter(|c| *c != '-').take(33).collect();
    hex::decode(&digits)
        .ok_or_else(|| IamError::invalid("ApprovalId is a fingerprint, 32 hexadecimal digits."))
}

fn number(call: &Call<'_>, name: &str) -> Result<u8, IamError> {
    let number = crate::management::check::number(call.form, name, (0, 8))?;
    Ok(u8::try_from(number.unwrap_or(0)).map_err(KmsError::internal)?)
}

/// `OPERATOR:SIGNATURE`, hexadecimal, separated by commas; not yet verified.
pub(crate) fn votes(text: &str) -> Result<Votes, IamError> {
    let vote = |text: &str| {
        let (operator, signature) = text.split_once(':')?;
        let signature = Signature::from_bytes(&hex::decode(signature)?);
        Some(Vote { operator: OperatorId(hex::decode(operator)?), signature })
    };
    let mut votes = Votes::new();
    for part in text.split(',').take(votes.capacity() + 1) {
        let read = vote(part).and_then(|vote| votes.push(vote).ok());
        read.ok_or_else(|| {
            let text =
                "Votes are up to eight of OPERATOR:SIGNATURE in hexadecimal, with commas between.";
            IamError::invalid(text)
        })?;
    }
    Ok(votes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_read_strictly() {
        let one = format!("{}:{}", "0a".repeat(16), "0b".repeat(64));
        let read = |text: &str| votes(text).map(|votes| votes.len()).ok();
        assert_eq!(read(&one), Some(1));
        assert_eq!(read(&[&*one; 8].join(",")), Some(8));
        assert_eq!(read(&[&*one; 9].join(",")), None, "more than a domain has operators");
        for bad in ["", ",", ":", &one[1..], &one[..one.len() - 1], &format!("{one},"), "x:y"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
