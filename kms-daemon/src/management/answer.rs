//! Responses of Query APIs: a tree, written as XML, or as JSON on request.

use zeroize::Zeroizing;

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
    /// A map, in the order it is written.
    Map(Vec<(String, Node)>),
}

/// The form that a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What AWS's SDKs read.
    Xml,
    /// What AWS's Query APIs answer to `Accept: application/json`.
    Json,
    /// The XML of EC2.
    Ec2,
    /// What AWS's APIs in JSON answer.
    Bare,
}

impl Format {
    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Xml => "text/xml",
            Self::Json => "application/json",
            Self::Ec2 => "text/xml;charset=UTF-8",
            Self::Bare => "application/x-amz-json-1.1",
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
        match self {
            Self::Xml | Self::Json => {}
            Self::Ec2 => {
                writer.document(&format!("{operation}Response"), namespace, |writer| {
                    writer.element("requestId", &Node::from(request_id));
                    writer.node(&result.unwrap_or(Node::Members(Vec::new())));
                });
                return writer.finish();
            }
            Self::Bare => {
                writer.node(&result.unwrap_or(Node::Members(Vec::new())));
                return writer.finish();
            }
        }
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
    pub fn refusal(self, namespace: &str, refusal: Refusal<'_>, request_id: &str) -> Vec<u8> {
        let mut writer = Writer { out: Zeroizing::default(), format: self };
        let Refusal { code, status, message } = refusal;
        let (name, text) = (Node::from(code), Node::from(message));
        match self {
            Self::Xml | Self::Json => {}
            Self::Ec2 => {
                let error = Node::Members(vec![("Code", name), ("Message", text)]);
                let errors = Node::Members(vec![("Error", error)]);
                let all = vec![("Errors", errors), ("RequestID", Node::from(request_id))];
                writer.element("Response", &Node::Members(all));
                return writer.finish().to_vec();
            }
            Self::Bare => {
                writer.node(&Node::Members(vec![("__type", name), ("message", text)]));
                return writer.finish().to_vec();
            }
        }
        let side = if status < 500 { "Sender" } else { "Receiver" };
        let members =
            Node::Members(vec![("Type", Node::from(side)), ("Code", name), ("Message", text)]);
        writer.document("ErrorResponse", namespace, |writer| {
            writer.element("Error", &members);
            writer.comma();
            writer.element("RequestId", &Node::from(request_id));
        });
        writer.finish().to_vec()
    }
}

