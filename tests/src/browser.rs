//! A page in a headless Chromium: it is served by the test, and says in the end what it has found.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::patience::PATIENCE;
use crate::process::Process;
use crate::programs::on_path;

/// The browser of this machine.
///
/// # Errors
/// Says what is missing.
pub fn chromium() -> Result<PathBuf, String> {
    on_path(&["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"])
        .ok_or_else(|| "there is no chromium on PATH; apt-get install chromium".to_owned())
}

/// An origin: a port of its own, from which one page is served.
#[derive(Debug)]
pub struct Site {
    /// `http://127.0.0.1:PORT`.
    pub origin: String,
    listener: TcpListener,
}

impl Site {
    /// Takes a port.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        Self { origin: format!("http://127.0.0.1:{port}"), listener }
    }

    /// Serves a page that consists of this script, has the browser visit it, and returns what the
    /// script posts to `/result`. `configuration` is what it finds at `/configuration`.
    ///
    /// # Panics
    /// If nothing is posted in time; what the browser wrote is shown.
    #[must_use]
    pub fn visit(self, browser: &Path, script: Vec<u8>, configuration: &Value) -> Value {
        let (sender, results) = channel();
        let files = Arc::new([
            ("/", "text/html; charset=utf-8", PAGE.as_bytes().to_vec()),
            ("/script.js", "text/javascript; charset=utf-8", script),
            ("/configuration", "application/json", configuration.to_string().into_bytes()),
        ]);
        let listener = self.listener;
        // Ends with the test program; the browser may ask for other things for as long as it runs.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (sender, files) = (sender.clone(), Arc::clone(&files));
                // A browser opens connections that it then does not need: none waits for another.
                thread::spawn(move || {
                    if let Some(result) = answer(connection, &*files) {
                        let _ = sender.send(result);
                    }
                });
            }
        });
        open(browser, &self.origin, &results)
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// A script that does not even load says so.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Strongroom</title>
<script>onerror = (error) => fetch('/result', { method: 'POST', \
body: JSON.stringify({ page: String(error) }) })</script>
<script type=module src=/script.js></script>";

fn open(browser: &Path, url: &str, results: &Receiver<Vec<u8>>) -> Value {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let mut chromium = Command::new(browser);
    chromium
        .args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        // Nothing but the test's own pages is shown, and root may not have a sandbox.
        .args(["--no-sandbox", "--disable-background-networking", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .env("HOME", profile.path());
    let mut chromium = Process::start(&mut chromium);
    let result = results.recv_timeout(PATIENCE).expect("the page posts its result");
    // In order, so that none of its processes writes to the profile when that goes.
    chromium.signal(Signal::TERM);
    chromium.wait(PATIENCE);
    serde_json::from_slice(&result).expect("the page posts JSON")
}

/// Answers one request; the body, if it is the result.
fn answer(connection: TcpStream, files: &[(&str, &str, Vec<u8>)]) -> Option<Vec<u8>> {
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let found = files.iter().find(|(path, ..)| *path == target);
    let (status, kind, content) = match found {
        Some((_, kind, content)) => ("200 OK", *kind, content.as_slice()),
        None if target == "/result" => ("204 No Content", "text/plain", &[][..]),
        None => ("404 Not Found", "text/plain", &[][..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    let mut connection = reader.into_inner();
    connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(content)).ok()?;
    (target == "/result").then_some(body)
}
