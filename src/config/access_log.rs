//! The access log: `off`, one word for which requests it has, or a section.

use std::path::PathBuf;

use schemars::json_schema;
use serde::{Deserializer, Serializer};

use super::DATA_DIR_BYTES_MAX;
use super::de::NodeDeserializer;
use super::prelude::*;

/// The access log, one line for each request: which requests, in which format, and where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "AccessLog")]
pub struct AccessLogSection {
    /// Which requests it has.
    #[serde(default)]
    pub what: Logged,
    /// The format of a line.
    #[serde(default)]
    pub format: AccessLogFormat,
    /// The file that lines are appended to; by default standard output. If it is renamed, a new one is begun. A relative path
    /// starts in the folder of this file.
    #[serde(default, with = "Maybe::<LogFilePath>")]
    pub file: Option<PathBuf>,
    /// The most lines a second, of which refusals take at most half; the rest is only counted.
    #[serde(default = "number::<u32, 1_000>", with = "As::<Whole<u32, 2, 1_000_000>>")]
    pub max_per_second: u32,
}

de::by_fields!(AccessLogSection);

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Logged {
    /// Every request.
    #[default]
    All,
    /// Requests on metered routes, refused ones included.
    Metered,
    /// Requests that were answered with 400 and above, or not at all.
    Errors,
}

impl Logged {
    const WORDS: [(&'static str, Option<Self>); 4] = [
        ("off", None),
        ("all", Some(Self::All)),
        ("metered", Some(Self::Metered)),
        ("errors", Some(Self::Errors)),
    ];
}

/// The format of the access log's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// The combined format of Apache and nginx, without the referrer, which may contain a key.
    Combined,
}

/// How clients' addresses are written to the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogAddresses {
    /// Their network: the first 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[default]
    Masked,
    /// As they are.
    Full,
    /// Not at all.
    None,
}

/// A word, or the section's fields.
pub(super) struct WordOrFields;

impl WordOrFields {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<AccessLogSection>, D::Error> {
        let here: NodeDeserializer = de::here(deserializer)?;
        if matches!(here.node.kind, NodeKind::Mapping(_)) {
            return Ok(de::read(here));
        }
        let words = Logged::WORDS.map(|(word, _)| word);
        let word = de::with_report(|report| one_of(&here.node, &words, report));
        let logged = Logged::WORDS.iter().find(|(known, _)| Some(*known) == word);
        let logged = logged.and_then(|(_, logged)| *logged);
        Ok(logged.map(|what| AccessLogSection {
            what,
            ..AccessLogSection::default()
        }))
    }

    pub(super) fn serialize<Z: Serializer>(value: &Option<AccessLogSection>, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match value {
            None => serializer.serialize_str("off"),
            Some(log) => log.serialize(serializer),
        }
    }
}

inline_schema!([] WordOrFields, |generator| {
    let fields = generator.subschema_for::<AccessLogSection>();
    let words = Logged::WORDS.map(|(word, _)| word);
    json_schema!({ "anyOf": [{ "type": "string", "enum": words }, fields] })
});

/// The path of the file.
struct LogFilePath;

impl Scalar for LogFilePath {
    type Value = PathBuf;

    fn read(node: &Node, report: &mut Report) -> Option<PathBuf> {
        let written = text(node, "the path of a file", report)?;
        if !written.is_empty() && written.len() <= DATA_DIR_BYTES_MAX && !written.contains('\0') {
            return Some(written.into());
        }
        report.add(node.place, format!("{} can't be the path of a file", shown(node)), "");
        None
    }

    fn stand_in() -> PathBuf {
        "access.log".into()
    }

    fn written(file: &PathBuf) -> Value {
        file.to_string_lossy().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": DATA_DIR_BYTES_MAX })
    }
}
