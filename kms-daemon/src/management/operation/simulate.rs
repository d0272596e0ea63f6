//! `SimulatePrincipalPolicy` and `SimulateCustomPolicy`: how policies would decide about actions of
//! the services that exist here.

use kms_policy::{Action, PolicyType};
use kms_query::{Code, Form, IamError};

use super::call::{Call, missing};
use super::listing;
use crate::iam::document::{self, Kind};
use crate::iam::hypothetical::Hypothetical;
use crate::iam::limits::Document;
use crate::management::{Node, check, source_position};
use crate::policy::simulation::{
    Entries, Matched, ResourcePolicy, Simulated, Simulation, simulate,
};
use kms_base::identifier::Tags;
use kms_base::principal::{Principal, PrincipalKind, User};
use kms_base::text::bounded;

/// Most policies, actions, resources and condition keys of a request.
const MAX_LISTED: usize = 1000;
/// Most requests that are decided about for a page: each may take milliseconds.
const MAX_DECIDED: usize = 100;

/// Most statements that are decided by: each of them may be in each result.
const MAX_STATEMENTS: usize = 2000;
/// Statements and missing condition keys after which a page ends, to bound what it takes.
const MAX_SHOWN: usize = 2000;

/// Whose request it would be, and what the caller's policies are.
struct Subject {
    caller: Option<Principal>,
    tags: Tags,
    documents: Vec<Document>,
    boundary: Option<Document>,
}

pub(super) async fn principal(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let arn = form.required("PolicySourceArn")?;
    call.authorize(Some(arn))?;
    let start = format!("arn:aws:iam::{}:", call.account());
    let resource = arn.strip_prefix(&start).ok_or_else(|| missing("entity", bounded(arn, 256)))?;
    let mut subject = match resource.split_once('/') {
        Some(("group", path)) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let group = call.directory().group(call.account(), name).await?;
            let group = group.filter(|group| group.arn() == arn);
            let group = group.ok_or_else(|| missing("group", bounded(name, 256)))?;
            let documents = call.iam.documents_of_group(&group).await?;
            Subject { caller: None, tags: Tags::new(), documents, boundary: None }
        }
        _ => {
            let Hypothetical { principal, policies, .. } = call.iam.hypothetical(arn).await?;
            if principal.is_root() {
                return Err(IamError::new(
                    Code::InvalidInput,
                    "The root of an account has no policies.",
                ));
            }
            let documents = call.iam.documents(&principal).await?;
            let boundary = call.iam.boundary_document(&principal).await?;
            Subject { caller: Some(principal), tags: policies.tags, documents, boundary }
        }
    };
    subject.documents.extend(given(form, "PolicyInputList", Kind::Managed)?);
    if let Some(caller) = caller(form)? {
        (subject.caller, subject.tags) = (Some(caller), Tags::new());
    }
    run(call, subject).await
}

pub(super) async fn custom(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let documents = given(call.form, "PolicyInputList", Kind::Managed)?;
    if documents.is_empty() {
        return Err(IamError::invalid("PolicyInputList has at least one policy."));
    }
    call.authorize(None)?;
    let caller = caller(call.form)?;
    run(call, Subject { caller, tags: Tags::new(), documents, boundary: None }).await
}

