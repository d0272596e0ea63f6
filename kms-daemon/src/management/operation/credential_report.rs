//! The credential report: a table of the users of an account and of their access keys.
//!
//! It is made when it is fetched, and shows that moment. Only the request for it is stored, which
//! lasts as long as a report at AWS.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::call::Call;
use super::{access_keys, last_used};
use crate::iam::record::{Record, Status, User};
use crate::management::Node;
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_query::{Code, IamError};

/// How long a report lasts, in milliseconds.
const LIFE: u64 = 4 * 60 * 60 * 1000;
/// The columns, as AWS has them.
const HEAD: &str = "user,arn,user_creation_time,password_enabled,password_last_used,\
    password_last_changed,password_next_rotation,mfa_active,access_key_1_active,\
    access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,\
    access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
    access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,\
    cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated";
/// Users that are read at a time.
const PAGE: usize = 500;
/// Access keys that a row has room for.
const KEYS: usize = 2;
/// What there is none of.
const NONE: &str = "N/A";

pub(super) async fn generate(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize(None)?;
    let now = call.now();
    let (state, text) = match asked(call, now).await? {
        Ok(_) => ("COMPLETE", None),
        Err(_) => {
            call.directory().ask_report(call.account(), now).await?;
            ("STARTED", Some("No report exists. Starting a new report generation task"))
        }
    };
    Ok(Some(Node::members(vec![
        ("State", Some(Node::from(state))),
        ("Description", text.map(Node::from)),
    ])))
}

pub(super) async fn find(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize(None)?;
    let now = call.now();
    asked(call, now).await?.map_err(|code| {
        let text = match code {
            Code::ReportExpired => {
                "The report has expired. Generate a new one with GenerateCredentialReport."
            }
            _ => "There is no report. Generate one with GenerateCredentialReport.",
        };
        IamError::new(code, text)
    })?;
    let report = report(call).await?;
    Ok(Some(Node::Members(vec![
        ("Content", Node::from(BASE64.encode(report))),
        ("ReportFormat", Node::from("text/csv")),
        ("GeneratedTime", Node::from(event_time(now.into()))),
    ])))
}

/// When the report was asked for, or why there is none.
async fn asked(call: &Call<'_>, now: Timestamp) -> Result<Result<Timestamp, Code>, IamError> {
    Ok(match call.directory().report(call.account()).await? {
        None => Err(Code::ReportNotPresent),
        Some(at) if now.as_millis().saturating_sub(at.as_millis()) > LIFE => {
            Err(Code::ReportExpired)
        }
        Some(at) => Ok(at),
    })
}

async fn report(call: &Call<'_>) -> Result<String, IamError> {
    let account = call.account();
    let mut table = HEAD.to_owned();
    let created = call.directory().account(account).await?.map(|account| account.created);
    let start = [
        "<root_account>".to_owned(),
        format!("arn:aws:iam::{account}:root"),
        created.map_or_else(|| NONE.to_owned(), time),
        "not_supported,no_information,not_supported,not_supported,false".to_owned(),
    ];
    let keys = access_keys::of_root(call).await?;
    row(call, &mut table, start, &keys).await?;
    let mut after = None;
    loop {
        let page = call.directory().list::<User>(Some(account), after, PAGE).await?;
        for user in &page.items {
            let mut keys = Vec::new();
            for id in &user.keys {
                if let Some(key) = call.directory().access_key(id).await? {
                    keys.push((key.id.clone(), Some(key.created), key.status));
                }
            }
            let none = "false,N/A,N/A,N/A,false".to_owned();
            let start = [user.name.clone(), user.arn(), time(user.created), none];
            row(call, &mut table, start, &keys).await?;
        }
        after = page.items.last().map(Record::key);
        if !page.more {
            break;
        }
    }
    Ok(table)
}

/// A row: names of users and ARNs have no quotes, but may have commas.
async fn row(
    call: &Call<'_>,
    table: &mut String,
    start: [String; 4],
    keys: &[(String, Option<Timestamp>, Status)],
) -> Result<(), IamError> {
    let [name, arn, created, password] = start;
    let _ = write!(table, "\n{},{},{created},{password}", quoted(&name), quoted(&arn));
    for index in 0..KEYS {
        let Some((id, rotated, status)) = keys.get(index) else {
            let _ = write!(table, ",false,{NONE},{NONE},{NONE},{NONE}");
            continue;
        };
        let active = *status == Status::Active;
        let rotated = rotated.map_or_else(|| NONE.to_owned(), time);
        let (date, region, service) = match last_used::last(call, id).await? {
            Some((service, used)) => (time(used.at), used.region, service),
            None => (NONE.to_owned(), NONE.to_owned(), NONE.to_owned()),
        };
        let _ = write!(table, ",{active},{rotated},{date},{region},{service}");
    }
    let _ = write!(table, ",false,{NONE},false,{NONE}");
    Ok(())
}

fn quoted(text: &str) -> String {
    if text.contains(',') { format!("\"{text}\"") } else { text.to_owned() }
}

/// As reports of AWS write it.
fn time(time: Timestamp) -> String {
    event_time(time.into()).replace('Z', "+00:00")
}
