//! Temporary credentials, and the caller's identity.

use kms_base::text::bounded;
use kms_policy::Action;
use kms_query::{Code, Form, IamError};
use serde_json::json;

use super::call::Call;
use crate::iam::document::{self, Kind};
use crate::iam::limits::same_tag;
use crate::iam::record::Role;
use crate::iam::token::{Extras, Subject, Temporary};
use crate::management::{Node, check};
use crate::policy::identities::{self, Details, Target};
use kms_audit::event_time;
use kms_base::clock::Timestamp;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Tags;
use kms_base::principal::{PrincipalKind, SessionPolicy, TemporarySession};
use kms_keys::Stored;

/// Shortest session, in seconds.
const MIN_DURATION: u32 = 900;
/// Longest session of a role that a session of a role assumes, and length of one whose caller does
/// not say; in seconds.
const ONE_HOUR: u32 = 3600;
/// Longest session of any role, in seconds.
const MAX_ROLE_SESSION: u32 = 43_200;
/// STS's quota of managed policies that narrow a session.
const MAX_SESSION_POLICIES: usize = 10;
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
    let policy_arns = policy_arns(form)?;
    let given = call.tags();
    let kept = check::tag_keys(form, "TransitiveTagKeys")?;
    if let Some(unknown) = kept.iter().find(|key| find_tag(&given, key).is_none()) {
        let text = format!(
            "The specified transitive tag key {unknown} must be included in the \
                            requested tags."
        );
        return Err(IamError::invalid(text));
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
    let (tags, transitive) = inherit(caller.session.as_ref(), &given, &kept)?;
    let details = Details {
        external_id,
        session_name: Some(session),
        source_identity,
        transitive: (!kept.is_empty()).then_some(&kept),
        ..call.tagging()
    };
    let role = authorized(call, (arn, !tags.is_empty()), details).await?;
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
    let mut managed = Vec::with_capacity(policy_arns.len());
    for arn in policy_arns {
        let found = match arn.split(':').nth(4) == Some(&account) {
            true => call.iam.find_managed(&arn).await?,
            false => None,
        };
        let Some(found) = found else {
            let arn = bounded(&arn, 256);
            let text =
                format!("PolicyArns: {arn} is not a managed policy of the account {account}.");
            return Err(IamError::invalid(text));
        };
        managed.push(SessionPolicy { arn, id: found.id.clone() });
    }
    let packs = policy.is_some() || !managed.is_empty() || !tags.is_empty();
    let extras = Extras { policy, managed, tags, transitive };
    let (credentials, packed) = issue(call, &account, subject, life, extras).await?;
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
        ("PackedPolicySize", packs.then_some(Node::Number(packed as u64))),
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
    let account = call.account();
    let (credentials, _) = issue(call, account, subject, life, Extras::default()).await?;
    Ok(Some(Node::Members(vec![("Credentials", credentials)])))
}

/// `PolicyArns`: managed policies that narrow the session.
fn policy_arns(form: &Form) -> Result<Vec<String>, IamError> {
    let count = form.items("PolicyArns", &["arn"])?;
    check::many("PolicyArns", count, MAX_SESSION_POLICIES)?;
    let arn = |number| form.required(&format!("PolicyArns.member.{number}.arn"));
    (1..=count).map(|number| arn(number).map(str::to_owned)).collect()
}

/// The tags of a session that is to be made, and the keys of those that stay with what comes of
/// it: those that the request gives, and those that stay with what comes of the caller's session.
fn inherit(
    own: Option<&TemporarySession>,
    given: &Tags,
    kept: &[String],
) -> Result<(Tags, Vec<String>), IamError> {
    let (mut tags, mut transitive) = (given.clone(), kept.to_vec());
    let Some(own) = own else { return Ok((tags, transitive)) };
    for key in &own.transitive {
        if find_tag(given, key).is_some() {
            let text = "One of the specified transitive tag keys can't be set because it conflicts \
                        with a transitive tag key from the calling session.";
            return Err(IamError::invalid(text));
        }
        if let Some((key, value)) = find_tag(&own.tags, key) {
            tags.insert(key.clone(), value.clone());
            transitive.push(key.clone());
        }
    }
    Ok((tags, transitive))
}

/// A tag, by its key in any case.
fn find_tag<'t>(tags: &'t Tags, key: &str) -> Option<(&'t String, &'t String)> {
    tags.iter().find(|(known, _)| same_tag(known, key, false))
}

/// The role with this ARN, if the caller may assume it, with tags if the session is to have any.
/// Whether it exists is not told otherwise.
async fn authorized(
    call: &Call<'_>,
    (arn, tagged): (&str, bool),
    details: Details<'_>,
) -> Result<Stored<Role>, IamError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, resource] = parts[..] else {
        let arn = bounded(arn, 256);
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
    let details = Details { resource_tags: Some(&role.tags), ..details };
    identities::authorize_assumption(call.requester(), Action::AssumeRole, target, details)?;
    if details.source_identity.is_some() {
        identities::authorize_assumption(
            call.requester(),
            Action::SetSourceIdentity,
            target,
            details,
        )?;
    }
    if tagged {
        identities::authorize_assumption(call.requester(), Action::TagSession, target, details)?;
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
    extras: Extras<'_>,
) -> Result<(Node, usize), IamError> {
    let iam = call.iam;
    let made = iam.issue(account, subject, life, extras, call.trace()).await?;
    let Temporary { access_key_id, secret, token, packed } = made;
    let expires = event_time(life.1.into());
    call.element("credentials", json!({ "accessKeyId": access_key_id, "expiration": expires }));
    let credentials = Node::Members(vec![
        ("AccessKeyId", Node::from(access_key_id)),
        ("SecretAccessKey", Node::Secret(secret)),
        ("SessionToken", Node::Secret(token)),
        ("Expiration", Node::from(expires)),
    ]);
    Ok((credentials, packed))
}
