//! RFC 9112 §3.2: the forms of a request target.

use tiergate_http1::{HeadError, TargetForm};

use crate::kit::{refused, request};

struct Seen {
    form: TargetForm,
    path: String,
    query: Option<String>,
    host: Option<String>,
    sent: String,
}

fn target(method: &str, target: &str) -> Result<Seen, HeadError> {
    let parsed = request(&format!("{method} {target} HTTP/1.1\r\nHost: host.example\r\n\r\n"))?;
    let (head, buffer) = (&parsed.head, &parsed.buffer);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
    let mut sent = Vec::new();
    head.write_target(buffer, &mut sent);
    Ok(Seen {
        form: head.target_form(),
        path: text(head.path(buffer)),
        query: head.query(buffer).map(text),
        host: head.host(buffer).map(text),
        sent: text(&sent),
    })
}

#[test]
fn section_3_2_1_origin_form() {
    for (sent, path, query) in [
        ("/", "/", None),
        ("/a/b", "/a/b", None),
        ("/a?b", "/a", Some("b")),
        ("/a?", "/a", Some("")),
        ("/?a?b", "/", Some("a?b")),
        ("//h/p", "//h/p", None),
        ("/http://h/p", "/http://h/p", None),
        ("/%2e%2e/..;/%00", "/%2e%2e/..;/%00", None),
        (
            "/!\"$%&'()*+,-./:;<=>@[\\]^_`{|}~",
            "/!\"$%&'()*+,-./:;<=>@[\\]^_`{|}~",
            None,
        ),
    ] {
        let seen = target("GET", sent).expect("accepted");
        assert_eq!(
            (seen.form, seen.path.as_str(), seen.query.as_deref()),
            (TargetForm::Origin, path, query),
            "{sent}"
        );
        assert_eq!((seen.host.as_deref(), seen.sent.as_str()), (Some("host.example"), sent));
    }
}

/// A fragment is never sent (RFC 3986 §3.5), and bytes beyond ASCII are not in any URI: recipients disagree about both.
#[test]
fn section_3_2_targets_are_visible_ascii() {
    for wrong in ["/a#b", "#", "/\u{e9}", "/\u{ff}", "/a\tb", "a", "a/b", "?a", "..", "\\"] {
        refused(
            &[(
                &format!("GET {wrong} HTTP/1.1\r\nHost: h\r\n\r\n"),
                HeadError::InvalidTarget,
            )],
            request,
        );
    }
    for byte in 0x80..=0xff_u8 {
        let mut input = b"GET /0123456789abcdef HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
        input[usize::from(5 + byte % 16)] = byte;
        assert_eq!(request(&input).err(), Some(HeadError::InvalidTarget), "{byte:#x}");
    }
}

/// "A server MUST accept the absolute-form in requests even though most HTTP clients will only send the absolute-form to a proxy",
/// and "MUST ignore the received Host header field (if any) and instead replace it with the host information of the request-target".
#[test]
fn section_3_2_2_absolute_form() {
    for (form, host, path, query, sent) in [
        ("http://a.example/p?q", "a.example", "/p", Some("q"), "/p?q"),
        ("https://a.example:8443/", "a.example:8443", "/", None, "/"),
        ("HTTP://A.example", "A.example", "/", None, "/"),
        ("http://a.example?q", "a.example", "/", Some("q"), "/?q"),
        ("http://a.example:/", "a.example:", "/", None, "/"),
        ("http://[2001:db8::1]:80/p", "[2001:db8::1]:80", "/p", None, "/p"),
        (
            "http://a.example//host.example/",
            "a.example",
            "//host.example/",
            None,
            "//host.example/",
        ),
        (
            "http://a.example/?http://b.example/",
            "a.example",
            "/",
            Some("http://b.example/"),
            "/?http://b.example/",
        ),
    ] {
        let seen = target("GET", form).expect("accepted");
        assert_eq!(seen.form, TargetForm::Absolute);
        assert_eq!(
            (seen.host.as_deref(), seen.path.as_str(), seen.query.as_deref()),
            (Some(host), path, query),
            "{form}"
        );
        assert_eq!(seen.sent, sent, "{form}");
    }
}

/// "A recipient MUST reject" an empty host (RFC 9110 §4.2.1), and "SHOULD parse for userinfo and treat its presence as an error"
/// (§4.2.4).
#[test]
fn rfc_9110_section_4_2_invalid_authorities_are_refused() {
    for wrong in [
        "http://",
        "http:///p",
        "http://?q",
        "http://u@a.example/",
        "http://u:p@a.example/",
        "http://a.example:x/",
        "http://a.example:65536/",
        "http://a b/",
        "http://[::1/",
        "http://[v1.a]/",
        "http://[::1]x/",
        "http://a,b/",
        "http://%4/",
        "http://\\a/",
        "http://:80/",
    ] {
        assert!(target("GET", wrong).is_err(), "{wrong}");
    }
    refused(
        &[("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidHost)],
        request,
    );
    for wrong in [
        "ftp://a.example/",
        "ws://a.example/",
        "http:a.example/",
        "http:/a.example/",
        "http",
        "httpss://a/",
        "urn:a:b",
    ] {
        assert_eq!(target("GET", wrong).err(), Some(HeadError::InvalidTarget), "{wrong}");
    }
}

/// "If a proxy receives an OPTIONS request with an absolute-form of request-target in which the URI has an empty path and no query
/// component, then the last proxy on the request chain MUST send a request-target of '*'".
#[test]
fn section_3_2_4_asterisk_form() {
    let seen = target("OPTIONS", "*").expect("accepted");
    assert_eq!(
        (seen.form, seen.path.as_str(), seen.sent.as_str()),
        (TargetForm::Asterisk, "*", "*")
    );
    for (form, sent) in [
        ("http://a.example", "*"),
        ("http://a.example/", "/"),
        ("http://a.example?q", "/?q"),
    ] {
        assert_eq!(target("OPTIONS", form).expect("accepted").sent, sent, "{form}");
    }
    for method in ["GET", "POST", "options"] {
        assert_eq!(target(method, "*").err(), Some(HeadError::InvalidTarget), "{method}");
    }
    assert_eq!(target("OPTIONS", "*a").err(), Some(HeadError::InvalidTarget));
}
