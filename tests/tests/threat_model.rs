//! The tests that the threat model names for its claims are there.

use std::fs;

use hsm_tests::environment;

#[test]
fn the_tests_that_it_names_are_there() {
    let root = environment::root();
    let text = fs::read_to_string(root.join("docs/threat-model.md")).expect("the threat model");
    let section = text.split("\n## ").find(|it| it.starts_with("Which test shows it\n"));
    let rows = section.expect("the section").lines().filter(|line| line.starts_with("| "));
    let mut named = 0;
    // The first two are the head of the table.
    for row in rows.skip(1) {
        let (mut file, mut of_row) = (None, 0);
        for quoted in row.split('`').skip(1).step_by(2) {
            if quoted.contains('/') && quoted != "DIR/tls" {
                let content = fs::read_to_string(root.join(quoted));
                file = Some((quoted, content.unwrap_or_else(|error| panic!("{quoted}: {error}"))));
            } else if let Some((path, content)) = &file {
                let is_there =
                    ["fn ", "def "].iter().any(|it| content.contains(&format!("{it}{quoted}(")));
                assert!(is_there, "{path} has no {quoted}");
                of_row += 1;
            }
        }
        assert!(of_row > 0, "no test: {row}");
        named += of_row;
    }
    assert!(named > 30, "{named} tests are named");
}
