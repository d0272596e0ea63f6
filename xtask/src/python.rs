//! A Python environment with the real clients the tests use: boto3, the AWS CLI, the AWS Encryption SDK.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command,
    failure::{Doing, Result},
    packages, term,
};

const REQUIREMENTS: &str = "tests/clients/requirements.txt";

/// Interpreter of the environment, which is made or brought up to date first.
pub(crate) fn prepare() -> Result<PathBuf> {
    let dir = command::target_dir().join("python");
    let python = dir.join("bin/python");
    let wanted = fs::read_to_string(command::root().join(REQUIREMENTS))
        .doing(format_args!("read {REQUIREMENTS}"))?;
    // Written last, so that an interrupted installation is done again.
    let stamp = dir.join("requirements.txt");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    term::step("Python clients", || install(&dir, &python))?;
    fs::write(&stamp, wanted).doing(format_args!("write {}", stamp.display()))?;
    Ok(python)
}

fn install(dir: &Path, python: &Path) -> Result<()> {
    let mut venv = command::program(base()?, ["-m", "venv", "--clear"]);
    command::output(venv.arg(dir))?;
    term::note(format!("pip install -r {REQUIREMENTS}"));
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut pip = command::program(python, arguments);
    command::output(pip.args(["--requirement", REQUIREMENTS]))
        .map_err(|failure| failure.help("pip needs the network once, or a configured index"))?;
    Ok(())
}

/// A Python that can make environments: the one on PATH, else Debian's.
fn base() -> Result<&'static str> {
    let able = |python: &str| {
        command::output(&mut command::program(python, ["-c", "import venv, ensurepip"])).is_ok()
    };
    if able("python3") {
        return Ok("python3");
    }
    packages::install(&["python3", "python3-venv"])?;
    Ok("/usr/bin/python3")
}
