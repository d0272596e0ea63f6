//! `ExplainAccess`: how a request to KMS would be decided, and why.

use super::call::Call;
use crate::iam::hypothetical::Hypothetical;
use crate::management::Node;
use crate::policy::explanation::{
    Explanation, Given, GrantReport, Hypothesis, StatementReport, explain,
};
use crate::policy::{Lookups, Requester};
use kms_base::identifier::Scope;
use kms_model::action::{Action, KeyRule};
use kms_query::{Code, IamError};

/// Most grants that are named although they do not allow the request.
const MAX_GRANTS: usize = 100;

pub(super) async fn run(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize_explanation()?;
    let form = call.form;
    let arn = form.required("PrincipalArn")?;
    let action = form.required("ActionName")?;
    let named = form.optional("KeyId");
    let region = form.optional("RegionName").unwrap_or_else(|| call.region());
    let given = given(call)?;

    let account =
        account(arn).ok_or_else(|| IamError::invalid(format!("{arn} is not a principal.")))?;
    let key_account = named.and_then(self::account).unwrap_or(account);
    check_accounts(call, [account, key_account])?;
    let Hypothetical { principal, policies, names } = call.iam.hypothetical(arn).await?;
    let requester = Requester { principal: &principal, policies: &policies, request: None };
    let scope = Scope::new(key_account, region);
    let found = match named {
        Some(named) => Some(call.keys.key_for_caller(&scope, named, requester).await?),
        None => None,
    };
    let hypothesis = Hypothesis {
        requester,
        names: &names,
        action,
        scope: &scope,
        key: found.as_ref().map(|found| &**found.key).zip(named),
        grants: found.as_ref().map(|found| found.grants.as_slice()).unwrap_or_default(),
        given: &given,
        lookups: found.as_ref().map_or(Lookups::NONE, |found| &found.lookups),
        now: call.now(),
    };
    let explanation = explain(&hypothesis)?;
    // Who may use a key is refused all the same while the key is in a state that forbids it.
    let state = found.as_ref().and_then(|found| {
        let rule = KeyRule::of(Action::parse(action)?)?;
        rule.states.check(found.key.state, || found.key.arn()).err()
    });
    let mut answer = vec![("Principal", Some(Node::from(principal.caller_arn())))];
    answer.push(("KeyArn", found.map(|found| Node::from(found.key.arn()))));
    answer.extend(described(&explanation));
    answer.push(("State", state.map(|error| Node::from(error.to_string()))));
    Ok(Some(Node::members(answer)))
}

/// Policies of an account are told to its root, and all of them to the root of the first account.
fn check_accounts(call: &Call<'_>, accounts: [&str; 2]) -> Result<(), IamError> {
    let own = call.account();
    if own == call.iam.account || accounts.iter().all(|account| *account == own) {
        return Ok(());
    }
    let text = "Only the root of the first account is told about principals and keys of other \
                accounts.";
    Err(IamError::new(Code::AccessDenied, text))
}

/// The account in an ARN.
fn account(arn: &str) -> Option<&str> {
    let account = arn.strip_prefix("arn:")?.split(':').nth(3)?;
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then_some(account)
}

/// `ContextEntries.member.N.ContextKeyName` and `….ContextKeyValues.member.M`.
fn given(call: &Call<'_>) -> Result<Given, IamError> {
    const MEMBERS: [&str; 3] = ["ContextKeyName", "ContextKeyValues[]", "ContextKeyType"];
    let mut given = Given::default();
    for number in 1..=call.form.items("ContextEntries", &MEMBERS)? {
        let entry = format!("ContextEntries.member.{number}");
        let key = call.form.required(&format!("{entry}.ContextKeyName"))?;
        for value in call.form.list(&format!("{entry}.ContextKeyValues"))? {
            given.add(key, value)?;
        }
    }
    Ok(given)
}

fn described(explanation: &Explanation) -> Vec<(&'static str, Option<Node>)> {
    let Explanation { allowed, reason, told, statements, grants } = explanation;
    let shown = |report: &&GrantReport| report.objection.is_none();
    let (allowing, others): (Vec<_>, Vec<_>) = grants.iter().partition(shown);
    let left_out = others.len().saturating_sub(MAX_GRANTS);
    let grants = allowing.into_iter().chain(others.into_iter().take(MAX_GRANTS));
    vec![
        ("Decision", Some(Node::from(if *allowed { "allowed" } else { "denied" }))),
        ("Reason", Some(Node::from(reason.as_str()))),
        ("Told", told.as_deref().map(Node::from)),
        ("Statements", Some(Node::List(statements.iter().map(statement).collect()))),
        ("Grants", Some(Node::List(grants.map(grant).collect()))),
        ("GrantsLeftOut", (left_out > 0).then_some(Node::Number(left_out as u64))),
    ]
}

fn statement(report: &StatementReport) -> Node {
    let mismatches = report.mismatches.iter().map(|text| Node::from(text.as_str()));
    Node::members(vec![
        ("Policy", Some(Node::from(report.policy.as_str()))),
        ("Statement", Some(Node::Number(report.number as u64))),
        ("Sid", report.sid.as_deref().map(Node::from)),
        ("Effect", Some(Node::from(report.effect))),
        ("Applies", Some(Node::Flag(report.mismatches.is_empty()))),
        ("Mismatches", Some(Node::List(mismatches.collect()))),
    ])
}

fn grant(report: &GrantReport) -> Node {
    Node::members(vec![
        ("GrantId", Some(Node::from(report.id.to_string()))),
        ("Grantee", Some(Node::from(report.grantee.as_str()))),
        ("Allows", Some(Node::Flag(report.objection.is_none()))),
        ("Mismatch", report.objection.map(Node::from)),
    ])
}
