//! Python environments under target/: one with the real clients the tests use (boto3, the AWS CLI, the AWS Encryption
//! SDK), and one for a tool that comes as a wheel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command,
    failure::{Doing, Result},
    packages, term,
};

/// Interpreter of the clients' environment.
pub(crate) fn prepare() -> Result<PathBuf> {
    Ok(environment("python", "tests/clients/requirements.txt")?.join("bin/python"))
}

/// The directory `name` under target/ with what the file `requirements` names, made or brought up to date first.
pub(crate) fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let dir = command::target_dir().join(name);
    let python = dir.join("bin/python");
    let wanted = fs::read_to_string(command::root().join(requirements))
        .doing(format_args!("read {requirements}"))?;
    // Written last, so that an interrupted installation is done again.
    let stamp = dir.join("requirements.txt");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(dir);
    }
    term::step(&format!("Python packages of {requirements}"), || {
        install(&dir, &python, requirements)
    })?;
    fs::write(&stamp, wanted).doing(format_args!("write {}", stamp.display()))?;
    Ok(dir)
}

fn install(dir: &Path, python: &Path, requirements: &str) -> Result<()> {
    let mut venv = command::program(base()?, ["-m", "venv", "--clear"]);
    command::output(venv.arg(dir))?;
    term::note(format!("pip install -r {requirements}"));
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut pip = command::program(python, arguments);
    command::output(pip.args(["--requirement", requirements]))
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
