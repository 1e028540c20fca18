//! API keys: found in the request and removed, so that no upstream server and no log sees them.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::status::KeyPlace;
use crate::policy::refusal::Refusal;

/// Where an API key may be.
#[derive(Clone, Debug)]
pub struct KeyPlaces {
    headers: Vec<HeaderName>,
    bearer: bool,
    query: Option<String>,
}

impl KeyPlaces {
    /// In these headers, in `Authorization: Bearer` if `bearer`, in that query parameter.
    pub fn new(headers: Vec<HeaderName>, bearer: bool, query: Option<String>) -> Self {
        Self { headers, bearer, query }
    }

    /// Where a page sends its viewer's key: in the first header, otherwise as a bearer token, otherwise in the query.
    pub fn first(&self) -> KeyPlace {
        let bearer = self.bearer.then(|| header::AUTHORIZATION.as_str());
        let header = self
            .headers
            .first()
            .map(HeaderName::as_str)
            .or(bearer)
            .map(str::to_owned);
        let query = if header.is_none() { self.query.clone() } else { None };
        KeyPlace { header, query }
    }

    /// Takes the key out of the request's headers and query. An empty key counts as none. Returns the key and the remaining
    /// query.
    ///
    /// # Errors
    /// Two different keys ([`Refusal::AmbiguousKey`]).
    pub fn take<'q>(&self, headers: &mut HeaderMap, query: Option<&'q str>) -> Result<TakenKey<'q>, Refusal> {
        let mut keys = RequestKey::default();
        for name in &self.headers {
            keys.add_all(headers, name, |value| Some(value.as_bytes()))?;
        }
        if self.bearer {
            keys.add_all(headers, &header::AUTHORIZATION, bearer)?;
        }
        let query = match (query, &self.query) {
            (Some(query), Some(name)) => self.take_from_query(query, name, &mut keys)?,
            (query, _) => query.map(Cow::Borrowed),
        };
        Ok(TakenKey { key: keys.0, query })
    }

    /// Removes every parameter of that name, however it is encoded, and leaves the others untouched.
    fn take_from_query<'q>(
        &self,
        query: &'q str,
        name: &str,
        keys: &mut RequestKey,
    ) -> Result<Option<Cow<'q, str>>, Refusal> {
        let is_key = |parameter: &str| is_called(parameter, name);
        if !query.split('&').any(is_key) {
            return Ok(Some(Cow::Borrowed(query)));
        }
        let mut left = String::with_capacity(query.len());
        for parameter in query.split('&') {
            if is_key(parameter) {
                keys.add(&decoded(parameter.split_once('=').map_or("", |(_, value)| value)))?;
            } else {
                if !left.is_empty() {
                    left.push('&');
                }
                left.push_str(parameter);
            }
        }
        Ok((!left.is_empty()).then_some(Cow::Owned(left)))
    }
}

/// Whether this part of a query is the parameter of that name, however it is encoded.
fn is_called(part: &str, name: &str) -> bool {
    let spelled = part.split('=').next().unwrap_or_default();
    if spelled.contains(['%', '+']) {
        decoded(spelled) == name.as_bytes()
    } else {
        spelled == name
    }
}

/// The value, if this part of a query is the parameter of that name.
pub fn parameter(part: &str, name: &str) -> Option<Vec<u8>> {
    is_called(part, name).then(|| decoded(part.split_once('=').map_or("", |(_, value)| value)))
}

/// What [`KeyPlaces::take`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenKey<'q> {
    /// The key, if there was one.
    pub key: Option<Vec<u8>>,
    /// The query without the key, `None` if nothing is left.
    pub query: Option<Cow<'q, str>>,
}

#[derive(Default)]
struct RequestKey(Option<Vec<u8>>);

impl RequestKey {
    fn add(&mut self, key: &[u8]) -> Result<(), Refusal> {
        match &self.0 {
            _ if key.is_empty() => Ok(()),
            None => {
                self.0 = Some(key.to_vec());
                Ok(())
            }
            Some(known) if known == key => Ok(()),
            Some(_) => Err(Refusal::AmbiguousKey),
        }
    }

