//! RFC 9112 §5: field lines; RFC 9110 §5.

use tiergate_http1::{Field, HeadError, Name, NameSet, Names, RequestHead};

use crate::kit::{LIMITS, refused, request, response, with_fields};

/// The name and value of the line after `Host`.
fn field(line: &str) -> Result<(Vec<u8>, Vec<u8>), HeadError> {
    let parsed = with_fields(&format!("{line}\r\n"))?;
    let field = parsed.head.fields().iter().nth(1).expect("the line");
    Ok((
        field.name(&parsed.buffer).to_vec(),
        field.value(&parsed.buffer).to_vec(),
    ))
}

/// "A field line value might be preceded and/or followed by optional whitespace", which is no part of it.
#[test]
fn section_5_names_and_values() {
    for (line, name, value) in [
        ("A: b", "A", "b"),
        ("A:b", "A", "b"),
        ("A:", "A", ""),
        ("A: \t ", "A", ""),
        ("A: \t b c\td \t", "A", "b c\td"),
        ("A: b: c", "A", "b: c"),
        ("A::", "A", ":"),
        ("!#$%&'*+-.^_`|~09azAZ: x", "!#$%&'*+-.^_`|~09azAZ", "x"),
        ("A: \"quoted, \\\" string\"", "A", "\"quoted, \\\" string\""),
    ] {
        assert_eq!(field(line), Ok((name.into(), value.into())), "{line:?}");
    }
}

/// "A server MUST reject, with a response status code of 400, any received request message that contains whitespace between a
/// header field name and colon. A proxy MUST remove any such whitespace from a response message before forwarding": such a response
/// is not forwarded at all, since others read `Content-Length : 5` as two names.
#[test]
fn section_5_1_no_space_before_the_colon() {
    for line in [
        "A : b",
        "A\t: b",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Host : h",
    ] {
        assert_eq!(field(line), Err(HeadError::SpaceBeforeColon), "{line:?}");
        let cases = [(
            &*format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"),
            HeadError::SpaceBeforeColon,
        )];
        refused(&cases, response);
    }
    assert_eq!(HeadError::SpaceBeforeColon.status(), 400);
}

#[test]
fn section_5_1_names_are_tokens() {
    for line in [
        "", ":", ": b", "A", "A b", "(A): b", "A@: b", "A/: b", "A,B: c", "A\"B: c", "A;: b", "A=: b", "[A]: b",
        "{A}: b", "A\\B: c",
    ] {
        let wrong = field(&format!("X: y\r\n{line}\r\nZ: z"));
        match line {
            "" => assert!(wrong.is_ok(), "an empty line ends the head"),
            "A b" => assert_eq!(wrong, Err(HeadError::SpaceBeforeColon)),
            _ => assert_eq!(wrong, Err(HeadError::InvalidFieldName), "{line:?}"),
        }
    }
    for byte in 0x80..=0xff_u8 {
        let mut input = b"GET / HTTP/1.1\r\nHost: h\r\nAbc: d\r\n\r\n".to_vec();
        input[26] = byte;
        assert_eq!(request(&input).err(), Some(HeadError::InvalidFieldName), "{byte:#x}");
    }
}

/// "A server that receives an obs-fold in a request message […] MUST either reject the message by sending a 400 […] or replace";
/// a gateway that receives one in a response "MUST either discard the message and replace it with a 502 […] or replace".
#[test]
fn section_5_2_folded_lines_are_refused() {
    for lines in [
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A: b\r\n ",
        "A:\r\n b",
        "Host: h\r\n Content-Length: 5",
        "A: b\r\n \r\n c",
    ] {
        assert_eq!(field(lines), Err(HeadError::ObsoleteFolding), "{lines:?}");
        let cases = [(
            &*format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"),
            HeadError::ObsoleteFolding,
        )];
        refused(&cases, response);
    }
}

