//! The example policies of AWS's documentation, and what it says they do.
//!
//! Each module has examples of the KMS Developer Guide or the IAM User Guide, with policies of our
//! own wording and the section they follow. Examples that are about another service are told about
//! KMS instead: what counts is the element, operator or combination of policies that they show.
//!
//! # What cannot be expressed
//!
//! * IAM User Guide, "Policy evaluation logic": a federated user whose IAM user the key policy
//!   names. [`Caller::federated_user`](kms_policy::Caller::federated_user) does not know whose
//!   session it is, so the key policy has to name the session or the account.
//! * IAM User Guide, "Principal": canonical users, which S3 alone knows, and anonymous requests,
//!   which KMS does not take. [`refused`] shows that such documents are refused.
//! * IAM User Guide, examples of actions that neither KMS nor STS has (S3 prefixes, IAM's own
//!   boundaries on `iam:CreateUser`, EC2 instance types) have no requests here; what they show of
//!   the language is told about KMS.
//! * KMS Developer Guide, "Creating grants" and "Using grants": constraints and child grants are
//!   checked where grants are found, before the engine is asked.
//! * KMS Developer Guide, "Controlling access to multi-Region keys": the service-linked role that
//!   synchronises keys is trusted by a service that calls for itself; AWS alone assumes it.
//! * KMS Developer Guide, "Key policies": a statement without `Resource` that has no effect. KMS
//!   refuses such policies since August 2025, and so does the engine.

#[path = "examples/cryptographic_conditions.rs"]
mod cryptographic_conditions;
#[path = "examples/elements.rs"]
mod elements;
#[path = "examples/encryption_contexts.rs"]
mod encryption_contexts;
#[path = "examples/evaluation.rs"]
mod evaluation;
#[path = "examples/grants.rs"]
mod grants;
#[path = "examples/harness.rs"]
mod harness;
#[path = "examples/identity_policies.rs"]
mod identity_policies;
#[path = "examples/key_conditions.rs"]
mod key_conditions;
#[path = "examples/key_policies.rs"]
mod key_policies;
#[path = "examples/multivalued.rs"]
mod multivalued;
#[path = "examples/operators.rs"]
mod operators;
#[path = "examples/people.rs"]
mod people;
#[path = "examples/refused.rs"]
mod refused;
#[path = "examples/request_conditions.rs"]
mod request_conditions;
#[path = "examples/statements.rs"]
mod statements;
#[path = "examples/variables.rs"]
mod variables;

use harness::Example;

fn all() -> Vec<Example> {
    [
        cryptographic_conditions::examples,
        elements::examples,
        encryption_contexts::examples,
        evaluation::examples,
        grants::examples,
        identity_policies::examples,
        key_conditions::examples,
        key_policies::examples,
        multivalued::examples,
        operators::examples,
        request_conditions::examples,
        variables::examples,
    ]
    .into_iter()
    .flat_map(|examples| examples())
    .collect()
}

#[test]
fn examples_behave_as_described() {
    let mut failures = Vec::new();
    for example in all() {
        match example.failures() {
            Ok(own) => failures.extend(own),
            Err(error) => failures.push(format!("{}: {error}", example.source)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is only allowed, or only denied, could be for any reason.
#[test]
fn examples_have_both_sides() {
    let all = all();
    for example in &all {
        let allowed =
            |wanted| example.rows.iter().any(|(_, decision)| decision.is_allowed() == wanted);
        assert!(allowed(true) && allowed(false), "{}", example.source);
    }
    let mut sources: Vec<&str> = all.iter().map(|example| example.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(sources.len(), all.len(), "each example has a source of its own");
}
