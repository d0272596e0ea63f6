//! The format of `~/.aws/config` and `~/.aws/credentials`, as Python's configparser and botocore read
//! it. Values are parts of the text: some are secrets, which are not copied.

/// A section of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Section<'n> {
    /// `[name]`: of the credentials file.
    Plain(&'n str),
    /// `[profile name]`, or `[default]`: of the config file.
    Profile(&'n str),
    /// `[services name]`: of the config file.
    Services(&'n str),
}

impl Section<'_> {
    fn is(self, header: &str) -> bool {
        let header = header.trim();
        let (kind, name) = match self {
            Section::Plain(name) => return header == name,
            Section::Profile("default") if header == "default" => return true,
            Section::Profile(name) => ("profile", name),
            Section::Services(name) => ("services", name),
        };
        let Some(rest) = header.strip_prefix(kind) else { return false };
        let bare = rest.trim().trim_matches('"').trim_matches('\'');
        rest.starts_with([' ', '\t']) && bare == name
    }
}

/// A line that means something.
enum Line<'t> {
    Header(&'t str),
    /// Name, value, and how far it is indented.
    Value(&'t str, &'t str, usize),
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return None;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == 0
            && let Some(header) = trimmed.strip_prefix('[')
        {
            return Some(Line::Header(header.split(']').next().unwrap_or_default()));
        }
        let (name, value) = trimmed.split_once(['=', ':'])?;
        Some(Line::Value(name.trim(), value.trim(), indent))
    })
}

/// Whether a file has a section.
pub(super) fn has_section(text: &str, section: Section<'_>) -> bool {
    lines(text).any(|line| matches!(line, Line::Header(header) if section.is(header)))
}

/// A value of a section itself.
pub(super) fn value<'t>(text: &'t str, section: Section<'_>, name: &str) -> Option<&'t str> {
    find(text, section, |outer, found| outer.is_none() && found.eq_ignore_ascii_case(name))
}

/// A value below another one of a section.
pub(super) fn nested<'t>(
    text: &'t str,
    section: Section<'_>,
    (outer, name): (&str, &str),
) -> Option<&'t str> {
    let is = |above: Option<&str>, found: &str| {
        above.is_some_and(|above| above.eq_ignore_ascii_case(outer))
            && found.eq_ignore_ascii_case(name)
    };
    find(text, section, is).filter(|value| !value.is_empty())
}

/// The last value that `is` accepts by the name above it and its own.
fn find<'t>(
    text: &'t str,
    section: Section<'_>,
    is: impl Fn(Option<&str>, &str) -> bool,
) -> Option<&'t str> {
    let (mut here, mut above, mut last) = (false, None, None);
    for line in lines(text) {
        match line {
            Line::Header(header) => (here, above) = (section.is(header), None),
            Line::Value(..) if !here => {}
            Line::Value(name, value, indent) => {
                // What is further in than the name before it is below that.
                let outer = above.filter(|(_, outer)| indent > *outer).map(|(name, _)| name);
                if outer.is_none() {
                    above = Some((name, indent));
                }
                if is(outer, name) {
                    last = Some(value);
                }
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# [profile a]
[default]
region = us-east-1
s3 =
  endpoint_url = http://no
  region = no
[profile a]
Region=eu-west-1
  # a comment
ca_bundle : /ca.pem
[a]
region = no
[profile \"with space\"]
region = two words
[services local]
s3 =
    endpoint_url = http://no
kms =
    endpoint_url = http://yes
    other = 1
[profiles]
region = no
";

    #[test]
    fn sections_and_values() {
        let region = |section| value(TEXT, section, "region");
        assert_eq!(region(Section::Profile("default")), Some("us-east-1"));
        assert_eq!(region(Section::Profile("a")), Some("eu-west-1"));
        assert_eq!(region(Section::Plain("a")), Some("no"));
        assert_eq!(region(Section::Profile("with space")), Some("two words"));
        assert_eq!(region(Section::Profile("s")), None);
        assert_eq!(value(TEXT, Section::Profile("default"), "endpoint_url"), None);
        assert_eq!(value(TEXT, Section::Profile("a"), "ca_bundle"), Some("/ca.pem"));
        let local = Section::Services("local");
        assert_eq!(nested(TEXT, local, ("kms", "endpoint_url")), Some("http://yes"));
        assert_eq!(nested(TEXT, local, ("iam", "endpoint_url")), None);
        assert!(has_section(TEXT, local) && !has_section(TEXT, Section::Services("other")));
    }

    #[test]
    fn profiles_of_credentials() {
        let text = "[default]\naws_access_key_id = A\n\n[ other ]\naws_secret_access_key=s/=\n\
                    aws_access_key_id=B\n";
        assert_eq!(value(text, Section::Plain("default"), "aws_secret_access_key"), None);
        assert_eq!(value(text, Section::Plain("other"), "aws_secret_access_key"), Some("s/="));
    }
}
