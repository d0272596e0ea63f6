//! `CreateGrant`: gives a grantee permissions on one key.

use hsm_protocol::key_spec::KeySpec;
use serde::Deserialize;
use serde_json::json;

use super::Answer;
use super::call::{Call, KeyUse, contended};
use super::checks::{Checks, invalid};
use super::grant_listing::constraints_json;
use super::grant_token::GrantToken;
use super::input::EncryptionContext;
use crate::error::{Exception, KmsError};
use crate::key::catalog::Update;
use crate::key::grant::{self, Constraints, Party, Terms};
use crate::key::{GrantId, GrantRecord, KeyRecord};
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    key_id: Option<String>,
    grantee_principal: Option<String>,
    grantee_service_principal: Option<String>,
    retiring_principal: Option<String>,
    retiring_service_principal: Option<String>,
    operations: Option<Vec<String>>,
    constraints: Option<ConstraintsInput>,
    grant_tokens: Option<Vec<String>>,
    name: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConstraintsInput {
    encryption_context_equals: Option<EncryptionContext>,
    encryption_context_subset: Option<EncryptionContext>,
    source_arn: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let key_id = checks.key_id("keyId", input.key_id);
    checks.principal("granteePrincipal", input.grantee_principal.as_deref());
    checks.principal("retiringPrincipal", input.retiring_principal.as_deref());
    checks.service("granteeServicePrincipal", input.grantee_service_principal.as_deref());
    checks.service("retiringServicePrincipal", input.retiring_service_principal.as_deref());
    let known: Vec<&str> = grant::OPERATIONS.into_iter().map(grant::operation_name).collect();
    let operations = checks.required("operations", input.operations);
    operations.iter().for_each(|name| checks.one_of("operations", name, &known));
    let grant_tokens = checks.grant_tokens(input.grant_tokens);
    if let Some(name) = &input.name {
        checks.grant_name(name);
    }
    checks.finish()?;

    let terms = Terms {
        operations: distinct(&operations)?,
        constraints: constraints(input.constraints.unwrap_or_default())?,
    };
    let partition = call.home().partition();
    let grantee = one_party(input.grantee_principal, input.grantee_service_principal, partition)?;
    let grantee = grantee
        .ok_or_else(|| invalid("GranteePrincipal or GranteeServicePrincipal is required."))?;
    let retiring =
        one_party(input.retiring_principal, input.retiring_service_principal, partition)?;
    if matches!(grantee, Party::Service(_))
        && (terms.constraints.source_arn.is_none() || retiring.is_none())
    {
        return Err(invalid(
            "A grant to a service needs a SourceArn constraint and a retiring principal.",
        ));
    }
    call.parameter("keyId", key_id.as_str());
    call.parameter("operations", operations);
    let names = ["encryptionContextEquals", "encryptionContextSubset", "sourceArn"];
    if let Some(constraints) = constraints_json(&terms.constraints, names) {
        call.parameter("constraints", constraints);
    }
    record_party(call, ["granteePrincipal", "granteeServicePrincipal"], Some(&grantee));
    record_party(call, ["retiringPrincipal", "retiringServicePrincipal"], retiring.as_ref());
    call.optional_parameter("name", input.name.as_deref());

    let key_use = KeyUse {
        grant_tokens: &grant_tokens,
        terms: Some(&terms),
        ..KeyUse::manage(Action::CreateGrant, &key_id)
    };
    let record = GrantRecord {
        name: input.name,
        created: call.now(),
        grantee,
        retiring,
        issuer: call.principal().account.clone(),
        terms: terms.clone(),
    };
    for _ in Call::tries() {
        let key = call.authorize(key_use).await?;
        check_terms(&key, &terms)?;
        Call::finish_dry_run(input.dry_run)?;
        let catalog = call.catalog();
        if let Some(fingerprint) = record.fingerprint()
            && let Some(known) = catalog.named_grant(&key.scope, key.id, &fingerprint).await?
        {
            return answer(call, &key, known);
        }
        let count = catalog.grant_count(&key.scope, key.id).await?;
        if count.count >= grant::MAX_PER_KEY {
            let text = format!("A key has at most {} grants.", grant::MAX_PER_KEY);
            return Err(KmsError::new(Exception::LimitExceeded, text));
        }
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(KmsError::internal)?;
        let id = GrantId(id);
        if catalog.create_grant(&key, id, &record, count).await? == Update::Applied {
            return answer(call, &key, id);
        }
    }
    Err(contended())
}

