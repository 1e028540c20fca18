//! Templates: compiled and checked once, so that filling them in is cheap and can't fail.
//!
//! A placeholder is a name in braces, such as `{limit}`: small letters and `_`. Every other brace is literal, so JSON needs no
//! escapes. Values are escaped for the template's language, and in JSON for their position: within a string as part of it,
//! elsewhere as a value of its own. There are no loops, conditions or formats.

use std::fmt::Write as _;

/// The longest text of a template, in bytes.
pub const BYTES_MAX: usize = 16 << 10;
/// The most placeholders of a template.
pub const PLACES_MAX: usize = 64;

/// The language of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// JSON (RFC 8259).
    Json,
    /// HTML or XML: text and quoted attributes.
    Html,
    /// Plain text.
    Plain,
    /// A header value.
    Header,
}

/// A value for a placeholder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Missing: `null` as a JSON value, empty otherwise.
    Missing,
    /// A whole number.
    Number(u64),
    /// A number with one decimal.
    Decimal(f64),
    /// Any text.
    Text(&'a str),
}

/// Why a text is not a valid template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is longer than [`BYTES_MAX`].
    TooLong,
    /// It has more than [`PLACES_MAX`] placeholders.
    TooManyPlaces,
    /// There is no placeholder of this name.
    NoPlace(String),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[TemplatePart]>,
    /// Bytes of the literal text.
    length: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    /// Literal text.
    Text(Box<str>),
    /// The placeholder of that number.
    Place(usize, Context),
}

/// The position of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    JsonValue,
    JsonString,
    Html,
    Plain,
    Header,
}

impl Template {
    /// Compiles a template whose placeholders have these names. A placeholder is identified by its name's index.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn compile(text: &str, language: Language, names: &[&str]) -> Result<Self, Unfit> {
        if text.len() > BYTES_MAX {
            return Err(Unfit::TooLong);
        }
        let mut parts = Vec::new();
        let (mut places, mut length) = (0, 0);
        let (mut literal, mut rest) = (String::new(), text);
        let mut quotes = Quotes::default();
        while let Some(character) = rest.chars().next() {
            let Some((name, after)) = place(rest) else {
                literal.push(character);
                quotes.pass(character);
                rest = &rest[character.len_utf8()..];
                continue;
            };
            let number = names.iter().position(|known| *known == name);
            let number = number.ok_or_else(|| Unfit::NoPlace(name.to_owned()))?;
            places += 1;
            if places > PLACES_MAX {
                return Err(Unfit::TooManyPlaces);
            }
            if !literal.is_empty() {
                length += literal.len();
                parts.push(TemplatePart::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(TemplatePart::Place(number, quotes.context(language)));
            rest = after;
        }
        if !literal.is_empty() {
            length += literal.len();
            parts.push(TemplatePart::Text(literal.into()));
        }
        Ok(Self {
            parts: parts.into(),
            length,
        })
    }

    /// The template's text, if these are the names it was compiled with.
    pub fn source(&self, names: &[&str]) -> String {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Text(text) => text.to_string(),
            TemplatePart::Place(number, _) => format!("{{{}}}", names.get(*number).unwrap_or(&"?")),
        };
        self.parts.iter().map(part).collect()
    }

    /// Writes the text with each placeholder replaced by the value of its number. Allocates only to grow `out`.
    pub fn render<'a>(&self, out: &mut String, value: impl Fn(usize) -> Value<'a>) {
        out.reserve(self.length + 16 * self.parts.len());
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.push_str(text),
                TemplatePart::Place(number, context) => fill(out, value(*number), *context),
            }
        }
    }
}

/// Writes a value as JSON: text in quotes, a missing value as `null`.
pub fn write_json(out: &mut String, value: Value<'_>) {
    fill(out, value, Context::JsonValue);
}

/// The name in braces at the start of the text, and the rest.
fn place(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then_some((name, after))
}

/// Tracks whether the position is within a JSON string.
#[derive(Default)]
struct Quotes {
    within: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, character: char) {
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' if self.within => self.escaped = true,
            '"' => self.within = !self.within,
            _ => {}
        }
    }

    fn context(&self, language: Language) -> Context {
        match language {
            Language::Json if self.within => Context::JsonString,
            Language::Json => Context::JsonValue,
            Language::Html => Context::Html,
            Language::Plain => Context::Plain,
            Language::Header => Context::Header,
        }
    }
}

fn fill(out: &mut String, value: Value<'_>, context: Context) {
    // Writing to a String can't fail.
    match (value, context) {
        (Value::Number(number), _) => {
            let _ = write!(out, "{number}");
        }
        (Value::Decimal(number), _) => {
            let _ = write!(out, "{number:.1}");
        }
        (Value::Missing, Context::JsonValue) => out.push_str("null"),
        (Value::Missing, _) => {}
        (Value::Text(text), Context::JsonValue) => {
            out.push('"');
            json(out, text);
            out.push('"');
        }
        (Value::Text(text), Context::JsonString) => json(out, text),
        (Value::Text(text), Context::Html) => html(out, text),
        (Value::Text(text), Context::Plain) => out.extend(text.chars().filter(|c| !c.is_control())),
        (Value::Text(text), Context::Header) => out.extend(text.chars().filter(|c| matches!(c, ' '..='~'))),
    }
}

