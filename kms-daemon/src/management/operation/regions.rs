//! `DescribeRegions` of EC2: the Regions that are served here.

use super::call::Call;
use crate::management::Node;
use kms_base::text::bounded;
use kms_query::{Code, IamError};

/// Most names and filters of a request, and values of a filter.
const MAX_NAMED: usize = 200;
/// Nobody has to ask for a Region of this service.
const OPT_IN: &str = "opt-in-not-required";

/// A filter: what has to have one of these values.
struct Filter<'f> {
    name: &'f str,
    values: Vec<&'f str>,
}

pub(super) async fn describe(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    let named = numbered(call, "RegionName")?;
    let mut filters = Vec::new();
    for number in 1..=MAX_NAMED {
        let Some(name) = call.form.optional(&format!("Filter.{number}.Name")) else { break };
        if !["region-name", "endpoint", "opt-in-status"].contains(&name) {
            let name = bounded(name, 64);
            return Err(IamError::invalid(format!("The filter '{name}' is invalid")));
        }
        filters.push(Filter { name, values: numbered(call, &format!("Filter.{number}.Value"))? });
    }
    let read: usize = filters.iter().map(|filter| 1 + filter.values.len()).sum();
    let given = call.form.count_below("RegionName") + call.form.count_below("Filter");
    if named.len() + read != given {
        let text = "The items of RegionName and Filter have to be numbered from 1 without gaps, and a \
                    filter has a Name and Values.";
        return Err(IamError::invalid(text));
    }
    call.authorize(None)?;
    if call.form.optional("DryRun") == Some("true") {
        let text = "Request would have succeeded, but DryRun flag is set.";
        return Err(IamError::new(Code::DryRunOperation, text));
    }
    let served = call.keys.regions().names();
    if let Some(unknown) = named.iter().find(|name| !served.iter().any(|own| own == *name)) {
        let name = bounded(unknown, 64);
        return Err(IamError::invalid(format!("Invalid region provided: '{name}'")));
    }
    let shown = served.iter().filter(|region| {
        let holds = |filter: &Filter<'_>| {
            let own = match filter.name {
                "region-name" => region.as_str().to_owned(),
                "endpoint" => endpoint(region),
                _ => OPT_IN.to_owned(),
            };
            filter.values.iter().any(|value| matches(value, &own))
        };
        (named.is_empty() || named.contains(&region.as_str())) && filters.iter().all(holds)
    });
    let items = shown.map(|region| {
        Node::Members(vec![
            ("regionName", Node::from(region.as_str())),
            ("regionEndpoint", Node::from(endpoint(region))),
            ("optInStatus", Node::from(OPT_IN)),
        ])
    });
    Ok(Some(Node::Members(vec![("regionInfo", Node::List(items.collect()))])))
}

/// What AWS calls the endpoint. Clients of this service have another one.
fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

/// A list as EC2 has it: `Name.1`, `Name.2`, and so on.
fn numbered<'f>(call: &Call<'f>, list: &str) -> Result<Vec<&'f str>, IamError> {
    let mut values = Vec::new();
    for number in 1.. {
        let Some(value) = call.form.optional(&format!("{list}.{number}")) else { break };
        if values.len() == MAX_NAMED {
            return Err(IamError::invalid(format!("{list} has more than {MAX_NAMED} values.")));
        }
        values.push(value);
    }
    Ok(values)
}

/// Whether a value of a filter, which may have `*` and `?`, matches.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((back, taken)) => {
                    at = back + 1;
                    from = taken + 1;
                    star = Some((back, from));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn values_of_filters_have_wildcards() {
        for (pattern, text) in [
            ("us-east-1", "us-east-1"),
            ("*", ""),
            ("us-*", "us-east-1"),
            ("*-1", "eu-west-1-1"),
            ("us-?ast-1", "us-east-1"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("us", "us-east-1"), ("*-2", "us-east-1"), ("", "x"), ("us-*x", "us-east-1")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
