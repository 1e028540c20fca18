//! Own numbers for request limits, as command-line values and in output: `http=300`, `hourly=5000,lifts=network`.

use serde_json::{Map, Value, json};

use super::table;

/// A limit's name, and its new value: a number, a number and what it lifts, or `null` to reset it.
pub type Given = (String, Value);

/// Parses `NAME=N`, or `NAME=` to reset it.
pub fn number(text: &str) -> Result<Given, String> {
    read(text).ok_or_else(|| "write NAME=N, such as http=300, or NAME= to reset it".to_owned())
}

/// Parses the same, or `NAME=N,lifts=network`.
pub fn raise(text: &str) -> Result<Given, String> {
    let read = match text.strip_suffix(",lifts=network") {
        Some(plain) => read(plain)
            .filter(|(_, number)| !number.is_null())
            .map(|(name, number)| (name, json!({ "limit": number, "lifts": "network" }))),
        None => read(text),
    };
    read.ok_or_else(|| {
        "write NAME=N, such as http=300, NAME=N,lifts=network to lift the network's number too, or NAME= to reset it"
            .to_owned()
    })
}

fn read(text: &str) -> Option<Given> {
    let (name, number) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
    let number = match number {
        "" => Value::Null,
        number => number.parse::<u32>().ok()?.into(),
    };
    Some((name.to_owned(), number))
}

/// The values as a field of a request.
pub fn fields(given: Vec<Given>) -> Map<String, Value> {
    given.into_iter().collect()
}

/// The limits of an answer, as they are written on the command line.
pub fn cell(limits: &Value) -> String {
    let pair = |(name, raise): (&String, &Value)| match raise {
        Value::Object(fields) => format!(
            "{name}={},lifts={}",
            table::cell(&fields["limit"]),
            table::cell(&fields["lifts"])
        ),
        number => format!("{name}={number}"),
    };
    match limits.as_object() {
        Some(limits) if !limits.is_empty() => limits.iter().map(pair).collect::<Vec<_>>().join(" "),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown_as_written() {
        for text in ["http=300", "hourly=5000,lifts=network", "http=0"] {
            let limits = fields(vec![raise(text).expect("a limit")]);
            assert_eq!(cell(&limits.into()), text);
        }
        assert_eq!(raise("http="), Ok(("http".to_owned(), Value::Null)));
        assert_eq!(number("http="), raise("http="));
        assert_eq!(cell(&json!({})), "-");
    }

    #[test]
    fn invalid_limits_are_reported_with_their_form() {
        let wrong = [
            "http",
            "=300",
            "http=many",
            "http=-1",
            "http=4294967296",
            "http=,lifts=network",
        ];
        for text in wrong {
            assert!(raise(text).is_err_and(|error| error.contains("http=300")), "{text}");
        }
        assert!(raise("http=3,lifts=all").is_err());
        assert!(number("http=3,lifts=network").is_err(), "a network has no `lifts`");
    }
}