fn answer(call: &mut Call<'_>, key: &KeyRecord, grant: GrantId) -> Result<Answer, KmsError> {
    let token = GrantToken { scope: key.scope.clone(), key: key.id, grant }.issue(call.seal())?;
    call.element("grantId", grant.to_string());
    Answer::json(&json!({ "GrantId": grant.to_string(), "GrantToken": token }))
}

/// The operations, each once.
fn distinct(names: &[String]) -> Result<Vec<Action>, KmsError> {
    let mut operations = Vec::with_capacity(grant::OPERATIONS.len());
    for action in names.iter().filter_map(|name| grant::operation(name)) {
        if !operations.contains(&action) {
            operations.push(action);
        }
    }
    if operations.is_empty() {
        return Err(invalid("Operations must name at least one operation."));
    }
    Ok(operations)
}

fn constraints(input: ConstraintsInput) -> Result<Constraints, KmsError> {
    let pairs = |context: Option<EncryptionContext>| {
        let Some(pairs) = context.map(EncryptionContext::into_pairs) else { return Ok(None) };
        let length: usize =
            pairs.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum();
        if pairs.is_empty() || pairs.len() > grant::MAX_PAIRS || length > grant::MAX_CONTEXT {
            let (most, longest) = (grant::MAX_PAIRS, grant::MAX_CONTEXT);
            return Err(invalid(format!(
                "An encryption context constraint has 1 to {most} pairs and at most {longest} \
                 characters."
            )));
        }
        Ok(Some(pairs))
    };
    if input.source_arn.as_ref().is_some_and(|arn| !arn.starts_with("arn:") || arn.len() > 2048) {
        return Err(invalid("SourceArn must be an ARN of at most 2048 characters."));
    }
    Ok(Constraints {
        equals: pairs(input.encryption_context_equals)?,
        subset: pairs(input.encryption_context_subset)?,
        source_arn: input.source_arn,
    })
}

/// A principal or a service, but not both.
pub(super) fn one_party(
    principal: Option<String>,
    service: Option<String>,
    partition: &str,
) -> Result<Option<Party>, KmsError> {
    match (principal, service) {
        (Some(_), Some(_)) => {
            Err(invalid("A principal and a service principal cannot be given together."))
        }
        (None, service) => Ok(service.map(Party::Service)),
        (Some(text), None) => Party::principal(&text, partition).map(Some).ok_or_else(|| {
            let text = format!("ARN does not refer to a valid principal: {text}");
            KmsError::new(Exception::InvalidArn, text)
        }),
    }
}

fn record_party(call: &mut Call<'_>, names: [&str; 2], party: Option<&Party>) {
    match party {
        Some(Party::Principal(text)) => call.parameter(names[0], text.as_str()),
        Some(Party::Service(text)) => call.parameter(names[1], text.as_str()),
        None => {}
    }
}

/// Checks that a key has what the terms are about.
fn check_terms(key: &KeyRecord, terms: &Terms) -> Result<(), KmsError> {
    let unsupported = terms.unsupported_by(key);
    if !unsupported.is_empty() {
        let (spec, usage) = (key.spec, key.usage);
        return Err(invalid(format!(
            "A key with key spec {spec:?} and key usage {usage:?} does not support the grant \
             operations [{}].",
            unsupported.join(", ")
        )));
    }
    if terms.constraints.about_context() && key.spec != KeySpec::SYMMETRIC_DEFAULT {
        return Err(invalid(
            "Encryption context constraints are valid only for symmetric encryption keys.",
        ));
    }
    Ok(())
}
