//! Names of the model as Rust has them.

/// `KeyId` as `key_id`, `AWSAccountId` as `aws_account_id`.
pub(super) fn snake(name: &str) -> String {
    words(name).join("_")
}

/// `KeyIdType` as `KEY_ID_TYPE`.
pub(super) fn screaming(name: &str) -> String {
    snake(name).to_ascii_uppercase()
}

/// `KeyId` as `keyId`, the form of names in texts.
pub(super) fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// The attribute that a member needs in a struct with `rename_all = "PascalCase"`.
pub(super) fn rename(name: &str) -> String {
    let pascal: String = words(name)
        .iter()
        .flat_map(|word| word[..1].chars().map(|c| c.to_ascii_uppercase()).chain(word[1..].chars()))
        .collect();
    if pascal == name { String::new() } else { format!("#[serde(rename = \"{name}\")]\n") }
}

/// A string literal; raw where that is easier to read.
pub(super) fn literal(text: &str) -> String {
    if text.contains('\\') && !text.contains('"') {
        format!("r\"{text}\"")
    } else {
        format!("{text:?}")
    }
}

/// The words of a name in camel case. A run of capitals is one word.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    for (at, c) in chars.iter().enumerate() {
        let after_small = at > 0 && !chars[at - 1].is_ascii_uppercase();
        let before_small = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let starts = at == 0 || c.is_ascii_uppercase() && (after_small || before_small);
        if starts {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_their_case() {
        for (name, snake_case, renamed) in [
            ("KeyId", "key_id", false),
            ("AWSAccountId", "aws_account_id", true),
            ("ReEncrypt", "re_encrypt", false),
            ("CloudHsmClusterId", "cloud_hsm_cluster_id", false),
            ("XksProxyUriPath", "xks_proxy_uri_path", false),
        ] {
            assert_eq!(snake(name), snake_case);
            assert_eq!(!rename(name).is_empty(), renamed, "{name}");
        }
        assert_eq!(screaming("KeyIdType"), "KEY_ID_TYPE");
        assert_eq!(camel("KeyId"), "keyId");
        assert_eq!(literal(r"[\w]+"), r#"r"[\w]+""#);
        assert_eq!(literal("a"), r#""a""#);
    }
}
