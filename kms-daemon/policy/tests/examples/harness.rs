//! Examples, and how they are checked.

use std::collections::BTreeMap;

use kms_policy::{
    Action, Caller, ConditionKey, Context, Decision, Grantee, Grantees, Guardrail, GuardrailPolicy,
    IdentityPolicy, KeyPolicy, Name, Policies, PolicyError, Request, Resource, Value, authorize,
    pair,
};
use serde_json::{Value as Json, json};

use super::people::{ACCOUNT, KEY, ROOT};
use super::statements::{ALWAYS, allow};

/// An example from the documentation: policies, and requests with the expected decisions.
pub(crate) struct Example {
    pub(crate) source: String,
    key: Json,
    identity: Vec<Json>,
    boundary: Option<Json>,
    session: Vec<Json>,
    service_control: Vec<Json>,
    resource_control: Vec<Json>,
    endpoint: Option<Json>,
    pub(crate) rows: Vec<(Ask, Decision)>,
}

/// Starts an example from this section of the KMS Developer Guide.
pub(crate) fn kms(section: &str) -> Example {
    Example::new(format!("KMS Developer Guide, \"{section}\""))
}

/// Starts an example from this section of the IAM User Guide.
pub(crate) fn iam(section: &str) -> Example {
    Example::new(format!("IAM User Guide, \"{section}\""))
}

impl Example {
    /// Starts with the default key policy, which lets the key's account decide.
    fn new(source: String) -> Self {
        Self {
            source,
            key: document([allow(ROOT, "*", ALWAYS)]),
            identity: Vec::new(),
            boundary: None,
            session: Vec::new(),
            service_control: Vec::new(),
            resource_control: Vec::new(),
            endpoint: None,
            rows: Vec::new(),
        }
    }

    /// Replaces the key policy by one of these statements.
    pub(crate) fn key<const N: usize>(self, statements: [Json; N]) -> Self {
        Self { key: document(statements), ..self }
    }

    /// Adds an identity policy of these statements to all callers.
    pub(crate) fn identity<const N: usize>(mut self, statements: [Json; N]) -> Self {
        self.identity.push(document(statements));
        self
    }

    /// Gives all callers a permissions boundary.
    pub(crate) fn boundary<const N: usize>(self, statements: [Json; N]) -> Self {
        Self { boundary: Some(document(statements)), ..self }
    }

    /// Adds a session policy to the callers' sessions.
    pub(crate) fn session<const N: usize>(mut self, statements: [Json; N]) -> Self {
        self.session.push(document(statements));
        self
    }

    /// Adds a service control policy to the callers' organisation.
    pub(crate) fn service_control<const N: usize>(mut self, statements: [Json; N]) -> Self {
        self.service_control.push(document(statements));
        self
    }

    /// Gives the key's organisation a resource control policy, in addition to the one that allows
    /// everything.
    pub(crate) fn resource_control<const N: usize>(mut self, statements: [Json; N]) -> Self {
        let all = json!({ "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" });
        self.resource_control = vec![document([all]), document(statements)];
        self
    }

    /// Sends the requests through an endpoint with a policy.
    pub(crate) fn endpoint<const N: usize>(self, statements: [Json; N]) -> Self {
        Self { endpoint: Some(document(statements)), ..self }
    }

    /// Changes the identity policies and the key policy so far to the version that has no
    /// variables.
    pub(crate) fn old_version(mut self) -> Self {
        for document in self.identity.iter_mut().chain([&mut self.key]) {
            document["Version"] = "2008-10-17".into();
        }
        self
    }

    /// Sets the requests and the expected decisions.
    pub(crate) fn rows<const N: usize>(self, rows: [(Ask, Decision); N]) -> Self {
        Self { rows: rows.into(), ..self }
    }

    /// Compiles the key policy.
    pub(crate) fn read_key_policy(&self) -> Result<KeyPolicy, PolicyError> {
        KeyPolicy::parse(&self.key.to_string())
    }

    /// Returns a description of each row whose decision differs from the expected one.
    ///
    /// # Errors
    /// [`PolicyError`] if a document is not accepted.
    pub(crate) fn failures(&self) -> Result<Vec<String>, PolicyError> {
        let key = self.read_key_policy()?;
        let read = |list: &[Json]| -> Result<Vec<_>, _> {
            list.iter().map(|document| IdentityPolicy::parse(&document.to_string())).collect()
        };
        let guard = |list: &[Json]| -> Result<Vec<_>, _> {
            list.iter().map(|document| GuardrailPolicy::parse(&document.to_string())).collect()
        };
        let (identity, session) = (read(&self.identity)?, read(&self.session)?);
        let boundary = read(self.boundary.as_slice())?.pop();
        let service_control = read(&self.service_control)?;
        let resource_control = guard(&self.resource_control)?;
        let endpoint = guard(self.endpoint.as_slice())?.pop();
        let mut guardrails = Vec::new();
        if !service_control.is_empty() {
            guardrails.push(Guardrail::ServiceControl(&service_control));
        }
        if !resource_control.is_empty() {
            guardrails.push(Guardrail::ResourceControl(&resource_control));
        }
        guardrails.extend(endpoint.as_ref().map(Guardrail::Endpoint));

        let mut failures = Vec::new();
        for (ask, expected) in &self.rows {
            let policies = Policies {
                identity: if ask.bare { &[] } else { &identity },
                boundary: boundary.as_ref(),
                session: &session,
                guardrails: &guardrails,
            };
            let decision = ask.with_request(&key, |request| authorize(request, &policies));
            let decision = outcome(match ask.grant {
                Some(grantee) => decision.with_grant(grantee),
                None => decision,
            });
            if decision != *expected {
                failures.push(format!(
                    "{}: {} {} on {} given {:?}: {decision:?} and not {expected:?}",
                    self.source, ask.caller, ask.action, ask.resource, ask.facts
                ));
            }
        }
        Ok(failures)
    }
}

