//! The process that runs a module, for one token: it reads requests from standard input, and answers on standard
//! output. It ends with its input, whatever the module is doing.
//!
//! The module sees neither: it gets an empty input and an output that leads nowhere, so that what it prints is
//! not taken for an answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use zeroize::Zeroizing;

use crate::frame;
use crate::message::{Answer, Request};

mod keys;
mod open;

use self::open::Opened;

/// Serves until the input ends.
#[must_use]
pub fn run() -> ExitCode {
    match channels() {
        Ok((input, output)) => serve(input, output),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard input and output for this alone, with nothing in their place for everybody else.
fn channels() -> io::Result<(File, File)> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    let input: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let output: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    rustix::stdio::dup2_stdout(nothing.as_fd())?;
    Ok((input.into(), output.into()))
}

fn serve(mut input: File, mut output: File) -> ExitCode {
    // A thread of its own reads, so that the end of the daemon is noticed while the module hangs.
    let (sender, requests) = mpsc::sync_channel::<Zeroizing<Vec<u8>>>(1);
    thread::spawn(move || {
        while let Ok(Some(body)) = frame::read(&mut input) {
            if sender.send(body).is_err() {
                break;
            }
        }
        end();
    });
    let mut opened = None;
    for body in requests {
        let Ok(request) = frame::decode::<Request>(&body) else { break };
        drop(body);
        if frame::write(&mut output, &answer(&mut opened, request)).is_err() {
            break;
        }
    }
    ExitCode::FAILURE
}

/// Does what is asked, with the module that was loaded first.
pub(crate) fn answer(opened: &mut Option<Opened>, request: Request) -> Answer {
    match (request, opened) {
        (Request::Open { module, token, serial }, opened @ None) => {
            let (new, presence) = Opened::new(&module, &token, serial.as_deref())?;
            *opened = Some(new);
            Ok(presence)
        }
        (request, Some(opened)) => opened.answer(request),
        (_, None) => Err(crate::Fault::Malformed),
    }
}

/// Ends the process at once, without what the module would do in the end.
fn end() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
