//! Temporary credentials, and who the caller is.

use kms_policy::Action;
use serde_json::json;

use super::call::Call;
use crate::audit::event_time;
use crate::clock::Timestamp;
use crate::error::{Exception, KmsError};
use crate::iam::document::{self, Kind};
use crate::iam::error::{Code, IamError};
use crate::iam::record::Role;
use crate::iam::token::{self, Subject, Temporary};
use crate::iam::{Node, check};
use crate::key::Stored;
use crate::policy::identities::{self, Details, Target};
use crate::principal::PrincipalKind;

/// Shortest session, in seconds.
const MIN_DURATION: u32 = 900;
/// Longest session of a role that a session of a role assumes, and length of one whose caller does
/// not say; in seconds.
const ONE_HOUR: u32 = 3600;
/// Longest session of any role, in seconds.
const MAX_ROLE_SESSION: u32 = 43_200;
/// Longest session of a user, and what it is unless the caller says; in seconds.
const USER_SESSION: (u32, u32) = (129_600, 43_200);

pub(super) async fn caller_identity(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let caller = call.principal();
    Ok(Some(Node::Members(vec![
        ("Arn", Node::from(caller.caller_arn())),
        ("UserId", Node::from(caller.id())),
        ("Account", Node::from(caller.account.as_str())),
    ])))
}

pub(super) async fn assume_role(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let arn = form.required("RoleArn")?;
    let session = check::name(form, "RoleSessionName", (2, 64))?;
    let duration = check::number(form, "DurationSeconds", (MIN_DURATION, MAX_ROLE_SESSION))?;
    let duration = duration.unwrap_or(ONE_HOUR);
    let policy = form.optional("Policy");
    if let Some(policy) = policy {
        document::identity(Kind::Session, policy)?;
    }
    let caller = call.principal();
    if caller.is_root() {
        let text = "Roles may not be assumed by root accounts.";
        return Err(IamError::new(Code::AccessDenied, text));
    }
    let external_id = check::external_id(form)?;
    // It stays with every session that comes of this one.
    let inherited = caller.session.as_ref().and_then(|own| own.source_identity.as_deref());
    let source_identity = match form.optional("SourceIdentity") {
        Some(_) => Some(check::name(form, "SourceIdentity", (2, 64))?),
        None => inherited,
    };
    let details =
        Details { external_id, session_name: Some(session), source_identity, ..Details::default() };
    let role = authorized(call, arn, details).await?;
    if inherited.is_some() && source_identity != inherited {
        let text = "The source identity of a session cannot be changed.";
        return Err(IamError::new(Code::AccessDenied, text));
    }
    let chained = matches!(caller.kind, PrincipalKind::Role(_));
    let longest = if chained { role.max_session.min(ONE_HOUR) } else { role.max_session };
    if duration > longest {
        let text =
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(IamError::invalid(text));
    }

    let life = life(call.now(), duration);
    let subject = Subject::Role {
        name: role.name.clone(),
        id: role.id.clone(),
        session: session.to_owned(),
        source_identity: source_identity.map(str::to_owned),
    };
    let account = role.account.clone();
    let credentials = issue(call, &account, subject, life, policy).await?;
    let user = [
        ("assumedRoleId", format!("{}:{session}", role.id)),
        ("arn", format!("arn:aws:sts::{account}:assumed-role/{}/{session}", role.name)),
    ];
    call.element("assumedRoleUser", json!({ "assumedRoleId": user[0].1, "arn": user[1].1 }));
    let [(_, id), (_, arn)] = user;
    let user = Node::Members(vec![("AssumedRoleId", Node::from(id)), ("Arn", Node::from(arn))]);
    Ok(Some(Node::members(vec![
        ("AssumedRoleUser", Some(user)),
        ("Credentials", Some(credentials)),
        ("SourceIdentity", source_identity.map(Node::from)),
    ])))
}

pub(super) async fn session_token(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let (max, default) = USER_SESSION;
    let duration = check::number(call.form, "DurationSeconds", (MIN_DURATION, max))?;
    let caller = call.principal();
    if caller.session.is_some() {
        let text = "Cannot call GetSessionToken with session credentials";
        return Err(IamError::new(Code::AccessDenied, text));
    }
    // AWS, too, makes the longer ones of the root an hour.
    let duration = match caller.is_root() {
        true => duration.unwrap_or(ONE_HOUR).min(ONE_HOUR),
        false => duration.unwrap_or(default),
    };
    let subject = Subject::Key(caller.access_key_id.clone());
    let life = life(call.now(), duration);
    let credentials = issue(call, call.account(), subject, life, None).await?;
    Ok(Some(Node::Members(vec![("Credentials", credentials)])))
}

/// The role with this ARN, if the caller may assume it. Whether it exists is not told otherwise.
async fn authorized(
    call: &Call<'_>,
    arn: &str,
    details: Details<'_>,
) -> Result<Stored<Role>, IamError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, resource] = parts[..] else {
        let arn: String = arn.chars().take(256).collect();
        return Err(IamError::invalid(format!("{arn} is invalid")));
    };
    let name = resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next());
    let role = match name {
        Some(name) => call.directory().role(account, name).await?,
        None => None,
    };
    let refused = || {
        let text = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            call.principal().caller_arn()
        );
        KmsError::new(Exception::AccessDenied, text)
    };
    let role = role.filter(|role| role.arn() == arn).ok_or_else(refused)?;
    let target = Target { account: &role.account, arn, trust: &role.trust };
    identities::authorize_assumption(call.asker(), Action::AssumeRole, target, details)?;
    if details.source_identity.is_some() {
        identities::authorize_assumption(call.asker(), Action::SetSourceIdentity, target, details)?;
    }
    Ok(role)
}

fn life(now: Timestamp, seconds: u32) -> (Timestamp, Timestamp) {
    // What is answered has whole seconds, and so does the end.
    let issued = Timestamp::from_millis(now.as_millis() / 1000 * 1000);
    let end = issued.as_millis().saturating_add(u64::from(seconds) * 1000);
    (issued, Timestamp::from_millis(end))
}

async fn issue(
    call: &mut Call<'_>,
    account: &str,
    subject: Subject,
    life: (Timestamp, Timestamp),
    policy: Option<&str>,
) -> Result<Node, IamError> {
    let iam = call.iam;
    let made =
        token::issue((&iam.vault, &iam.seal), account, subject, life, policy, call.trace()).await?;
    let Temporary { access_key_id, secret, token } = made;
    let expires = event_time(life.1.into());
    call.element("credentials", json!({ "accessKeyId": access_key_id, "expiration": expires }));
    Ok(Node::Members(vec![
        ("AccessKeyId", Node::from(access_key_id)),
        ("SecretAccessKey", Node::Secret(secret)),
        ("SessionToken", Node::Secret(token)),
        ("Expiration", Node::from(expires)),
    ]))
}
