//! Answers of Query APIs: a tree, written as XML, or as JSON if that is asked for.

use zeroize::Zeroizing;

use super::error::IamError;

/// Part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A text.
    Text(String),
    /// A text that is zeroised once it has been written.
    Secret(Zeroizing<String>),
    /// A number.
    Number(u64),
    /// A truth value.
    Flag(bool),
    /// Items, each a `member`.
    List(Vec<Node>),
    /// Members in the order they are written.
    Members(Vec<(&'static str, Node)>),
}

/// The form that a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What AWS's SDKs read.
    Xml,
    /// What AWS's Query APIs answer to `Accept: application/json`.
    Json,
}

impl Format {
    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Xml => "text/xml",
            Self::Json => "application/json",
        }
    }

    /// The answer of an operation.
    #[must_use]
    pub fn answer(
        self,
        (operation, namespace): (&str, &str),
        result: Option<Node>,
        request_id: &str,
    ) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer { out: Zeroizing::default(), format: self };
        let metadata = Node::Members(vec![("RequestId", Node::from(request_id))]);
        writer.document(&format!("{operation}Response"), namespace, |writer| {
            if let Some(result) = &result {
                writer.element(&format!("{operation}Result"), result);
                writer.comma();
            }
            writer.element("ResponseMetadata", &metadata);
        });
        writer.finish()
    }

    /// A refusal.
    #[must_use]
    pub fn refusal(self, namespace: &str, error: &IamError, request_id: &str) -> Vec<u8> {
        let mut writer = Writer { out: Zeroizing::default(), format: self };
        let side = if error.code().status() < 500 { "Sender" } else { "Receiver" };
        let members = Node::Members(vec![
            ("Type", Node::from(side)),
            ("Code", Node::from(error.code().name())),
            ("Message", Node::from(error.message())),
        ]);
        writer.document("ErrorResponse", namespace, |writer| {
            writer.element("Error", &members);
            writer.comma();
            writer.element("RequestId", &Node::from(request_id));
        });
        writer.finish().to_vec()
    }
}

impl Node {
    /// Members that are there only if there is something.
    #[must_use]
    pub fn members(all: Vec<(&'static str, Option<Node>)>) -> Self {
        Self::Members(all.into_iter().filter_map(|(name, node)| Some((name, node?))).collect())
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

struct Writer {
    out: Zeroizing<String>,
    format: Format,
}

impl Writer {
    fn document(&mut self, name: &str, namespace: &str, content: impl FnOnce(&mut Self)) {
        match self.format {
            Format::Xml => {
                self.push(&["<", name, " xmlns=\""]);
                self.text(namespace);
                self.push(&["\">"]);
                content(self);
                self.push(&["</", name, ">\n"]);
            }
            Format::Json => {
                self.push(&["{\"", name, "\":{"]);
                content(self);
                self.push(&["}}\n"]);
            }
        }
    }

    fn element(&mut self, name: &str, node: &Node) {
        match self.format {
            Format::Xml => {
                self.push(&["<", name, ">"]);
                self.node(node);
                self.push(&["</", name, ">"]);
            }
            Format::Json => {
                self.push(&["\"", name, "\":"]);
                self.node(node);
            }
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text(text) => self.string(text),
            Node::Secret(text) => self.string(text),
            Node::Number(number) => self.push(&[&number.to_string()]),
            Node::Flag(flag) => self.push(&[if *flag { "true" } else { "false" }]),
            Node::List(items) => {
                let xml = self.format == Format::Xml;
                self.bracket("[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.comma();
                    }
                    if xml { self.element("member", item) } else { self.node(item) }
                }
                self.bracket("]");
            }
            Node::Members(members) => {
                self.bracket("{");
                for (index, (name, node)) in members.iter().enumerate() {
                    if index > 0 {
                        self.comma();
                    }
                    self.element(name, node);
                }
                self.bracket("}");
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.bracket("\"");
        self.text(text);
        self.bracket("\"");
    }

    /// A text, with what has a meaning in the format replaced.
    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match (self.format, character) {
                (Format::Xml, '&') => self.push(&["&amp;"]),
                (Format::Xml, '<') => self.push(&["&lt;"]),
                (Format::Xml, '>') => self.push(&["&gt;"]),
                (Format::Xml, '"') => self.push(&["&quot;"]),
                // A parser would make spaces or nothing of them.
                (Format::Xml, '\t') => self.push(&["&#x9;"]),
                (Format::Xml, '\n') => self.push(&["&#xA;"]),
                (Format::Xml, '\r') => self.push(&["&#xD;"]),
                // XML 1.0 has no way to write these.
                (Format::Xml, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') => {
                    self.push(&["\u{fffd}"]);
                }
                (Format::Json, '"') => self.push(&["\\\""]),
                (Format::Json, '\\') => self.push(&["\\\\"]),
                (Format::Json, '\0'..='\u{1f}') => {
                    self.push(&[&format!("\\u{:04x}", u32::from(character))]);
                }
                _ => self.out.push(character),
            }
        }
    }

    fn comma(&mut self) {
        self.bracket(",");
    }

    /// Punctuation that only JSON has.
    fn bracket(&mut self, text: &str) {
        if self.format == Format::Json {
            self.push(&[text]);
        }
    }

    fn push(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.out.push_str(part));
    }

    fn finish(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut *self.out).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::error::Code;

    fn node() -> Node {
        let user =
            Node::Members(vec![("UserName", Node::from("a<\"&\u{1}\n")), ("N", Node::Number(2))]);
        Node::Members(vec![
            ("Users", Node::List(vec![user, Node::Secret(Zeroizing::new("x".to_owned()))])),
            ("IsTruncated", Node::Flag(false)),
        ])
    }

    #[test]
    fn xml() {
        let text = Format::Xml.answer(("ListUsers", "urn:x"), Some(node()), "id");
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "<ListUsersResponse xmlns=\"urn:x\"><ListUsersResult><Users><member><UserName>a&lt;&quot;&amp;\
             \u{fffd}&#xA;</UserName><N>2</N></member><member>x</member></Users><IsTruncated>false\
             </IsTruncated></ListUsersResult><ResponseMetadata><RequestId>id</RequestId>\
             </ResponseMetadata></ListUsersResponse>\n"
        );
        let error = IamError::new(Code::NoSuchEntity, "no");
        assert_eq!(
            String::from_utf8(Format::Xml.refusal("urn:x", &error, "id")).unwrap(),
            "<ErrorResponse xmlns=\"urn:x\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>\
             <Message>no</Message></Error><RequestId>id</RequestId></ErrorResponse>\n"
        );
    }

    #[test]
    fn json() {
        let text = Format::Json.answer(("ListUsers", "urn:x"), Some(node()), "id");
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let expected = serde_json::json!({ "ListUsersResponse": {
            "ListUsersResult": {
                "Users": [{ "UserName": "a<\"&\u{1}\n", "N": 2 }, "x"],
                "IsTruncated": false,
            },
            "ResponseMetadata": { "RequestId": "id" },
        }});
        assert_eq!(value, expected);
        let error = IamError::new(Code::NoSuchEntity, "no");
        let text = Format::Json.refusal("urn:x", &error, "id");
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["ErrorResponse"]["Error"]["Code"], "NoSuchEntity");
        assert_eq!(Format::Json.answer(("X", "u"), None, "i")[..15], *b"{\"XResponse\":{\"");
    }
}
