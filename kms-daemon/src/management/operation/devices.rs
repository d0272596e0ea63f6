//! Devices of a Region while the daemon runs, for the root of the first account: listed, drained, resumed, added
//! and removed.

use std::sync::Arc;

use serde_json::json;

use super::call::Call;
use super::domains::region;
use crate::management::Node;
use host_driver::pool::MemberError;
use kms_base::error::{Exception, KmsError};
use kms_installation::devices::{ChangeError, DeviceReport, Fleet, report};
use kms_query::{Code, IamError};

/// Longest name or endpoint of a device, in bytes.
const MAX_NAME: usize = 1024;

pub(super) async fn list(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let region = region(call)?;
    let pools = call.keys.regions().pools();
    let pool = pools.into_iter().find(|(name, _)| name == region).map(|(_, pool)| pool);
    let devices = pool.map(|pool| report(region, &pool.health())).unwrap_or_default();
    let shown = devices.into_iter().map(shown).collect();
    Ok(Some(Node::Members(vec![("Devices", Node::List(shown))])))
}

pub(super) async fn drain(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let (region, name, force) = (region(call)?, name(call, "DeviceName")?, force(call)?);
    fleet(call)?.drain(region, name, force).await.map_err(refused)?;
    changed(call, name, "drained");
    Ok(None)
}

pub(super) async fn resume(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let (region, name) = (region(call)?, name(call, "DeviceName")?);
    fleet(call)?.resume(region, name).await.map_err(refused)?;
    changed(call, name, "resumed");
    Ok(None)
}

pub(super) async fn add(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let (region, endpoint) = (region(call)?, name(call, "Endpoint")?);
    let (name, in_service) = fleet(call)?.add(region, endpoint).await.map_err(refused)?;
    changed(call, &name, "added");
    Ok(Some(Node::Members(vec![
        ("DeviceName", Node::from(name)),
        ("InService", Node::Flag(in_service)),
    ])))
}

pub(super) async fn remove(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_accounts()?;
    let (region, name, force) = (region(call)?, name(call, "DeviceName")?, force(call)?);
    fleet(call)?.remove(region, name, force).await.map_err(refused)?;
    changed(call, name, "removed");
    Ok(None)
}

fn changed(call: &mut Call<'_>, name: &str, change: &str) {
    call.element("device", json!({ "name": name, "change": change }));
}

fn shown(device: DeviceReport) -> Node {
    let text = |text: Option<String>| text.map(Node::from);
    let number = |number: usize| Some(Node::Number(u64::try_from(number).unwrap_or(u64::MAX)));
    let specs = device.key_specs.into_iter().map(Node::from).collect();
    Node::members(vec![
        ("Name", Some(Node::from(device.name))),
        ("Region", Some(Node::from(device.region))),
        ("State", Some(Node::from(device.state))),
        ("Since", Some(Node::from(device.since))),
        ("InService", Some(Node::Flag(device.in_service))),
        ("Quarantined", text(device.quarantined)),
        ("DeviceId", text(device.device)),
        ("Board", text(device.board)),
        ("Firmware", text(device.firmware)),
        ("Measurement", text(device.measurement)),
        ("DomainId", text(device.domain)),
        ("KeySpecs", Some(Node::List(specs))),
        ("InFlight", number(device.in_flight)),
        ("Answered", Some(Node::Number(device.answered))),
        ("Failed", Some(Node::Number(device.failed))),
        ("Hedged", Some(Node::Number(device.hedged))),
        ("LatencyP50Us", Some(Node::Number(device.p50_us))),
        ("LatencyP99Us", Some(Node::Number(device.p99_us))),
        ("LastError", text(device.last_error)),
    ])
}

fn fleet(call: &Call<'_>) -> Result<Arc<Fleet>, IamError> {
    let fleet = call.management.fleet.clone();
    fleet.ok_or_else(|| KmsError::internal("no devices to administer").into())
}

fn name<'a>(call: &Call<'a>, parameter: &'static str) -> Result<&'a str, IamError> {
    let name = call.form.required(parameter)?;
    match name.len() <= MAX_NAME {
        true => Ok(name),
        false => Err(IamError::invalid(format!("{parameter} has more than {MAX_NAME} bytes."))),
    }
}

fn force(call: &Call<'_>) -> Result<bool, IamError> {
    match call.form.optional("Force") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(IamError::invalid("Force is true or false.")),
    }
}

/// The root is told why: it is who can do something about it.
fn refused(error: ChangeError) -> IamError {
    let code = match &error {
        ChangeError::Region(_) | ChangeError::Member(MemberError::Unknown { .. }) => {
            Code::NoSuchEntity
        }
        ChangeError::Member(MemberError::Repeated(_)) => Code::EntityAlreadyExists,
        ChangeError::Member(MemberError::Last(_)) => Code::DeleteConflict,
        ChangeError::Stopping | ChangeError::Member(MemberError::NoThread(_)) => {
            return KmsError::new(Exception::KmsInternal, error.to_string()).into();
        }
        _ => Code::InvalidInput,
    };
    IamError::new(code, error.to_string())
}
