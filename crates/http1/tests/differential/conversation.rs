//! What a parser makes of the bytes of a connection, in a form in which two parsers can be compared.

/// A header or trailer field, its name in lower case.
pub type Field = (Vec<u8>, Vec<u8>);

/// A request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where it begins (ours only).
    pub begin: usize,
    /// The method, or the status code's digits.
    pub subject: Vec<u8>,
    /// Of a request.
    pub target: Vec<u8>,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// Whether the body has ended.
    pub complete: bool,
}

/// How a connection's bytes end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// More is awaited.
    Open,
    /// The last message was the last one: what follows is not read.
    Closed,
    /// Something was refused.
    Refused(String),
}

/// All messages of a connection in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub messages: Vec<Message>,
    pub end: End,
    /// Bytes that the messages took.
    pub used: usize,
}

/// Bytes as they can be read, for a report.
pub fn readable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n    ")
}
