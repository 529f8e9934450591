//! Parser of S3's XML responses: the fields of the root and of one list; other elements are ignored. Pure.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

/// Texts by element name.
pub(crate) type XmlFields = BTreeMap<String, String>;

/// A response of S3: a root, its fields, and the fields of each list item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct XmlDocument {
    /// The root's name without its namespace.
    pub(crate) root: String,
    /// The fields right below the root.
    pub(crate) fields: XmlFields,
    /// The fields of each element with the requested name.
    pub(crate) items: Vec<XmlFields>,
}

impl XmlDocument {
    /// Parses a document whose list consists of elements of the name `item`. Deeper elements are skipped.
    pub(crate) fn parse(xml: &str, item: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        reader.config_mut().expand_empty_elements = true;
        let mut document = Self::default();
        let mut path: Vec<String> = Vec::new();
        let mut text = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) => {
                    let name = tag.local_name().as_ref().to_owned();
                    match path.len() {
                        0 => document.root.clone_from(&name),
                        1 if name == item => document.items.push(XmlFields::new()),
                        _ => {}
                    }
                    path.push(name);
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part),
                Event::GeneralRef(reference) => text.push(resolve_reference(&reference)?),
                Event::End(_) => {
                    let name = path.pop()?;
                    let value = std::mem::take(&mut text);
                    match path.as_slice() {
                        [_root] if name != item => {
                            document.fields.insert(name, value);
                        }
                        [_root, parent] if parent == item => {
                            document.items.last_mut()?.insert(name, value);
                        }
                        _ => {}
                    }
                }
                Event::Eof => return (path.is_empty() && !document.root.is_empty()).then_some(document),
                _ => {}
            }
        }
    }

    /// Whether another page follows.
    pub(crate) fn is_truncated(&self) -> bool {
        self.fields.get("IsTruncated").is_some_and(|text| text == "true")
    }
}

/// Resolves XML's five named character references, and numeric ones.
fn resolve_reference(reference: &str) -> Option<char> {
    match reference {
        "quot" => Some('"'),
        "apos" => Some('\''),
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Escapes text for an element.
pub(crate) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn separates_fields_from_items() {
        let xml = r#"<?xml version="1.0"?><ListPartsResult xmlns="x"><Key>a&amp;b</Key><IsTruncated>true</IsTruncated>
            <Owner><ID>me</ID></Owner><Part><PartNumber>1</PartNumber><ETag>&quot;e&#34;</ETag></Part>
            <Part><PartNumber>2</PartNumber></Part></ListPartsResult>"#;
        let document = XmlDocument::parse(xml, "Part").unwrap();
        assert_eq!(document.root, "ListPartsResult");
        assert_eq!(document.fields["Key"], "a&b");
        assert!(document.is_truncated());
        assert_eq!(document.items[0]["ETag"], "\"e\"");
        assert_eq!(document.items[1]["PartNumber"], "2");
        assert!(!document.fields.contains_key("ID"), "nested deeper than a field");
    }

    #[test]
    fn rejects_truncated_document() {
        for xml in ["", "not xml <", "<A>", "<A><B></A>", "<A>&nonsense;</A>"] {
            assert_eq!(XmlDocument::parse(xml, "B"), None, "{xml}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(xml in "\\PC{0,100}") {
            let _ = XmlDocument::parse(&xml, "Part");
        }

        #[test]
        fn escape_roundtrips(text in "[ -~]{0,40}") {
            let xml = format!("<R><K>{}</K></R>", escape(&text));
            prop_assert_eq!(&XmlDocument::parse(&xml, "I").unwrap().fields["K"], &text);
        }
    }
}
