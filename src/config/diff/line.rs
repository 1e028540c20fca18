//! A difference as text and as JSON, the same in the program and the running server.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One thing that would change.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// The subject: a tier, a limit, a route, a section or a setting, such as ``tier `$5` `` or `queue`.
    pub subject: String,
    /// The change, in one printable line, such as `daily quota 500 → 800`.
    pub change: String,
    /// The tier's name, if the subject is one.
    pub tier: Option<String>,
    /// How many accounts that tier has, if known.
    pub accounts: Option<usize>,
    /// Whether it needs a restart: see [`Config::applied_to`](super::super::Config::applied_to).
    pub restart: bool,
}

impl DiffLine {
    /// `{ "changes": [ … ] }`, in the order of the lines.
    pub fn to_json(lines: &[Self]) -> Value {
        json!({ "changes": lines })
    }

    /// The lines of `answer`; `None` if it isn't in the form of [`Self::to_json`]. Other members are ignored, so that a newer
    /// server can send more.
    pub fn from_json(answer: &Value) -> Option<Vec<Self>> {
        answer
            .get("changes")?
            .as_array()?
            .iter()
            .map(|line| Self::deserialize(line).ok())
            .collect()
    }
}

impl fmt::Display for DiffLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            change,
            tier: _,
            accounts,
            restart,
        } = self;
        if *restart {
            return write!(f, "needs a restart: {subject} {change}");
        }
        match accounts {
            None => write!(f, "{subject}: {change}"),
            Some(0) => write!(f, "{subject} (no accounts): {change}"),
            Some(1) => write!(f, "{subject} (1 account): {change}"),
            Some(accounts) => write!(f, "{subject} ({accounts} accounts): {change}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(accounts: Option<usize>) -> DiffLine {
        DiffLine {
            subject: "tier `$5`".to_owned(),
            change: "daily quota 500 → 800".to_owned(),
            tier: Some("$5".to_owned()),
            accounts,
            restart: false,
        }
    }

    #[test]
    fn a_line_tells_which_callers_are_affected() {
        assert_eq!(
            line(Some(42)).to_string(),
            "tier `$5` (42 accounts): daily quota 500 → 800"
        );
        assert_eq!(
            line(Some(1)).to_string(),
            "tier `$5` (1 account): daily quota 500 → 800"
        );
        assert_eq!(line(None).to_string(), "tier `$5`: daily quota 500 → 800");
        let listen = DiffLine {
            subject: "listen".to_owned(),
            change: "127.0.0.1:80 → 127.0.0.1:81".to_owned(),
            tier: None,
            accounts: None,
            restart: true,
        };
        assert_eq!(
            listen.to_string(),
            "needs a restart: listen 127.0.0.1:80 → 127.0.0.1:81"
        );
    }

    #[test]
    fn the_runtime_file_can_grow_in_newer_versions() {
        let lines = [line(Some(42)), line(None)];
        let mut json = DiffLine::to_json(&lines);
        assert_eq!(json["changes"][0]["accounts"], 42);
        assert_eq!(json["changes"][1]["accounts"], Value::Null);
        json["changes"][0]["since"] = "today".into();
        assert_eq!(DiffLine::from_json(&json).as_deref(), Some(&lines[..]));
        assert_eq!(DiffLine::from_json(&json!({ "changes": [] })), Some(Vec::new()));
        for other in [
            json!({}),
            json!([]),
            json!({ "changes": 1 }),
            json!({ "changes": [{}] }),
        ] {
            assert_eq!(DiffLine::from_json(&other), None, "{other}");
        }
    }
}