async fn run(call: &Call<'_>, mut subject: Subject) -> Result<Option<Node>, IamError> {
    let form = call.form;
    let bounds = given(form, "PermissionsBoundaryPolicyInputList", Kind::Managed)?;
    check::many("PermissionsBoundaryPolicyInputList", bounds.len(), 1)?;
    if let Some(boundary) = bounds.into_iter().next() {
        subject.boundary = Some(boundary);
    }
    let actions = listed(form, "ActionNames")?;
    if actions.is_empty() {
        return Err(IamError::invalid("ActionNames has at least one action."));
    }
    let actions = actions.into_iter().map(action).collect::<Result<Vec<_>, _>>()?;
    let mut resources = listed(form, "ResourceArns")?;
    if resources.is_empty() {
        resources.push("*");
    }
    let policy = form.optional("ResourcePolicy");
    let given = entries(form)?;
    let own: Vec<_> = subject.documents.iter().map(|own| own.policy.compiled().clone()).collect();
    let boundary = subject.boundary.as_ref().map(|own| own.policy.compiled().clone());
    let statements: usize = own.iter().map(kms_policy::IdentityPolicy::statement_count).sum();
    if statements > MAX_STATEMENTS {
        let text = format!("The policies have more than {MAX_STATEMENTS} statements together.");
        return Err(IamError::new(Code::InvalidInput, text));
    }

    let all = actions.len() * resources.len();
    let at = |index: usize| {
        Some((*actions.get(index / resources.len())?, *resources.get(index % resources.len())?))
    };
    let limit = check::max_items(form)?.min(MAX_DECIDED);
    let begin = listing::number(form, all)?;
    let (mut results, mut shown) = (Vec::new(), 0);
    for index in begin..all.min(begin + limit) {
        let Some((action, resource)) = at(index).filter(|_| shown < MAX_SHOWN) else { break };
        let owner = owner(form, resource)?.unwrap_or_else(|| call.account());
        let policy = policy.map(|text| resource_policy(text, action)).transpose()?;
        let simulation = Simulation {
            caller: subject.caller.as_ref(),
            tags: &subject.tags,
            identity: &own,
            boundary: boundary.as_ref(),
            action,
            resource,
            owner,
            policy: policy.as_ref(),
            given: &given,
            now: call.now(),
        };
        let simulated = simulate(&simulation)?;
        shown += simulated.matched.len() + simulated.missing.len();
        results.push(describe(&subject, &simulation, simulated));
        tokio::task::yield_now().await;
    }
    Ok(Some(listing::numbered("EvaluationResults", results, begin, all)))
}

/// Policies that the request has, as documents.
fn given(form: &Form, list: &str, kind: Kind) -> Result<Vec<Document>, IamError> {
    let texts = listed(form, list)?;
    let read = |(index, text): (usize, &&str)| {
        let policy = document::identity(kind, text).map_err(|error| match error.code() {
            Code::MalformedPolicyDocument => IamError::new(Code::InvalidInput, error.to_string()),
            _ => error,
        })?;
        Ok(Document { id: format!("{list}.{}", index + 1), kind: "none", policy })
    };
    texts.iter().enumerate().map(read).collect()
}

fn listed<'f>(form: &'f Form, list: &str) -> Result<Vec<&'f str>, IamError> {
    let texts = form.list(list)?;
    check::many(list, texts.len(), MAX_LISTED)?;
    Ok(texts)
}

/// An action of a service that exists here: the decisions of other services are unknown.
fn action(name: &str) -> Result<Action, IamError> {
    Action::parse(name).ok_or_else(|| {
        let text = format!(
            "Invalid Action in ActionNames: {} is not an action of a service that exists here.",
            bounded(name, 256)
        );
        IamError::new(Code::InvalidInput, text)
    })
}

/// `ContextEntries`.
fn entries(form: &Form) -> Result<Entries, IamError> {
    const MEMBERS: [&str; 3] = ["ContextKeyName", "ContextKeyValues[]", "ContextKeyType"];
    let count = form.items("ContextEntries", &MEMBERS)?;
    check::many("ContextEntries", count, MAX_LISTED)?;
    let mut entries = Entries::default();
    for number in 1..=count {
        let entry = format!("ContextEntries.member.{number}");
        let key = form.required(&format!("{entry}.ContextKeyName"))?;
        let values = form.list(&format!("{entry}.ContextKeyValues"))?;
        entries.add(key, values.into_iter().map(str::to_owned).collect())?;
    }
    Ok(entries)
}