/// Returns the decision without the grants that would change it.
const fn outcome(decision: Decision) -> Decision {
    match decision {
        Decision::Denied(denial, _) => Decision::Denied(denial, Grantees::NONE),
        allowed @ Decision::Allowed(_) => allowed,
    }
}

/// A request.
pub(crate) struct Ask {
    caller: &'static str,
    action: Action,
    resource: &'static str,
    facts: Facts,
    grant: Option<Grantee>,
    /// Whether the caller has no identity policies.
    bare: bool,
}

/// Returns a request by the caller with this ARN, or by the service with this name. Its resource is
/// [`KEY`], unless the action has none.
///
/// `facts` has the values of condition keys. The values of a family of keys (tags, pairs of an
/// encryption context, measurements) are an object under the family's name. `null` stands for an
/// unknown value.
pub(crate) fn ask(caller: &'static str, action: Action, facts: Json) -> Ask {
    let resource = match action {
        Action::CreateKey | Action::GenerateRandom | Action::ListKeys | Action::ListAliases => "*",
        _ => KEY,
    };
    Ask { caller, action, resource, facts: Facts::new(facts), grant: None, bare: false }
}

impl Ask {
    /// Changes the resource to this key or alias.
    pub(crate) fn on(self, resource: &'static str) -> Self {
        Self { resource, ..self }
    }

    /// Removes the caller's identity policies.
    pub(crate) fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// Adds a grant that names the caller.
    pub(crate) fn granted(self) -> Self {
        Self { grant: Some(Grantee::Caller), ..self }
    }

    fn with_request<T>(&self, key: &KeyPolicy, then: impl FnOnce(&Request<'_>) -> T) -> T {
        let arn = self.caller;
        let services = [arn];
        let role = arn.split_once(":assumed-role/").map(|(account, name)| {
            let account = account.replace(":sts:", ":iam:");
            format!("{account}:role/{}", name.split('/').next().unwrap_or_default())
        });
        let caller = match &role {
            Some(role) => Caller::role_session(arn, role),
            None if arn.ends_with(":root") => Caller::root(arn),
            None if arn.contains(":federated-user/") => Caller::federated_user(arn),
            None if arn.ends_with(".amazonaws.com") => Caller::service(&services),
            None => Caller::user(arn),
        };
        let caller = caller.unwrap_or_else(|| panic!("{arn} is a caller"));
        let resource = match self.resource.contains(":key/") {
            true => Resource::Key { arn: self.resource, account: ACCOUNT, policy: Some(key) },
            false => Resource::Account { arn: Some(self.resource), account: ACCOUNT },
        };
        let context = Given { caller, facts: &self.facts };
        then(&Request { caller, action: self.action, resource, context: &context })
    }
}

/// Values of condition keys, by the keys' names in lower case.
#[derive(Debug)]
struct Facts(BTreeMap<String, Fact>);

#[derive(Debug)]
enum Fact {
    Text(String),
    Bool(bool),
    Number(i64),
    List(Vec<String>),
    Pairs(BTreeMap<String, String>),
    Unknown,
}

impl Facts {
    fn new(facts: Json) -> Self {
        let text = |value: &Json| value.as_str().expect("a string").to_owned();
        let fact = |value: &Json| match value {
            Json::Null => Fact::Unknown,
            Json::Bool(flag) => Fact::Bool(*flag),
            Json::Number(number) => Fact::Number(number.as_i64().expect("an integer")),
            Json::String(text) => Fact::Text(text.clone()),
            Json::Array(list) => Fact::List(list.iter().map(text).collect()),
            Json::Object(pairs) => {
                Fact::Pairs(pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect())
            }
        };
        let facts = facts.as_object().expect("an object");
        Self(facts.iter().map(|(name, value)| (name.to_lowercase(), fact(value))).collect())
    }

    fn value(&self, name: &str) -> Option<Value<'_>> {
        Some(match self.0.get(&name.to_lowercase())? {
            Fact::Text(text) => Value::from(text.as_str()),
            Fact::Bool(flag) => Value::Bool(*flag),
            Fact::Number(number) => Value::Number(*number),
            Fact::List(list) => Value::List(list),
            Fact::Pairs(pairs) => Value::List(pairs),
            Fact::Unknown => Value::Unknown,
        })
    }

    /// Returns the pairs of a family of keys.
    fn pairs(&self, family: Name) -> impl Iterator<Item = (&str, &str)> {
        let fact = self.0.get(&family.text().trim_end_matches(['/', ':']).to_lowercase());
        let pairs = match fact {
            Some(Fact::Pairs(pairs)) => Some(pairs),
            _ => None,
        };
        pairs.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The facts of a request, and the values that follow from its caller.
struct Given<'a> {
    caller: Caller<'a>,
    facts: &'a Facts,
}

impl Context for Given<'_> {
    fn value(&self, key: &ConditionKey) -> Option<Value<'_>> {
        match key.name() {
            family @ (Name::EncryptionContext
            | Name::PrincipalTag
            | Name::RecipientAttestation
            | Name::RequestTag
            | Name::ResourceTag) => pair(key, self.facts.pairs(family)),
            Name::EncryptionContextKeys => self.facts.value("kms:EncryptionContext"),
            name => self.facts.value(key.text()).or_else(|| self.caller.value(name)),
        }
    }
}

fn document<const N: usize>(statements: [Json; N]) -> Json {
    json!({ "Version": "2012-10-17", "Statement": statements.to_vec() })
}
