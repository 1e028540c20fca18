//! What is a difference, and the table of those that are meant.

use http::Uri;

use crate::conversation::{Conversation, End, Field, Message, readable};

/// Why hyper refuses what is accepted here. Each is a rule of this crate that is more lenient than hyper, and unambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// RFC 9110 §2.5: a higher minor version is treated like 1.1; hyper knows 1.0 and 1.1 only.
    MinorVersion,
    /// RFC 9112 §6.3, rule 5: a list of equal lengths is one length; hyper's server knows single numbers only.
    EqualLengths,
    /// RFC 9112 §3.2: visible ASCII is passed on as it is; the type of hyper's targets can't hold all of it.
    Target,
}

/// Compares what was made of a client's bytes. `Ok` has the rules by which hyper refuses more.
pub fn requests(input: &[u8], ours: &Conversation, hypers: &Conversation) -> Result<Option<Explained>, String> {
    compare(input, ours, hypers, |message| refused_request(input, message))
}

/// Compares what was made of a server's bytes.
pub fn response(input: &[u8], ours: &Conversation, hypers: &Conversation) -> Result<Option<Explained>, String> {
    let explained = compare(input, ours, hypers, |message| refused_response(input, message))?;
    let complete = ours.messages.first().is_some_and(|message| message.complete);
    if explained.is_none() && complete && ours.end == End::Closed && ours.used != hypers.used {
        return Err(report("the next message begins elsewhere", input, ours, hypers));
    }
    Ok(explained)
}

/// Compares the requests that a proxy accepted with those that its server sees.
pub fn sent_on(input: &[u8], accepted: &Conversation, seen: &Conversation) -> Result<(), String> {
    let wrong = |what| Err(report(what, input, accepted, seen));
    if seen.messages.len() != accepted.messages.len() {
        return wrong("the server sees another number of requests");
    }
    if matches!(seen.end, End::Refused(_)) {
        return wrong("the server refuses what was sent on");
    }
    for (accepted, seen) in accepted.messages.iter().zip(&seen.messages) {
        let same = accepted.subject == seen.subject && accepted.body == seen.body && accepted.complete == seen.complete;
        if !same || !seen.target.starts_with(b"*") && !accepted.target.ends_with(&seen.target) {
            return wrong("the server sees another request");
        }
    }
    Ok(())
}

fn compare(
    input: &[u8],
    ours: &Conversation,
    hypers: &Conversation,
    explain: impl Fn(&Message) -> Option<Explained>,
) -> Result<Option<Explained>, String> {
    for (number, our) in ours.messages.iter().enumerate() {
        let Some(hyper) = hypers.messages.get(number) else {
            return match explain(our) {
                Some(rule) if matches!(hypers.end, End::Refused(_)) => Ok(Some(rule)),
                _ => Err(report("a message is accepted that hyper refuses", input, ours, hypers)),
            };
        };
        let last = number + 1 == ours.messages.len();
        if let Some(what) = difference(our, hyper, last && matches!(ours.end, End::Refused(_))) {
            return Err(report(what, input, ours, hypers));
        }
    }
    let more = hypers.messages.len() > ours.messages.len();
    match &ours.end {
        End::Refused(_) => Ok(None),
        End::Open | End::Closed if more => Err(report("hyper sees another message", input, ours, hypers)),
        End::Open if matches!(hypers.end, End::Refused(_)) => {
            // What has not come to its end may be refused earlier there, but nothing may follow.
            Ok(None)
        }
        End::Open | End::Closed => Ok(None),
    }
}

/// How two messages differ. If ours was refused within its body, what had come of it must be the beginning of hyper's.
fn difference(our: &Message, hyper: &Message, refused: bool) -> Option<&'static str> {
    if our.subject != hyper.subject {
        return Some("methods or statuses differ");
    }
    if our.target != hyper.target {
        return Some("targets differ");
    }
    if comparable(&our.fields) != comparable(&hyper.fields) {
        return Some("fields differ");
    }
    if refused {
        return (!hyper.body.starts_with(&our.body)).then_some("the bodies' beginnings differ");
    }
    if our.body != hyper.body {
        return Some("bodies differ");
    }
    if our.complete != hyper.complete {
        return Some("only one body is complete");
    }
    (comparable(&our.trailers) != comparable(&hyper.trailers)).then_some("trailers differ")
}

/// Fields by name. hyper's server takes repeated and overruled lengths out; where bodies end shows what they meant.
fn comparable(fields: &[Field]) -> Vec<&Field> {
    let mut fields: Vec<_> = fields.iter().filter(|(name, _)| name != b"content-length").collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// Why hyper refuses the request, which is accepted here.
fn refused_request(input: &[u8], message: &Message) -> Option<Explained> {
    let mut words = first_line(input, message).split(|byte| *byte == b' ').skip(1);
    let (target, version) = (words.next()?, words.next()?);
    let lists = |(name, value): &Field| name == b"content-length" && value.contains(&b',');
    if Uri::try_from(target).is_err() {
        Some(Explained::Target)
    } else if message.fields.iter().any(lists) {
        Some(Explained::EqualLengths)
    } else {
        higher(version).then_some(Explained::MinorVersion)
    }
}

/// The same of a response, or of an interim response before it.
fn refused_response(input: &[u8], message: &Message) -> Option<Explained> {
    let interim = input[..message.begin].split(|byte| *byte == b'\n');
    let mut lines = interim.chain([first_line(input, message)]);
    lines.any(higher).then_some(Explained::MinorVersion)
}

fn first_line<'a>(input: &'a [u8], message: &Message) -> &'a [u8] {
    let mut lines = input[message.begin..]
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

/// Whether it begins with a version beyond 1.1.
fn higher(text: &[u8]) -> bool {
    text.starts_with(b"HTTP/1.") && matches!(text.get(7), Some(b'2'..=b'9'))
}

fn report(what: &str, input: &[u8], ours: &Conversation, hypers: &Conversation) -> String {
    format!(
        "{what}\n    {}\nours:  {}\nhyper: {}",
        readable(input),
        shown(ours),
        shown(hypers)
    )
}

fn shown(conversation: &Conversation) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let one = |message: &Message| {
        let fields: Vec<_> = message
            .fields
            .iter()
            .map(|(name, value)| format!("{}={}", text(name), text(value)))
            .collect();
        let complete = if message.complete { "" } else { ", incomplete" };
        format!(
            "\n    {} {} [{}] body '{}'{complete}, {} trailers",
            text(&message.subject),
            text(&message.target),
            fields.join("; "),
            text(&message.body),
            message.trailers.len()
        )
    };
    let messages: String = conversation.messages.iter().map(one).collect();
    format!("{:?}, {} bytes used{messages}", conversation.end, conversation.used)
}
