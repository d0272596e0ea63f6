//! The bill of materials of a release: CycloneDX 1.6, as <https://cyclonedx.org/docs/1.6/json/> describes it.
//!
//! Cargo says which crates are in an image or a program; `Cargo.lock` has the checksums of their sources. The bill
//! depends on sources and compiler alone, so that it is the same wherever it is made.

mod crates;

use serde_json::{Value, json};

use self::crates::{Crate, Crates, Source as CrateSource};
use super::{Artifact, name, sums::sha256};
use crate::{
    failure::{Failure, Result},
    firmware::{self, Image},
    package::Source,
};

/// Where the sources are published, for the package URLs of our own crates.
const REPOSITORY: &str = "github/strongroom/strongroom";
/// Platforms of the programs: the crates for any of these are listed.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// The programs, each with its crate.
const PROGRAMS: [(&str, &str); 2] = [("kmsd", "kms-daemon"), ("kmsctl", "kmsctl")];

/// The bill of what is made of these images, and of the programs.
pub(super) fn bill(
    images: &[Image],
    files: &[Artifact],
    version: &str,
    source: &Source,
) -> Result<Vec<u8>> {
    let mut crates = Crates::default();
    let mut products = Vec::new();
    for image in images {
        let product = format!("firmware:{}:{}", image.board.name, image.algorithms.name());
        for edges in crates::EDGES {
            let mut cargo = firmware::cargo_offline("tree", image.board, image.algorithms);
            crates.read(&product, edges, &mut cargo)?;
        }
        products.push(firmware_of(&product, image, files, version)?);
    }
    for (program, package) in PROGRAMS {
        let product = format!("program:{program}");
        for edges in crates::EDGES {
            let mut cargo = crate::command::cargo(["tree", "--offline", "--package", package]);
            for platform in PLATFORMS {
                cargo.args(["--target", platform]);
            }
            crates.read(&product, edges, &mut cargo)?;
        }
        products.push(json!({
            "type": "application", "bom-ref": product, "name": program, "version": version,
        }));
    }
    crates.check()?;
    let compilers = images.iter().map(|image| image.toolchain.compiler()).collect::<Result<_>>()?;
    let document = document(products, &crates, version, source, compilers);
    let mut text = serde_json::to_vec_pretty(&document).expect("a document of strings");
    text.push(b'\n');
    Ok(text)
}

/// The component of an image, with the hash of its ELF file.
fn firmware_of(product: &str, image: &Image, files: &[Artifact], version: &str) -> Result<Value> {
    let file = name(version, image, "elf");
    let elf = files.iter().find(|artifact| artifact.name == file);
    let elf = elf.ok_or_else(|| Failure::new(format!("there is no {file}")))?;
    Ok(json!({
        "type": "firmware",
        "bom-ref": product,
        "name": format!("strongroom-{}-{}", image.board.name, image.algorithms.name()),
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": sha256(&elf.bytes)}],
        "properties": [property("strongroom:file", &file)],
    }))
}

fn document(
    products: Vec<Value>,
    crates: &Crates,
    version: &str,
    source: &Source,
    mut compilers: Vec<String>,
) -> Value {
    compilers.sort();
    compilers.dedup();
    let components = products.into_iter().chain(crates.all().map(component));
    let mut properties: Vec<_> =
        compilers.iter().map(|compiler| property("strongroom:compiler", compiler)).collect();
    if !source.commit().is_empty() {
        properties.push(property("strongroom:commit", source.commit()));
    }
    let mut metadata = json!({
        "component": {
            "type": "application",
            "bom-ref": "strongroom",
            "name": "strongroom",
            "version": version,
            "purl": format!("pkg:{REPOSITORY}@{version}"),
            "licenses": [{"expression": env!("CARGO_PKG_LICENSE")}],
        },
        "tools": {"components": [{"type": "application", "name": "cargo xtask release", "version": env!("CARGO_PKG_VERSION")}]},
        "properties": properties,
    });
    if source.time() != 0 {
        metadata["timestamp"] = json!(timestamp(source.time()));
    }
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies(crates),
    });
    document["serialNumber"] = json!(serial_number(document.to_string().as_bytes()));
    document
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn component(one: &Crate) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(one),
        "name": one.name,
        "version": one.version,
        // What only runs while something is built is in no product.
        "scope": if one.is_linked { "required" } else { "excluded" },
        "purl": purl(one),
        "properties": one.products.iter().map(|product| property("strongroom:in", product)).collect::<Vec<_>>(),
    });
    if let Some(licence) = &one.licence {
        component["licenses"] = json!([{"expression": licence}]);
    }
    if let CrateSource::Registry { sha256 } = &one.source {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    component
}

/// Package URL, as <https://github.com/package-url/purl-spec> has it for Cargo and GitHub.
fn purl(one: &Crate) -> String {
    let version = one.version.replace('+', "%2B");
    match one.source {
        CrateSource::Registry { .. } => format!("pkg:cargo/{}@{version}", one.name),
        CrateSource::Own => format!("pkg:{REPOSITORY}@{version}#{}", one.name),
    }
}

