//! Every target over its corpus: seeds, and inputs that once failed.

use std::fs;
use std::path::Path;

use hsm_fuzz::{TARGETS, Target};

#[test]
fn every_target_takes_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for Target(name, run) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpora.join(name))
            .unwrap_or_else(|error| panic!("corpus of {name}: {error}"))
            .map(|entry| entry.expect("a directory entry").path())
            .collect();
        assert!(!inputs.is_empty(), "{name} has seeds");
        for input in &inputs {
            run(&fs::read(input).expect("a readable input"));
        }
        run(&[]);
        println!("{name}: {} inputs", inputs.len());
    }
}

/// The messages between daemon and process have no version, so that their seeds may become old without anybody
/// noticing.
#[test]
fn seeds_of_the_pipe_to_modules_are_messages() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let read = |path: &str| fs::read(corpora.join(path)).expect("a seed");
    let requests = [
        "open",
        "login",
        "probe",
        "make_key",
        "transport",
        "export",
        "import",
        "close",
        "check",
        "encrypt",
        "decrypt",
        "random",
        "destroy",
    ];
    for seed in requests {
        assert_eq!(
            kms_pkcs11::fuzz::requests(&read(&format!("token_requests/{seed}"))),
            1,
            "{seed}"
        );
    }
    assert_eq!(kms_pkcs11::fuzz::requests(&read("token_requests/session")), 7);
    let answers =
        ["done", "present", "public", "bytes", "wrapped", "sealed", "refused", "wrong_pin"];
    for seed in answers {
        assert_eq!(kms_pkcs11::fuzz::answers(&read(&format!("token_answers/{seed}"))), 1, "{seed}");
    }
    for (seed, accepted) in [("several", 4), ("long", 0), ("refused_with_a_line", 0)] {
        let made = kms_pkcs11::fuzz::answers(&read(&format!("token_answers/{seed}")));
        assert_eq!(made, accepted, "{seed}");
    }
}
