//! Why a document is not accepted as a policy.

use std::fmt;

/// A fault in a policy document, and where it is.
///
/// The text ([`fmt::Display`]) suits `MalformedPolicyDocumentException` of KMS and
/// `MalformedPolicyDocument` of IAM; it is our own, except for the phrases by which clients tell
/// faults of principals and of structure apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// What is wrong.
    pub fault: Fault,
    /// In which statement.
    pub statement: Option<StatementName>,
    /// In which element of the statement or the document, for example `Condition`, or
    /// `Condition.StringEquals.kms:ViaService`.
    pub element: Option<String>,
}

/// How a statement is found in its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementName {
    /// Counted from 0.
    pub index: usize,
    /// The `Sid`, if it has one.
    pub sid: Option<String>,
}

/// What can be wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not JSON, or a member is repeated.
    #[error("{0}")]
    Json(String),
    /// A character that the kind of policy does not admit.
    #[error("the character {0:?} is not permitted")]
    Character(char),
    /// A JSON value of another type than the element has.
    #[error("{found} where {wanted} is needed")]
    Type {
        /// For example `a string`.
        wanted: &'static str,
        /// For example `an array`.
        found: &'static str,
    },
    /// An element that policies of this kind do not have.
    #[error("this element is not known here")]
    UnknownElement,
    /// An element is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An element and its negation are both there.
    #[error("{0} and Not{0} are both given")]
    Both(&'static str),
    /// An empty list or object where something has to be.
    #[error("it is empty")]
    Empty,
    /// Neither of the versions of the language.
    #[error("{0:?} is not a version of the policy language")]
    Version(String),
    /// Neither `Allow` nor `Deny`.
    #[error("{0:?} is neither Allow nor Deny")]
    Effect(String),
    /// A `Sid` with characters that this kind of policy does not admit.
    #[error("{0:?} may contain only ASCII letters and digits")]
    Sid(String),
    /// Two statements have the same `Sid`.
    #[error("statement ids must be unique, but {0:?} is repeated")]
    RepeatedSid(String),
    /// Not an action, or a pattern of actions that this kind of policy cannot be about.
    #[error("{0:?} is not an action this policy can be about")]
    Action(String),
    /// Not `*`, an ARN or a pattern of ARNs.
    #[error("{0:?} is neither an ARN nor \"*\"")]
    Resource(String),
    /// There is no principal.
    #[error("there is no principal")]
    NoPrincipal,
    /// Not a principal, or one that this kind of policy cannot name, or one that does not exist.
    #[error("{0:?}")]
    Principal(String),
    /// `NotPrincipal` with `Allow` would allow everyone else, strangers included.
    #[error("NotPrincipal cannot be used with Allow")]
    NotPrincipalWithAllow,
    /// Not a condition operator.
    #[error("{0:?} is not a condition operator")]
    Operator(String),
    /// Not the name of a condition key.
    #[error("{0:?} is not a condition key")]
    ConditionKey(String),
    /// A key that has no meaning in this kind of policy.
    #[error("the condition key {0} is not permitted in a key policy")]
    ConditionKeyNotPermitted(String),
    /// The operator cannot compare values of this key.
    #[error("{operator} cannot be used with {key}")]
    OperatorForKey {
        /// The operator.
        operator: String,
        /// The key.
        key: String,
    },
    /// A condition that holds for every request that lacks the key.
    #[error("OverlyPermissiveCondition: ForAllValues with {0} holds when the key is missing")]
    OverlyPermissive(String),
    /// A value the operator cannot compare with.
    #[error("{value:?} is not {wanted}")]
    Value {
        /// For example `an IP address or a CIDR range`.
        wanted: &'static str,
        /// As written.
        value: String,
    },
    /// To compare a request with the policy could take more than its share of a decision.
    #[error(
        "to compare a request with it could take {needed} steps, and a policy of this kind has at \
         most {most}. Most of them are this statement's. Use fewer patterns with text between two \
         \"*\", fewer values for multivalued keys, or StringEquals in place of StringLike"
    )]
    TooCostly {
        /// Most steps that a request can take.
        needed: u64,
        /// Most that are allowed.
        most: u64,
    },
    /// `${` without a variable, or where there can be none.
    #[error("{0:?} has a policy variable that cannot be resolved")]
    Variable(String),
}

impl PolicyError {
    /// A fault of the document as a whole.
    pub(crate) const fn new(fault: Fault) -> Self {
        Self { fault, statement: None, element: None }
    }

    /// Within `element`, around what is named already.
    pub(crate) fn within(mut self, element: &str) -> Self {
        self.element = Some(match self.element {
            None => element.to_owned(),
            Some(inner) => format!("{element}.{inner}"),
        });
        self
    }
}

impl From<Fault> for PolicyError {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl std::error::Error for PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fault {
            Fault::Principal(_) => {
                "Policy contains a statement with one or more invalid principals: "
            }
            Fault::TooCostly { .. } => "Policy is too complex to be evaluated for every request: ",
            Fault::NoPrincipal => "Policy contains a statement with no principal: ",
            _ => "Syntax errors in policy: ",
        })?;
        if let Some(StatementName { index, sid }) = &self.statement {
            match sid {
                Some(sid) => write!(f, "statement {index} ({sid:?}), ")?,
                None => write!(f, "statement {index}, ")?,
            }
        }
        if let Some(element) = &self.element {
            write!(f, "{element}: ")?;
        }
        write!(f, "{}.", self.fault)
    }
}
