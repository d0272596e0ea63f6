//! `kmsctl policy`: what policies and grants decide.

use std::io::{self, Write};

use serde_json::Value;

use super::management::{Account, STRONGROOM};
use super::{Failure, Outcome, Output, table};

/// Width of texts, as that of the help.
const WIDTH: usize = 100;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show whether a principal would be allowed an action, and why. The exit code is 1 if not.
    /// Nothing is done to the key. Needs a running daemon and the access key of the account's root,
    /// or that of the first account's root if principal or key belong to another account.
    #[command(after_help = "Example:\n  kmsctl policy explain --principal \
                            arn:aws:iam::000000000000:user/ana --action kms:Decrypt \\\n    \
                            --key alias/payments --context kms:EncryptionContext:team=red")]
    Explain {
        /// ARN of a user, a role, a session of a role, or an account's root.
        #[arg(long, value_name = "ARN")]
        principal: String,
        /// For example kms:Decrypt. ReEncrypt is kms:ReEncryptFrom and kms:ReEncryptTo.
        #[arg(long)]
        action: String,
        /// Key id, key ARN, alias or alias ARN; not for actions such as kms:CreateKey.
        #[arg(long)]
        key: Option<String>,
        /// Condition key and value of the request, for example kms:EncryptionContext:team=red or
        /// aws:SourceIp=10.0.0.1. Can be repeated; repeating one key makes a list. A value that is
        /// neither given nor known from key and caller is missing; the client's address, its
        /// User-Agent and Referer are unknown, which decides against it.
        #[arg(long, value_name = "KEY=VALUE")]
        context: Vec<String>,
        /// Region of the key [default: that of its ARN, AWS_REGION, AWS_DEFAULT_REGION, region of the
        /// profile, the first one of the daemon].
        #[arg(long)]
        region: Option<String>,
        #[command(flatten)]
        account: Account,
    },
}

pub(super) fn run(command: &Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Command::Explain { principal, action, key, context, region, account } = command;
    let named = key.as_deref().and_then(|key| key.strip_prefix("arn:")?.split(':').nth(2));
    let configured = account.region()?;
    let mut parameters = vec![
        ("PrincipalArn".to_owned(), Some(principal.as_str())),
        ("ActionName".to_owned(), Some(action)),
        ("KeyId".to_owned(), key.as_deref()),
        ("RegionName".to_owned(), region.as_deref().or(named).or(configured.as_deref())),
    ];
    for (number, (key, values)) in entries(context)?.into_iter().enumerate() {
        let entry = format!("ContextEntries.member.{}", number + 1);
        parameters.push((format!("{entry}.ContextKeyName"), Some(key)));
        for (number, value) in values.into_iter().enumerate() {
            let name = format!("{entry}.ContextKeyValues.member.{}", number + 1);
            parameters.push((name, Some(value)));
        }
    }
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let answer = account.call(STRONGROOM, "ExplainAccess", &parameters)?;
    output.print(&answer, print)?;
    Ok(if answer["Decision"] == "allowed" { Outcome::Good } else { Outcome::Bad })
}

/// Condition keys with their values, in the order they were given.
fn entries(context: &[String]) -> Result<Vec<(&str, Vec<&str>)>, Failure> {
    let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
    for pair in context {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure(format!(
                "--context {pair}: it must be KEY=VALUE, such as aws:SourceIp=10.0.0.1"
            ))
        })?;
        match entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => entries.push((key, vec![value])),
        }
    }
    Ok(entries)
}

fn print(out: &mut dyn Write, answer: &Value) -> io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    writeln!(out, "{}", text(&answer["Decision"]).to_uppercase())?;
    wrapped(out, &text(&answer["Reason"]))?;
    if answer["Told"].is_string() {
        wrapped(out, &format!("The caller is told: {}", text(&answer["Told"])))?;
    }
    if answer["State"].is_string() {
        wrapped(out, &format!("But the key refuses: {}", text(&answer["State"])))?;
    }
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let mut policy = String::new();
    for statement in list("Statements") {
        if text(&statement["Policy"]) != policy {
            policy = text(&statement["Policy"]);
            writeln!(out, "\n{policy}")?;
        }
        let mark = if statement["Applies"] == true { "*" } else { " " };
        let (effect, sid) = (text(&statement["Effect"]), text(&statement["Sid"]));
        writeln!(out, "{mark} {:>3}  {effect:<6} {sid}", statement["Statement"])?;
        for mismatch in statement["Mismatches"].as_array().into_iter().flatten() {
            writeln!(out, "          {}", text(mismatch))?;
        }
    }
    let grants = list("Grants");
    if !grants.is_empty() {
        writeln!(out, "\ngrants to the principal")?;
    }
    for grant in grants {
        let mark = if grant["Allows"] == true { "*" } else { " " };
        writeln!(out, "{mark} {}", text(&grant["GrantId"]))?;
        writeln!(out, "    to {}", text(&grant["Grantee"]))?;
        if grant["Mismatch"].is_string() {
            writeln!(out, "    {}", text(&grant["Mismatch"]))?;
        }
    }
    if let Some(more) = answer["GrantsLeftOut"].as_u64() {
        writeln!(out, "  and {more} more that do not allow it")?;
    }
    writeln!(out, "\n* applies to the request")
}

fn wrapped(out: &mut dyn Write, text: &str) -> io::Result<()> {
    table::wrapped_to(WIDTH, out, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_key_are_a_list() {
        let context = ["a:b=1", "c:d==", "a:b=2"].map(str::to_owned);
        assert_eq!(entries(&context).unwrap(), [("a:b", vec!["1", "2"]), ("c:d", vec!["="])]);
        let error = entries(&["a:b".to_owned()]).unwrap_err();
        assert!(error.0.contains("KEY=VALUE"));
    }
}