/// A refusal, as the clients of an API know it.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'r> {
    /// Its name.
    pub code: &'r str,
    /// The HTTP status.
    pub status: u16,
    /// The text.
    pub message: &'r str,
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
        match self.is_xml() {
            true => {
                self.push(&["<", name, " xmlns=\""]);
                self.text(namespace);
                self.push(&["\">"]);
                content(self);
                self.push(&["</", name, ">\n"]);
            }
            false => {
                self.push(&["{\"", name, "\":{"]);
                content(self);
                self.push(&["}}\n"]);
            }
        }
    }

    fn element(&mut self, name: &str, node: &Node) {
        match self.is_xml() {
            true => {
                self.push(&["<", name, ">"]);
                self.node(node);
                self.push(&["</", name, ">"]);
            }
            false => {
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
                let xml = self.is_xml();
                let item = if self.format == Format::Ec2 { "item" } else { "member" };
                self.bracket("[");
                for (index, own) in items.iter().enumerate() {
                    if index > 0 {
                        self.comma();
                    }
                    if xml { self.element(item, own) } else { self.node(own) }
                }
                self.bracket("]");
            }
            Node::Map(entries) => self.map(entries),
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

    /// A map: in XML, entries with a key and a value.
    fn map(&mut self, entries: &[(String, Node)]) {
        self.bracket("{");
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                self.comma();
            }
            if self.is_xml() {
                self.push(&["<entry>"]);
                self.element("key", &Node::from(key.as_str()));
                self.element("value", value);
                self.push(&["</entry>"]);
            } else {
                self.string(key);
                self.push(&[":"]);
                self.node(value);
            }
        }
        self.bracket("}");
    }

    const fn is_xml(&self) -> bool {
        matches!(self.format, Format::Xml | Format::Ec2)
    }

    fn string(&mut self, text: &str) {
        self.bracket("\"");
        self.text(text);
        self.bracket("\"");
    }

    /// A text, with what has a meaning in the format replaced.
    fn text(&mut self, text: &str) {
        let xml = self.is_xml();
        for character in text.chars() {
            match (xml, character) {
                (true, '&') => self.push(&["&amp;"]),
                (true, '<') => self.push(&["&lt;"]),
                (true, '>') => self.push(&["&gt;"]),
                (true, '"') => self.push(&["&quot;"]),
                // A parser would make spaces or nothing of them.
                (true, '\t') => self.push(&["&#x9;"]),
                (true, '\n') => self.push(&["&#xA;"]),
                (true, '\r') => self.push(&["&#xD;"]),
                // XML 1.0 has no way to write these.
                (true, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') => {
                    self.push(&["\u{fffd}"]);
                }
                (false, '"') => self.push(&["\\\""]),
                (false, '\\') => self.push(&["\\\\"]),
                (false, '\0'..='\u{1f}') => {
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
        if !self.is_xml() {
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
        let error = Refusal { code: "NoSuchEntity", status: 404, message: "no" };
        assert_eq!(
            String::from_utf8(Format::Xml.refusal("urn:x", error, "id")).unwrap(),
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
        let error = Refusal { code: "NoSuchEntity", status: 404, message: "no" };
        let text = Format::Json.refusal("urn:x", error, "id");
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["ErrorResponse"]["Error"]["Code"], "NoSuchEntity");
        assert_eq!(Format::Json.answer(("X", "u"), None, "i")[..15], *b"{\"XResponse\":{\"");
    }

    #[test]
    fn maps() {
        let map = Node::Map(vec![
            ("Users".to_owned(), Node::Number(1)),
            ("A&".to_owned(), Node::Number(2)),
        ]);
        let node = Some(Node::Members(vec![("SummaryMap", map)]));
        let text =
            String::from_utf8(Format::Xml.answer(("X", "u"), node.clone(), "i").to_vec()).unwrap();
        assert!(
            text.contains(
                "<SummaryMap><entry><key>Users</key><value>1</value></entry><entry><key>A&amp;</key>\
                 <value>2</value></entry></SummaryMap>"
            ),
            "{text}"
        );
        let json: serde_json::Value =
            serde_json::from_slice(&Format::Json.answer(("X", "u"), node, "i")).unwrap();
        assert_eq!(
            json["XResponse"]["XResult"]["SummaryMap"],
            serde_json::json!({ "Users": 1, "A&": 2 })
        );
    }

    #[test]
    fn other_protocols() {
        let items = Node::List(vec![Node::Members(vec![("regionName", Node::from("us-east-1"))])]);
        let result = Some(Node::Members(vec![("regionInfo", items)]));
        let text = Format::Ec2.answer(("DescribeRegions", "urn:x"), result, "id");
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "<DescribeRegionsResponse xmlns=\"urn:x\"><requestId>id</requestId><regionInfo><item>\
             <regionName>us-east-1</regionName></item></regionInfo></DescribeRegionsResponse>\n"
        );
        let error = Refusal { code: "AuthFailure", status: 401, message: "no" };
        assert_eq!(
            String::from_utf8(Format::Ec2.refusal("", error, "id")).unwrap(),
            "<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors>\
             <RequestID>id</RequestID></Response>"
        );
        let json = Format::Bare.answer(("GetResources", ""), Some(node()), "id");
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["IsTruncated"], false);
        assert_eq!(
            Format::Bare.refusal("", error, "id"),
            br#"{"__type":"AuthFailure","message":"no"}"#
        );
    }
}
