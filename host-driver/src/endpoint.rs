//! The address of a device: the argument of `--hsm`.

use std::fmt;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use hsm_protocol::domain::MAX_MEMBERS;

use crate::emulator::Machine;
use crate::transport::Connector;
use crate::transport::serial::{DEFAULT_BAUD, SerialConnector};
use crate::transport::tcp::TcpConnector;
use crate::transport::unix::UnixConnector;

/// Where one device, or a number of them, is to be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `soft[:N]`: devices in this process; `None` for those that are there, and for as many as serve best where
    /// there are none.
    Soft(Option<NonZeroU8>),
    /// `qemu[:BOARD][:N]`: emulated devices, started and supervised by the host.
    Qemu {
        /// The board, which has a machine description; `None` for that of the devices that are there.
        board: Option<String>,
        /// How many.
        count: NonZeroU8,
    },
    /// A device at the end of a line.
    Line(Line),
}

/// A line to one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// `serial:PATH`: a tty.
    Serial(String),
    /// `tcp:HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`: a stream socket.
    Unix(PathBuf),
}

/// The text is not an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEndpoint {
    /// It has none of the forms.
    #[error(
        "{0:?} is not a device; write soft[:N], qemu[:BOARD][:N], serial:PATH, tcp:HOST:PORT or \
         unix:PATH, with N from 1 to {MAX_MEMBERS}"
    )]
    Form(String),
    /// No board of this name is emulated.
    #[error("{text:?} names the board {board:?}, which is not emulated; those that are: {boards}")]
    Board {
        /// The text.
        text: String,
        /// The board in it.
        board: String,
        /// The boards that are emulated.
        boards: String,
    },
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => (text, None),
        };
        let path = || rest.filter(|rest| !rest.is_empty()).map(str::to_owned);
        match scheme {
            "soft" if rest.is_none() => Some(Self::Soft(None)),
            "soft" => count(rest).map(|count| Self::Soft(Some(count))),
            "qemu" => return emulated(rest, text),
            "serial" => path().map(Line::Serial).map(Self::Line),
            "tcp" => path().filter(|address| is_address(address)).map(Line::Tcp).map(Self::Line),
            "unix" => path().map(PathBuf::from).map(Line::Unix).map(Self::Line),
            _ => None,
        }
        .ok_or_else(|| BadEndpoint::Form(text.to_owned()))
    }
}

/// Reads `BOARD`, `N` or `BOARD:N`, which `text` ends with. Names of boards begin with a letter.
fn emulated(rest: Option<&str>, text: &str) -> Result<Endpoint, BadEndpoint> {
    let is_board = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let (board, number) = match rest.map(|rest| rest.split_once(':').unwrap_or((rest, ""))) {
        Some((board, "")) if rest == Some(board) && is_board(board) => (Some(board), None),
        Some((board, number)) if is_board(board) => (Some(board), Some(number)),
        _ => (None, rest),
    };
    let count = count(number).ok_or_else(|| BadEndpoint::Form(text.to_owned()))?;
    if let Some(board) = board {
        let known: Vec<_> = Machine::all().into_iter().flatten().map(|one| one.board).collect();
        if !known.iter().any(|known| known == board) {
            let (text, board, boards) = (text.to_owned(), board.to_owned(), known.join(", "));
            return Err(BadEndpoint::Board { text, board, boards });
        }
    }
    Ok(Endpoint::Qemu { board: board.map(str::to_owned), count })
}

/// The number of devices: 1 if it is not given.
fn count(text: Option<&str>) -> Option<NonZeroU8> {
    match text {
        None => Some(NonZeroU8::MIN),
        Some(text) => {
            text.parse().ok().filter(|count: &NonZeroU8| usize::from(count.get()) <= MAX_MEMBERS)
        }
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft(None) => f.write_str("soft"),
            Self::Soft(Some(count)) => write!(f, "soft:{count}"),
            Self::Qemu { board: None, count } => write!(f, "qemu:{count}"),
            Self::Qemu { board: Some(board), count } => write!(f, "qemu:{board}:{count}"),
            Self::Line(line) => line.fmt(f),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "serial:{path}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Line {
    /// Opens transports along this line.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        match self.clone() {
            Self::Serial(path) => Arc::new(SerialConnector { path, baud: DEFAULT_BAUD }),
            Self::Tcp(address) => Arc::new(TcpConnector { address }),
            Self::Unix(path) => Arc::new(UnixConnector { path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for (text, written) in [
            ("soft", "soft"),
            ("soft:1", "soft:1"),
            ("soft:3", "soft:3"),
            ("qemu", "qemu:1"),
            ("qemu:8", "qemu:8"),
            ("qemu:mps2_an505", "qemu:mps2_an505:1"),
            ("qemu:qemu_riscv32:2", "qemu:qemu_riscv32:2"),
            ("serial:/dev/ttyACM0", "serial:/dev/ttyACM0"),
            ("tcp:hsm.example:4000", "tcp:hsm.example:4000"),
            ("tcp:[::1]:4000", "tcp:[::1]:4000"),
            ("unix:/run/a:b.sock", "unix:/run/a:b.sock"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "soft:0",
            "soft:9",
            "qemu:",
            "qemu:9",
            "qemu:+1x",
            "qemu:mps2_an505:",
            "qemu:mps2_an505:0",
            "qemu:mps2_an505:x",
            "qemu:mps2_an505:1:1",
            "qemu:2:mps2_an505",
            "qemu:mps2 an505",
            "serial:",
            "serial",
            "tcp:host",
            "tcp::1",
            "tcp:host:0",
            "tcp:host:99999",
            "unix:",
            "usb:1",
            "SOFT",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("write soft[:N]"), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_board_lists_those_that_are_emulated() {
        let error = "qemu:toaster:2".parse::<Endpoint>().unwrap_err().to_string();
        assert!(error.starts_with(r#""qemu:toaster:2" names the board "toaster", "#), "{error}");
        for machine in Machine::all().unwrap() {
            assert!(error.contains(&machine.board), "{error}");
        }
    }
}
