//! JSON whose parts keep their text, so that numbers, escapes and unknown members survive.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object: the names of its members in order, and their values as they are written.
#[derive(Debug)]
pub struct Object<'a> {
    /// The members. No two have the same name.
    pub members: Vec<(String, Cow<'a, str>)>,
}

impl<'a> Object<'a> {
    /// Parses an object; `None` if the text is something else or a name repeats, because readers
    /// disagree about which of the two counts.
    pub fn parse(text: &'a str) -> Option<Object<'a>> {
        let object: Object = serde_json::from_str(text).ok()?;
        let mut names = HashSet::with_capacity(object.members.len());
        object.members.iter().all(|(name, _)| names.insert(name)).then_some(())?;
        Some(object)
    }

    /// The text of a member.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.members.iter().find(|(member, _)| member == name)?;
        Some(value)
    }

    /// The text of a member that is a string, without escapes.
    pub fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// Replaces the value of a member, if there is one of this name.
    pub fn replace(&mut self, name: &str, value: String) {
        if let Some((_, old)) = self.members.iter_mut().find(|(member, _)| member == name) {
            *old = value.into();
        }
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.members.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}:{value}", quote(name))?;
        }
        f.write_str("}")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value().map_err(A::Error::custom)?;
                    members.push((name, value.get().into()));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The texts of the items of an array; `None` if the text is no array.
pub fn parse_array(text: &str) -> Option<Vec<Cow<'_, str>>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(|item| item.get().into()).collect())
}

/// The text of an array of `items`.
pub fn write_array(items: &[Cow<'_, str>]) -> String {
    format!("[{}]", items.join(","))
}

/// The text of a string.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_text() {
        let text = r#"{"z":1.50e+400,"\"":{"b" : "\ud83d\ude00"},"a":[12345678901234567890123]}"#;
        let mut object = Object::parse(&format!(" {text}\n")).expect("an object").to_string();
        assert_eq!(object, text);
        object = text.to_owned();
        let mut object = Object::parse(&object).expect("an object");
        object.replace("z", "null".to_owned());
        object.replace("none", "0".to_owned());
        assert_eq!(object.to_string(), text.replace("1.50e+400", "null"));
        assert_eq!((object.get("z"), object.get("none")), (Some("null"), None));
    }

    #[test]
    fn what_is_no_object_or_repeats_a_name_is_refused() {
        for text in ["", "1", "[]", "{", r#"{"a":1,"\u0061":1}"#, r#"{"a":NaN}"#, "{} {}"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
        assert_eq!(Object::parse("{}").expect("an object").to_string(), "{}");
    }

    #[test]
    fn items_of_an_array_keep_their_text() {
        let items = parse_array(r#" [ 1.0, {"a": "\u0061"},[] ] "#).expect("an array");
        assert_eq!(write_array(&items), r#"[1.0,{"a": "\u0061"},[]]"#);
        assert!(parse_array("{}").is_none() && parse_array("[1,]").is_none());
    }
}