/// `CallerArn`: a user, whether there is one or not.
fn caller(form: &Form) -> Result<Option<Principal>, IamError> {
    let Some(arn) = form.optional("CallerArn") else { return Ok(None) };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let user = match parts[..] {
        ["arn", "aws", "iam", "", account, resource] => resource
            .strip_prefix("user")
            .and_then(|path| path.rsplit_once('/'))
            .and_then(|(path, name)| {
                let (path, name) = (format!("{path}/"), name.to_owned());
                let kind = PrincipalKind::User(User { id: String::new(), path, name });
                let principal = Principal { kind, ..Principal::root(account, "") };
                kms_policy::Caller::user(&principal.arn()).is_some().then_some(principal)
            }),
        _ => None,
    };
    match user {
        Some(user) => Ok(Some(user)),
        None => Err(IamError::new(Code::InvalidInput, "CallerArn is the ARN of a user.")),
    }
}

/// The account of a resource: `ResourceOwner`, or that in its ARN.
fn owner<'f>(form: &'f Form, resource: &'f str) -> Result<Option<&'f str>, IamError> {
    let is_account = |id: &&str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    let Some(owner) = form.optional("ResourceOwner") else {
        return Ok(resource.split(':').nth(4).filter(is_account));
    };
    let id = owner.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
    let id = Some(id.unwrap_or(owner)).filter(is_account);
    id.map(Some).ok_or_else(|| {
        IamError::new(Code::InvalidInput, "ResourceOwner is an account, or the ARN of its root.")
    })
}

/// `ResourcePolicy`: of a key for actions of KMS, of a role for those of STS.
fn resource_policy(text: &str, action: Action) -> Result<ResourcePolicy, IamError> {
    let malformed = |error: kms_policy::PolicyError| {
        IamError::new(Code::InvalidInput, format!("ResourcePolicy: {error}"))
    };
    let service = action.service();
    match service {
        "kms" => {
            let policy = kms_policy::KeyPolicy::parse(text).map_err(malformed)?;
            policy.check_cost().map_err(malformed)?;
            Ok(ResourcePolicy::Key(policy))
        }
        "sts" => {
            let policy = kms_policy::TrustPolicy::parse(text).map_err(malformed)?;
            policy.check_cost().map_err(malformed)?;
            Ok(ResourcePolicy::Trust(policy))
        }
        _ => {
            let text = format!("ResourcePolicy: what {action} is about has no policy.");
            Err(IamError::new(Code::InvalidInput, text))
        }
    }
}

fn describe(subject: &Subject, simulation: &Simulation<'_>, simulated: Simulated) -> Node {
    let Simulated { decision, matched, missing, bounded } = simulated;
    let matched = matched.iter().map(|own| statement(subject, own)).collect();
    let missing = missing.into_iter().map(Node::Text).collect();
    let allowed =
        |allowed| Node::Members(vec![("AllowedByPermissionsBoundary", Node::Flag(allowed))]);
    Node::members(vec![
        ("EvalActionName", Some(Node::from(simulation.action.name()))),
        ("EvalResourceName", Some(Node::from(simulation.resource))),
        ("EvalDecision", Some(Node::from(decision))),
        ("MatchedStatements", Some(Node::List(matched))),
        ("MissingContextValues", Some(Node::List(missing))),
        ("PermissionsBoundaryDecisionDetail", bounded.map(allowed)),
    ])
}

fn statement(subject: &Subject, matched: &Matched) -> Node {
    let own = match matched.policy_type {
        PolicyType::Identity => subject.documents.get(matched.policy),
        PolicyType::Boundary => subject.boundary.as_ref(),
        _ => None,
    };
    let (id, kind) = own.map_or(("ResourcePolicy", "resource"), |own| (own.id.as_str(), own.kind));
    let span = own.and_then(|own| source_position::of(own.policy.text(), matched.statement));
    let position = |(line, column): (usize, usize)| {
        let (line, column) = (Node::Number(line as u64), Node::Number(column as u64));
        Node::Members(vec![("Line", line), ("Column", column)])
    };
    Node::members(vec![
        ("SourcePolicyId", Some(Node::from(id))),
        ("SourcePolicyType", Some(Node::from(kind))),
        ("StartPosition", span.map(|(start, _)| position(start))),
        ("EndPosition", span.map(|(_, end)| position(end))),
    ])
}
