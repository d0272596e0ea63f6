//! Parameters of IAM, STS and their neighbours, as forms and as JSON.

use kms_query::Form;
use serde_json::Value;

/// The longest text of a parameter in a record, in bytes.
const LONGEST: usize = 64;

/// Whoever signs can send any form: what is recorded of it must be readable, whatever it is.
pub(crate) fn forms(input: &[u8]) {
    for form in [Form::parse(input), Form::parse_json(input)].into_iter().flatten() {
        for name in ["UserName", "Tags", "Filter"] {
            let _ = form.items(name, &["Key", "Values[]"]);
            let _ = form.list(name);
            if let Some(value) = form.value(name, LONGEST) {
                let read: Value =
                    serde_json::from_str(&value.to_string()).expect("a record can be read back");
                assert_eq!(read, value);
            }
            if form.check_names(&[name]).is_ok() {
                assert_eq!(form.count_below(name), 0, "nothing is ignored");
            }
        }
    }
}