    /// Adds the keys of all headers of that name, and removes those headers.
    fn add_all(
        &mut self,
        headers: &mut HeaderMap,
        name: &HeaderName,
        key_of: impl Fn(&HeaderValue) -> Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let mut found = false;
        for key in headers.get_all(name).iter().filter_map(key_of) {
            found = true;
            self.add(key.trim_ascii())?;
        }
        if found {
            headers.remove(name);
        }
        Ok(())
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1). Other schemes are left to the upstream server.
pub(super) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && token.first().is_none_or(u8::is_ascii_whitespace);
    is_bearer.then_some(token)
}

/// A part of a query, percent-decoded, with plus for space. Invalid escapes stay as they are, as servers read them.
pub(super) fn decoded(part: &str) -> Vec<u8> {
    let mut rest = part.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        rest = after;
        out.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, beyond @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = beyond;
                    high * 16 + low
                }
                _ => b'%',
            },
            _ => *byte,
        });
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        lines.iter().map(line).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    fn places() -> KeyPlaces {
        let names = ["x-api-key", "x-trace-key"].map(HeaderName::from_static);
        KeyPlaces::new(names.to_vec(), true, Some("key".to_owned()))
    }

    fn take(
        lines: &[(&'static str, &'static str)],
        query: Option<&str>,
    ) -> (Result<Option<String>, Refusal>, HeaderMap) {
        let mut headers = headers(lines);
        let taken = places().take(&mut headers, query);
        (
            taken.map(|taken| taken.key.map(|key| String::from_utf8(key).expect("these are text"))),
            headers,
        )
    }

    #[test]
    fn a_key_is_found_in_every_place_and_removed() {
        for line in [
            ("x-api-key", "k1"),
            ("x-trace-key", " k1 "),
            ("authorization", "bearer  k1"),
        ] {
            let (key, left) = take(&[line, ("accept", "*/*")], None);
            assert_eq!(key, Ok(Some("k1".to_owned())), "{line:?}");
            assert_eq!(left, headers(&[("accept", "*/*")]));
        }
    }

    #[test]
    fn another_scheme_is_left_to_the_upstream() {
        for value in ["Basic QWxhZGRpbjpvcGVu", "Bearers k1"] {
            let (key, left) = take(&[("authorization", value)], None);
            assert_eq!((key, left.len()), (Ok(None), 1));
        }
    }

    #[test]
    fn an_empty_key_is_none_and_two_keys_are_ambiguous() {
        assert_eq!(take(&[("x-api-key", "")], Some("key=")).0, Ok(None));
        assert_eq!(
            take(&[("x-api-key", ""), ("x-trace-key", "a")], Some("key=a")).0,
            Ok(Some("a".to_owned()))
        );
        assert_eq!(
            take(&[("x-api-key", "a"), ("x-api-key", "b")], None).0,
            Err(Refusal::AmbiguousKey)
        );
        assert_eq!(
            take(&[("x-api-key", "a")], Some("x=1&key=b")).0,
            Err(Refusal::AmbiguousKey)
        );
    }

    #[test]
    fn a_key_in_the_query_is_removed_in_every_spelling() {
        let left = |query| {
            let taken = places().take(&mut HeaderMap::new(), Some(query)).expect("one key");
            (
                taken.key.map(|key| String::from_utf8(key).expect("text")),
                taken.query.map(Cow::into_owned),
            )
        };
        let (key, none) = (|key: &str| Some(key.to_owned()), None::<String>);
        assert_eq!(left("key=a%2Fb+c"), (key("a/b c"), none.clone()));
        assert_eq!(
            left("url=x%20y&%6bey=a&cutBorders"),
            (key("a"), key("url=x%20y&cutBorders"))
        );
        assert_eq!(left("keys=a&KEY=b&x=key"), (None, key("keys=a&KEY=b&x=key")));
        assert_eq!(left("key=100%&key=100%25"), (key("100%"), none));
    }
}
