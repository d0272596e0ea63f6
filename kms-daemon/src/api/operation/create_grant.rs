//! `CreateGrant`: gives a grantee permissions on one key.

use hsm_protocol::key_spec::KeySpec;

use crate::api::Answer;
use crate::api::call::{Call, KeyUse, contended};
use crate::api::callers::read_principal;
use crate::api::checks::invalid;
use crate::api::grant_listing::audit_value;
use crate::api::grant_token::GrantToken;
use crate::api::input::EncryptionContext;
use crate::api::model::create_grant::{Input, Output};
use crate::api::model::inputs::GrantConstraints;
use crate::policy::RequestAttributes;
use kms_base::error::{Exception, KmsError};
use kms_keys::catalog::Update;
use kms_keys::grant::{self, Constraints, Party, Terms};
use kms_keys::{GrantId, GrantRecord, KeyRecord};
use kms_model::action::{self, Action, GRANTABLE};
use kms_model::enums::GrantOperation;

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let key_id = input.key_id;
    let operations = input.operations;
    let grant_tokens = input.grant_tokens.unwrap_or_default();

    let terms = Terms {
        operations: distinct(&operations)?,
        constraints: input.constraints.map(constraints).transpose()?.unwrap_or_default(),
    };
    let partition = call.home().partition();
    let read = |member, text: &str| read_principal(Some(member), text, partition);
    let grantee = one_party(input.grantee_principal, input.grantee_service_principal, |text| {
        read("GranteePrincipal", text)
    })?;
    let grantee = grantee
        .ok_or_else(|| invalid("GranteePrincipal or GranteeServicePrincipal is required."))?;
    let retiring = one_party(input.retiring_principal, input.retiring_service_principal, |text| {
        read("RetiringPrincipal", text)
    })?;
    if matches!(grantee, Party::Service(_))
        && (terms.constraints.source_arn.is_none() || retiring.is_none())
    {
        return Err(invalid(
            "A grant to a service needs a SourceArn constraint and a retiring principal.",
        ));
    }
    call.facts.parameter("keyId", key_id.as_str());
    let names: Vec<_> = operations.iter().map(|operation| operation.name()).collect();
    call.facts.parameter("operations", names);
    if let Some(constraints) = audit_value(&terms.constraints) {
        call.facts.parameter("constraints", constraints);
    }
    record_party(call, ["granteePrincipal", "granteeServicePrincipal"], Some(&grantee));
    record_party(call, ["retiringPrincipal", "retiringServicePrincipal"], retiring.as_ref());
    call.facts.optional_parameter("name", input.name.as_deref());

    let asked = GrantRecord {
        name: input.name,
        created: call.service.now(),
        grantee,
        retiring,
        issuer: call.principal().account.clone(),
        terms,
    };
    let key_use = KeyUse {
        grant_tokens: &grant_tokens,
        attributes: RequestAttributes::Grant(&asked),
        ..KeyUse::manage(action::CreateGrant, &key_id)
    };
    for _ in Call::tries() {
        let key = call.authorize(key_use).await?;
        check_terms(&key, &asked.terms)?;
        let record = bound(call, &asked).await?;
        Call::finish_dry_run(input.dry_run)?;
        let catalog = call.service.catalog();
        if let Some(fingerprint) = record.fingerprint()
            && let Some(known) = catalog.grants().named(&key.scope, key.id, &fingerprint).await?
        {
            return answer(call, &key, known);
        }
        let count = catalog.grants().count(&key.scope, key.id).await?;
        if count.count >= grant::MAX_PER_KEY {
            let text = format!("A key has at most {} grants.", grant::MAX_PER_KEY);
            return Err(KmsError::new(Exception::LimitExceeded, text));
        }
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(KmsError::internal)?;
        let id = GrantId(id);
        if catalog.grants().create(&key, id, &record, count).await? == Update::Applied {
            return answer(call, &key, id);
        }
    }
    Err(contended())
}

/// The grant with the unique ids of the users and roles that it names.
async fn bound(call: &Call<'_>, asked: &GrantRecord) -> Result<GrantRecord, KmsError> {
    let mut record = asked.clone();
    record.grantee = call.service.bind(record.grantee).await?;
    if let Some(party) = record.retiring {
        record.retiring = Some(call.service.bind(party).await?);
    }
    Ok(record)
}

fn answer(call: &mut Call<'_>, key: &KeyRecord, grant: GrantId) -> Result<Answer, KmsError> {
    let token =
        GrantToken { scope: key.scope.clone(), key: key.id, grant }.issue(&call.service.seal)?;
    call.facts.element("grantId", grant.to_string());
    Answer::of(&Output {
        grant_id: Some(grant.to_string().into()),
        grant_token: Some(token.into()),
    })
}

/// The operations, each once.
fn distinct(asked: &[GrantOperation]) -> Result<Vec<Action>, KmsError> {
    let mut operations = Vec::with_capacity(GRANTABLE.len());
    for action in asked.iter().filter_map(|one| grant::operation(one.name())) {
        if !operations.contains(&action) {
            operations.push(action);
        }
    }
    if operations.is_empty() {
        return Err(invalid("Operations must name at least one operation."));
    }
    if operations == [Action::CreateGrant] {
        return Err(invalid("Grants must not contain only the CreateGrant operation."));
    }
    Ok(operations)
}

fn constraints(input: GrantConstraints) -> Result<Constraints, KmsError> {
    let pairs = |context: Option<EncryptionContext>| {
        let Some(pairs) = context.map(EncryptionContext::into_pairs) else { return Ok(None) };
        let length: usize =
            pairs.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum();
        if pairs.len() > grant::MAX_PAIRS || length > grant::MAX_CONTEXT {
            let (most, longest) = (grant::MAX_PAIRS, grant::MAX_CONTEXT);
            return Err(invalid(format!(
                "An encryption context constraint has at most {most} pairs and {longest} \
                 characters."
            )));
        }
        // An empty list does not constrain anything.
        Ok(Some(pairs).filter(|pairs| !pairs.is_empty()))
    };
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
    read: impl FnOnce(&str) -> Result<Party, KmsError>,
) -> Result<Option<Party>, KmsError> {
    match (principal, service) {
        (Some(_), Some(_)) => {
            Err(invalid("A principal and a service principal cannot be given together."))
        }
        (None, service) => Ok(service.map(Party::Service)),
        (Some(text), None) => read(&text).map(Some),
    }
}

fn record_party(call: &mut Call<'_>, names: [&str; 2], party: Option<&Party>) {
    match party {
        Some(Party::Principal { arn: text, .. }) => call.facts.parameter(names[0], text.as_str()),
        Some(Party::Service(text)) => call.facts.parameter(names[1], text.as_str()),
        None => {}
    }
}

/// Checks that a key has what the terms are about.
fn check_terms(key: &KeyRecord, terms: &Terms) -> Result<(), KmsError> {
    let unsupported = terms.unsupported_by(key);
    if !unsupported.is_empty() {
        let kind = match key.spec.row().is_some_and(|row| row.public_size > 0) {
            true => "an asymmetric",
            false => "a symmetric",
        };
        return Err(invalid(format!(
            "Operations [{}] are not supported when creating a grant for {kind} KMS key with key \
             usage {:?}. Valid operations are [{}]",
            unsupported.join(", "),
            key.usage,
            grant::supported_by(key).join(", ")
        )));
    }
    if terms.constraints.about_context() && key.spec != KeySpec::SYMMETRIC_DEFAULT {
        return Err(invalid(
            "EncryptionContext is supported only when creating a grant for a symmetric encryption \
             KMS key.",
        ));
    }
    Ok(())
}
