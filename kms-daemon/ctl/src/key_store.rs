//! `kmsctl key-store`: the custom key stores of an account, as their owner sees them.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::management::Account;
use super::{Failure, Outcome, Output, say, table};

/// How often a store that is connecting is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After how long the person hears for the first time that it goes on; then each time after twice as long.
const FIRST_WORD: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Region of the stores [default: as for the AWS CLI, else us-east-1].
    #[arg(long, global = true)]
    region: Option<String>,
    #[command(flatten)]
    account: Account,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the custom key stores: what they are on, and whether their keys can be used.
    List,
    /// Connect a store to its proxy or cluster, and wait until its keys can be used or it is clear why not. The exit
    /// code is 1 if it has failed.
    Connect {
        /// Id of the store, cks-….
        id: String,
        /// How long to wait, in seconds; the daemon goes on after that.
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Disconnect a store: its keys cannot be used until it is connected again.
    Disconnect {
        /// Id of the store, cks-….
        id: String,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Arguments { command, region, account } = arguments;
    let region = match region {
        Some(region) => region.clone(),
        None => account.region()?.unwrap_or_else(|| "us-east-1".to_owned()),
    };
    let call = |operation: &str, input: &Value| account.kms(&region, operation, input);
    match command {
        Command::List => {
            let stores = all(|input| call("DescribeCustomKeyStores", input))?;
            output.print(&stores, print)?;
            Ok(Outcome::Good)
        }
        Command::Connect { id, timeout } => {
            call("ConnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }))?;
            let one = json!({ "CustomKeyStoreId": id });
            let look = || Ok(call("DescribeCustomKeyStores", &one)?["CustomKeyStores"][0].take());
            let store = settled(id, Duration::from_secs(*timeout), look)?;
            let is_connected = store["ConnectionState"] == "CONNECTED";
            output.print(&store, |out, store| outcome(out, id, store))?;
            Ok(if is_connected { Outcome::Good } else { Outcome::Bad })
        }
        Command::Disconnect { id } => {
            call("DisconnectCustomKeyStore", &json!({ "CustomKeyStoreId": id }))?;
            output.print(&json!({ "CustomKeyStoreId": id }), |out, _| {
                writeln!(
                    out,
                    "{id} is disconnected: its keys cannot be used until it is connected again"
                )
            })?;
            Ok(Outcome::Good)
        }
    }
}

/// All stores, page by page.
fn all(page: impl Fn(&Value) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let (mut stores, mut input) = (Vec::new(), json!({}));
    loop {
        let mut answer = page(&input)?;
        if let Value::Array(more) = answer["CustomKeyStores"].take() {
            stores.extend(more);
        }
        match answer["NextMarker"].take() {
            Value::String(marker) if answer["Truncated"] == true => {
                input = json!({ "Marker": marker });
            }
            _ => return Ok(Value::Array(stores)),
        }
    }
}

/// Waits until a store is not connecting any more; says from time to time that it still is.
///
/// # Errors
/// If that takes longer than `limit`.
fn settled(
    id: &str,
    limit: Duration,
    look: impl Fn() -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let begin = Instant::now();
    let mut next_word = FIRST_WORD;
    loop {
        let store = look()?;
        if store["ConnectionState"] != "CONNECTING" {
            return Ok(store);
        }
        let waited = begin.elapsed();
        if waited >= limit {
            return Err(Failure(format!(
                "{id} is still connecting after {} seconds, and goes on; `kmsctl key-store list` shows what comes of \
                 it",
                limit.as_secs()
            )));
        }
        if waited >= next_word {
            say(format_args!("{id}: connecting for {} s", waited.as_secs()));
            next_word *= 2;
        }
        thread::sleep(LOOK);
    }
}

fn outcome(out: &mut dyn Write, id: &str, store: &Value) -> io::Result<()> {
    match store["ConnectionErrorCode"].as_str() {
        None => {
            let state = store["ConnectionState"].as_str().unwrap_or_default().to_lowercase();
            writeln!(out, "{id} is {state}")
        }
        Some(code) => {
            writeln!(out, "{id} has failed to connect: {code}")?;
            table::wrapped(out, advice(code))?;
            let next = format!("Then: kmsctl key-store disconnect {id}, and connect it again.");
            table::wrapped(out, &next)
        }
    }
}

fn print(out: &mut dyn Write, stores: &Value) -> io::Result<()> {
    let stores = stores.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |store: &Value, member: &str| store[member].as_str().unwrap_or("-").to_owned();
    let head = ["CUSTOM KEY STORE", "STATE", "TYPE", "NAME"].map(str::to_owned);
    let row = |store: &Value| {
        let members =
            ["CustomKeyStoreId", "ConnectionState", "CustomKeyStoreType", "CustomKeyStoreName"];
        members.map(|member| text(store, member))
    };
    let rows: Vec<_> = std::iter::once(head).chain(stores.iter().map(row)).collect();
    table::print(out, &rows, 3)?;
    for store in stores {
        let proxy = &store["XksProxyConfiguration"];
        let on = store["CloudHsmClusterId"].as_str().or_else(|| proxy["UriEndpoint"].as_str());
        writeln!(out)?;
        writeln!(out, "{} on {}", text(store, "CustomKeyStoreId"), on.unwrap_or("nothing known"))?;
        if let Some(code) = store["ConnectionErrorCode"].as_str() {
            table::wrapped(out, &format!("! {code}: {}", advice(code)))?;
        }
    }
    Ok(())
}

/// What a person looks at, by `ConnectionErrorCode`.
fn advice(code: &str) -> &'static str {
    match code {
        "INVALID_CREDENTIALS" => {
            "The password of the store is not the user PIN of all tokens. It is not tried again before it is updated: \
             tokens lock their PIN after a few."
        }
        "USER_LOCKED_OUT" => {
            "A token has locked its user PIN, or would after one more wrong one. Unlock it with its vendor's tools."
        }
        "USER_NOT_FOUND" => "A token has no user PIN. Initialize it with its vendor's tools.",
        "USER_LOGGED_IN" => "Somebody else is logged in to a token that takes one user only.",
        "INSUFFICIENT_CLOUDHSM_HSMS" => {
            "No token with the labels of the cluster is there, or all are other tokens than they were: ask the \
             operator for `kmsctl cluster show`."
        }
        "CLUSTER_NOT_FOUND" => {
            "The module of the cluster does not load, or the daemon was started without it (--pkcs11-module)."
        }
        "NETWORK_ERRORS" => {
            "The module of the cluster has crashed or does not respond in time, or too many run already."
        }
        "XKS_PROXY_ACCESS_DENIED" => {
            "The proxy does not accept the credential of the store. Update the store with the present one."
        }
        "XKS_PROXY_NOT_REACHABLE" => {
            "The proxy cannot be reached. Look at its host, its port and the network."
        }
        "XKS_PROXY_TIMED_OUT" => {
            "The proxy does not respond in time: at AWS, that is within 250 ms."
        }
        "XKS_PROXY_INVALID_TLS_CONFIGURATION" => {
            "TLS to the proxy fails. Look at the name in its certificate, its authority (--xks-proxy-ca) and its \
             versions."
        }
        "XKS_PROXY_INVALID_CONFIGURATION" => {
            "The path or the endpoint of the store is not that of its proxy."
        }
        "XKS_PROXY_INVALID_RESPONSE" => {
            "What the proxy responds is not as its API says. Its log says more."
        }
        "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND" => {
            "The operator has not named the endpoint service of the store (--xks-proxy-vpc)."
        }
        "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION" => {
            "The endpoint service of the store stands for another host than the endpoint of the store has."
        }
        _ => "The log of the daemon says more.",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn a_store_is_waited_for_until_it_is_clear() {
        let states = RefCell::new(vec!["CONNECTED", "CONNECTING", "CONNECTING"]);
        let look = || Ok(json!({ "ConnectionState": states.borrow_mut().pop().unwrap() }));
        let store = settled("cks-1", Duration::from_secs(600), look).unwrap();
        assert_eq!(store["ConnectionState"], "CONNECTED");
        let never = || Ok(json!({ "ConnectionState": "CONNECTING" }));
        let error = settled("cks-1", Duration::ZERO, never).unwrap_err();
        assert!(error.0.contains("goes on"), "{error}");
    }

    #[test]
    fn every_page_is_read() {
        let pages = Cell::new(0);
        let page = |input: &Value| {
            pages.set(pages.get() + 1);
            let stores = json!([{ "CustomKeyStoreId": format!("cks-{}", pages.get()) }]);
            Ok(match input["Marker"].as_str() {
                None => json!({ "CustomKeyStores": stores, "Truncated": true, "NextMarker": "m" }),
                Some(_) => json!({ "CustomKeyStores": stores, "Truncated": false }),
            })
        };
        let stores = all(page).unwrap();
        assert_eq!(stores.as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_list_fits_eighty_columns_and_says_what_to_do() {
        let stores = json!([
            {
                "CustomKeyStoreId": "cks-1234567890abcdef0", "CustomKeyStoreName": "n".repeat(256),
                "ConnectionState": "FAILED", "ConnectionErrorCode": "USER_LOCKED_OUT",
                "CustomKeyStoreType": "AWS_CLOUDHSM",
                "CloudHsmClusterId": "cluster-1a23b4cdefg",
            },
            {
                "CustomKeyStoreId": "cks-1234567890abcdef1", "CustomKeyStoreName": "ours",
                "ConnectionState": "DISCONNECTED", "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
                "XksProxyConfiguration": { "UriEndpoint": "https://proxy.example.com" },
            },
        ]);
        let mut out = Vec::new();
        print(&mut out, &stores).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        for part in ["DISCONNECTED", "https://proxy.example.com", "Unlock it"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let mut out = Vec::new();
        outcome(&mut out, "cks-1", &stores[0]).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("USER_LOCKED_OUT") && out.contains("disconnect cks-1"), "{out}");
    }
}