/// "Field values containing CR, LF, or NUL characters are invalid and dangerous […] a recipient MUST either reject the message or
/// replace". Other control characters "are also invalid"; they are refused, wherever they stand.
#[test]
fn rfc_9110_section_5_5_control_characters_are_refused() {
    for control in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        for place in 24..32 {
            let mut input = b"GET / HTTP/1.1\r\nHost: h\r\nAb: cdef\r\n\r\n".to_vec();
            input[place + 1] = control;
            assert_eq!(
                request(&input).err(),
                Some(HeadError::ControlCharacter),
                "{control:#x} at {place}"
            );
        }
    }
}

/// "A recipient SHOULD treat other allowed octets in field content (i.e., obs-text) as opaque data."
#[test]
fn rfc_9110_section_5_5_opaque_bytes_are_kept() {
    let all: Vec<u8> = (0x80..=0xff).collect();
    let input = [b"GET / HTTP/1.1\r\nHost: h\r\nA: ", &all[..], b"\r\n\r\n"].concat();
    let parsed = request(&input).expect("accepted");
    let value = parsed
        .head
        .fields()
        .iter()
        .nth(1)
        .map(|field| field.value(&parsed.buffer));
    assert_eq!(value, Some(&all[..]));
}

/// Names are found in any case, and by the caller's table (RFC 9110 §5.1).
#[test]
fn rfc_9110_section_5_1_names_are_found_in_any_case() {
    let names = Names::new(["x-api-key", "forwarded"]).expect("tokens");
    let (key, forwarded) = (names.find(b"X-Api-Key"), names.find(b"FORWARDED"));
    let input = b"GET / HTTP/1.1\r\nhOsT: h\r\nX-API-KEY: 1\r\nother: o\r\nx-api-key: 2\r\nX_Api_Key: 3\r\n\r\n";
    let mut head = RequestHead::new();
    assert_eq!(head.parse(input, &names, &LIMITS), Ok(Some(input.len())));
    let values = |name| {
        head.fields()
            .all(name)
            .map(|field| field.value(input))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(key), [b"1", b"2"]);
    assert_eq!(values(Name::HOST), [b"h"]);
    assert!(values(forwarded).is_empty() && head.fields().get(forwarded).is_none());
    assert_eq!(values(Name::OTHER), [b"o", b"3"]);
    let underscores: Vec<_> = head.fields().iter().map(Field::has_underscore).collect();
    assert_eq!(underscores, [false, false, false, false, true]);
}

/// The filter copies what is kept as it came, in its order.
#[test]
fn fields_are_copied_in_one_pass() {
    let lines = ["Host: h", "A:1", "B: \t2 ", "C: 3", "D: 4", "E:"];
    let input = format!("GET / HTTP/1.1\r\n{}\r\n\r\nbody", lines.join("\r\n"));
    let parsed = request(&input).expect("accepted");
    for mask in 0..1_u32 << lines.len() {
        let mut at = 0;
        let mut out = b"before ".to_vec();
        parsed.head.fields().copy(&parsed.buffer, &mut out, |_| {
            at += 1;
            mask >> (at - 1) & 1 == 1
        });
        let kept: String = (0..lines.len())
            .filter(|at| mask >> at & 1 == 1)
            .map(|at| format!("{}\r\n", lines[at]))
            .collect();
        assert_eq!(out, format!("before {kept}").into_bytes(), "{mask:#b}");
    }
}

/// RFC 9110 §7.6.1: what a proxy takes out whether `Connection` names it or not.
#[test]
fn rfc_9110_section_7_6_1_hop_by_hop_fields_are_a_set() {
    let lines = "Connection: close\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         Proxy-Authenticate: x\r\nProxy-Authorization: y\r\nContent-Length: 0\r\nTrailer: x\r\nAccept: z\r\n";
    let parsed = with_fields(lines).expect("accepted");
    let kept = |dropped: NameSet| {
        let mut out = Vec::new();
        parsed
            .head
            .fields()
            .copy(&parsed.buffer, &mut out, |field| !dropped.contains(field.known()));
        String::from_utf8(out).expect("ASCII")
    };
    assert_eq!(
        kept(NameSet::HOP_BY_HOP),
        "Host: h\r\nContent-Length: 0\r\nTrailer: x\r\nAccept: z\r\n"
    );
    assert_eq!(kept(NameSet::REWRITTEN.with(Name::TRAILER)), "Accept: z\r\n");
}