fn reference(one: &Crate) -> String {
    match one.source {
        CrateSource::Registry { .. } => format!("crate:{}@{}", one.name, one.version),
        CrateSource::Own => format!("own:{}", one.name),
    }
}

/// What depends on what: the release on its products, these on their crates, and crates on crates.
fn dependencies(crates: &Crates) -> Vec<Value> {
    let entry = |of: &str, on: Vec<String>| json!({"ref": of, "dependsOn": on});
    let mut all = vec![entry("strongroom", crates.roots.keys().cloned().collect())];
    for (product, root) in &crates.roots {
        all.push(entry(product, crates.get(root).map(reference).into_iter().collect()));
    }
    for one in crates.all() {
        let on = crates.edges.get(&one.key()).into_iter().flatten();
        all.push(entry(
            &reference(one),
            on.filter_map(|key| crates.get(key)).map(reference).collect(),
        ));
    }
    all
}

/// A UUID that the content determines (RFC 9562, version 8).
fn serial_number(content: &[u8]) -> String {
    let hash = sha256(content);
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default().to_owned();
    let (first, second, third) = (part(0, 8), part(8, 12), part(13, 16));
    format!("urn:uuid:{first}-{second}-8{third}-a{}-{}", part(17, 20), part(20, 32))
}

/// Seconds since 1970 as RFC 3339 has them.
fn timestamp(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86400, seconds % 86400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        for seconds in [0, 951_782_400, 1_709_164_799, 1_709_251_199, 1_735_689_599, 4_102_444_800]
        {
            let mut date = crate::command::program("date", ["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]);
            let told = crate::command::output(date.arg(format!("@{seconds}"))).unwrap();
            assert_eq!(timestamp(seconds), told.trim());
        }
    }

    /// Runs the official schema over a bill.
    fn validate(bill: &[u8]) -> Result<String> {
        let file = tempfile(bill);
        let mut python = crate::command::program(
            crate::python::prepare()?,
            ["tests/clients/bill_of_materials.py"],
        );
        let outcome = crate::command::output(python.arg(&file));
        std::fs::remove_file(file).unwrap();
        outcome
    }

    fn tempfile(bytes: &[u8]) -> std::path::PathBuf {
        let name = format!("xtask-bill-{}.cdx.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_bill_is_as_the_schema_of_cyclonedx_has_it() {
        let board = firmware::Board::named("mps2_an505").unwrap();
        let algorithms = firmware::Algorithms::Small;
        let toolchain = crate::toolchain::Toolchain::Rustup;
        let image = Image { board, algorithms, elf: "/nowhere".into(), toolchain, warnings: 0 };
        let elf = Artifact { name: name("1.2.3", &image, "elf"), bytes: vec![0x7F] };
        let source = Source::find();
        let bill = bill(&[image], &[elf], "1.2.3", &source).unwrap();
        validate(&bill).unwrap();
        // A schema that takes everything would show nothing.
        let mut wrong: Value = serde_json::from_slice(&bill).unwrap();
        wrong["components"][0]["hashes"][0]["content"] = json!("7f");
        wrong["components"][1]["kind"] = json!("library");
        let why = validate(wrong.to_string().as_bytes()).unwrap_err().to_string();
        assert!(why.contains("hashes[0].content: '7f' does not match"), "{why}");
        assert!(why.contains("'kind' was unexpected"), "{why}");
    }

    #[test]
    fn the_bill_of_the_programs_is_complete() {
        let source = Source::find();
        let text = bill(&[], &[], "1.2.3", &source).unwrap();
        assert_eq!(bill(&[], &[], "1.2.3", &source).unwrap(), text, "the same again");
        let bill: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            (&bill["bomFormat"], &bill["specVersion"]),
            (&json!("CycloneDX"), &json!("1.6"))
        );
        let serial = bill["serialNumber"].as_str().unwrap();
        assert_eq!((serial.len(), &serial[..9], &serial[23..24]), (45, "urn:uuid:", "8"));
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|one| one["name"] == name).unwrap();
        let p256 = named("p256");
        let version = p256["version"].as_str().unwrap();
        assert_eq!(p256["purl"], format!("pkg:cargo/p256@{version}"));
        assert_eq!(p256["scope"], "required");
        assert_eq!(p256["licenses"][0]["expression"], "Apache-2.0 OR MIT");
        assert_eq!(p256["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert_eq!(
            named("kms-policy")["purl"],
            format!("pkg:{REPOSITORY}@{}#kms-policy", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(named("serde_derive")["scope"], "excluded", "it runs within the compiler");
        // Every reference is to a component, and each is told once.
        let mut known: Vec<_> =
            components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
        known.push("strongroom");
        known.sort_unstable();
        assert!(known.windows(2).all(|pair| pair[0] != pair[1]));
        for dependency in bill["dependencies"].as_array().unwrap() {
            let on = dependency["dependsOn"].as_array().unwrap().iter();
            for reference in on.chain([&dependency["ref"]]) {
                assert!(known.binary_search(&reference.as_str().unwrap()).is_ok(), "{reference}");
            }
        }
        let policy = bill["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["ref"] == "program:kmsd");
        assert_eq!(policy.unwrap()["dependsOn"], json!(["own:kms-daemon"]));
    }
}
