//! AWS's Query APIs, as IAM, STS and EC2 have them: the form in the body of a request, and refusals.

mod error;
mod form;

pub use self::error::{Code, IamError};
pub use self::form::{Form, member, name_of};
