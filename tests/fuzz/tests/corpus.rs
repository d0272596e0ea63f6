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
