//! `kmsctl domain harden`: turns a development domain into a production domain.

use hsm_protocol::domain::{Change, Kind, OperatorRole};
use serde::Serialize;

use super::super::hsm::confirm;
use super::super::{Failure, Outcome, Output, table};
use super::found::Ruling;
use super::reach::{Found, Place};
use super::{Ceremony, describe, in_words};
use kms_installation::devices::HostKeys;

#[derive(Debug, clap::Args)]
pub(super) struct Harden {
    #[command(flatten)]
    rule: Ruling,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Hardened {
    domain: String,
    version: u32,
    text: String,
}

pub(super) fn run(
    harden: &Harden,
    place: &Place,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let data = place.data()?;
    let reached = place.reach()?;
    let Found { state, present, .. } = reached.found()?;
    if state.kind != Kind::Development {
        return Err(Failure(format!(
            "the domain {} is a production domain already; its operators change it: kmsctl domain propose",
            state.domain
        )));
    }
    let key = HostKeys::of_data(&data)?.operator;
    if state.operator(key.id()).is_none() {
        return Err(Failure(format!(
            "{} does not hold the operator's key of the domain {}; name the data directory that it was \
             founded from: --data DIR",
            data.display(),
            state.domain
        )));
    }
    let maker = present.iter().find(|device| state.member(**device).is_some());
    let maker = *maker.ok_or_else(|| Failure("no device of the domain answers".to_owned()))?;
    let mut changes: Vec<Change<'_>> =
        harden.rule.operators()?.into_iter().map(Change::AddOperator).collect();
    let former = state.operators.iter().filter(|it| it.role == OperatorRole::Development);
    changes.extend(former.map(|operator| Change::RemoveOperator(operator.id())));
    if let Some(ca) = harden.rule.device_ca()? {
        changes.push(Change::SetDeviceCa(Some(ca)));
    }
    changes.push(Change::SetRules(harden.rule.rules()));
    changes.push(Change::RotateKey { maker });
    changes.push(Change::SetKind(Kind::Production));
    let mut ceremony =
        Ceremony::change(state, &changes).map_err(|code| harden.rule.refused(code))?;
    let domain = ceremony.next().domain.to_string();
    confirm::on_terminal(&domain, &in_words(&ceremony), "domain", harden.yes)?;
    ceremony.add(key.sign(&ceremony.message()?)?)?;
    let version = reached.submit(&ceremony.ballot()?)?;
    let text = describe(ceremony.next());
    output.print(&Hardened { domain, version, text }, |out, done| {
        table::folded(out, &done.text)?;
        writeln!(
            out,
            "\nThe key in the data directory no longer rules anything. kmsd rewraps every key \
             token under"
        )?;
        writeln!(
            out,
            "the new domain key; `kmsctl domain show` says when the former one can be removed."
        )
    })?;
    Ok(Outcome::Good)
}