/// Escapes a part of a JSON string. `<` is escaped too, so that it can't end a script.
fn json(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control.is_control() || control == '<' => {
                // Control characters are below U+10000.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

fn html(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 2] = ["error", "limit"];

    fn rendered(text: &str, language: Language, error: Value<'_>, limit: Value<'_>) -> String {
        let template = Template::compile(text, language, &NAMES).expect("a template");
        let mut out = String::new();
        template.render(&mut out, |number| [error, limit][number]);
        out
    }

    const NASTY: &str = "a\"b\\c</script>\u{7}\n'&é😀";

    #[test]
    fn values_are_escaped_for_their_context() {
        let text = r#"{ "a": "<{error}>", "b": {limit}, "c": {error}, "{limit}": {}, "d": "\"{limit}", "e": [{"x":{limit}}] }"#;
        let out = rendered(text, Language::Json, Value::Text(NASTY), Value::Number(7));
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(json["a"], format!("<{NASTY}>"));
        // Embedded in a script, the value can't end it.

        assert!(!out.contains("</script>") && out.contains("\\u003c/script>"), "{out}");
        assert_eq!((&json["b"], &json["c"]), (&7.into(), &NASTY.into()));
        assert_eq!((&json["d"], &json["e"][0]["x"]), (&"\"7".into(), &7.into()));
        let html = rendered(
            "<p title='{error}'>{limit}</p>",
            Language::Html,
            Value::Text("<'\"&>\u{1}"),
            Value::Missing,
        );
        assert_eq!(html, "<p title='&lt;&#39;&quot;&amp;&gt;'></p>");
        let plain = rendered(
            "{error}: {limit}",
            Language::Plain,
            Value::Text("a\r\nb"),
            Value::Decimal(1.26),
        );
        assert_eq!(plain, "ab: 1.3");
        let header = rendered(
            "x {error}",
            Language::Header,
            Value::Text("a\r\nset-cookie: é"),
            Value::Missing,
        );
        assert_eq!(header, "x aset-cookie: ");
    }

    #[test]
    fn missing_values_are_null_or_empty() {
        let text = r#"{"a":{error},"b":"{error}"}"#;
        assert_eq!(
            rendered(text, Language::Json, Value::Missing, Value::Missing),
            r#"{"a":null,"b":""}"#
        );
    }

    #[test]
    fn unknown_placeholders_are_errors_other_braces_are_text() {
        let unknown = Template::compile("{limt}", Language::Plain, &NAMES);
        assert_eq!(unknown, Err(Unfit::NoPlace("limt".to_owned())));
        for text in ["{}", "{ limit }", "{Limit}", "{limit", "{{}}", "{1}"] {
            assert_eq!(rendered(text, Language::Plain, Value::Missing, Value::Missing), text);
        }
        let twice = rendered("{{limit}}", Language::Plain, Value::Missing, Value::Number(3));
        assert_eq!(twice, "{3}");
        let many = "{limit}".repeat(PLACES_MAX + 1);
        assert_eq!(
            Template::compile(&many, Language::Plain, &NAMES),
            Err(Unfit::TooManyPlaces)
        );
        let long = "x".repeat(BYTES_MAX + 1);
        assert_eq!(Template::compile(&long, Language::Plain, &NAMES), Err(Unfit::TooLong));
    }

    proptest! {
        #[test]
        fn what_was_compiled_can_be_read_again(text in r#"([a-z ]|\{|\}|"|\{error\}|\{limit\}){0,20}"#) {
            for language in [Language::Json, Language::Html, Language::Plain, Language::Header] {
                if let Ok(template) = Template::compile(&text, language, &NAMES) {
                    prop_assert_eq!(template.source(&NAMES), text.as_str());
                }
            }
        }

        #[test]
        fn no_text_makes_a_json_template_anything_else(error in ".*", limit in any::<Option<u64>>()) {
            let limit_value = limit.map_or(Value::Missing, Value::Number);
            let text = r#"{"s":"x{error}y","v":{error},"n":{limit},"k":["{limit}"]}"#;
            let out = rendered(text, Language::Json, Value::Text(&error), limit_value);
            let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            prop_assert_eq!(&json["s"], &format!("x{error}y"));
            prop_assert_eq!(&json["v"], &error);
            prop_assert_eq!(json["n"].as_u64(), limit);
            prop_assert_eq!(json["k"][0].clone(), limit.map_or(String::new(), |limit| limit.to_string()));
        }
    }
}
