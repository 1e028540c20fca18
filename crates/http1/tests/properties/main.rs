//! What holds of any bytes: how they are divided doesn't matter, a plain model decodes chunks alike, and what is right is read back.

mod chunk_model;
#[path = "../../../policy/tests/support/seeded.rs"]
mod seeded;
mod strategies;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tiergate_http1::{
    BodyDecoder, BodyError, ChunkLimits, Framing, HeadError, HeadLimits, Method, Names, Piece, RequestHead,
    ResponseHead,
};

use chunk_model::Model;
use strategies::{Chunk, Cuts};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 2048,
    target_bytes_max: 512,
    fields_max: 16,
};
const CHUNK_LIMITS: ChunkLimits = ChunkLimits {
    extension_bytes_max: 64,
    trailer_bytes_max: 128,
    trailers_max: 3,
};

fn property<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let (mut runner, seed, _) = seeded::runner(cases);
    if let Err(error) = runner.run(&strategy, test) {
        panic!("TIERGATE_SEED={seed}: {error}");
    }
}

/// The ends of what has come, at each time.
fn arrivals(cuts: &Cuts, len: usize) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    ends
}

fn request(bytes: &[u8], ends: &[usize]) -> Result<Option<(usize, RequestHead)>, HeadError> {
    let mut head = RequestHead::new();
    for end in ends {
        if let Some(len) = head.parse(&bytes[..*end], Names::own(), &LIMITS)? {
            return Ok(Some((len, head)));
        }
    }
    Ok(None)
}

fn response(bytes: &[u8], ends: &[usize]) -> Result<Option<(usize, ResponseHead)>, HeadError> {
    let mut head = ResponseHead::new();
    for end in ends {
        if let Some(len) = head.parse(&bytes[..*end], Names::own(), &LIMITS)? {
            return Ok(Some((len, head)));
        }
    }
    Ok(None)
}

/// The data, the trailers and the bytes used of a complete body.
type Decoded = (Vec<u8>, Vec<u8>, usize);

fn decode(bytes: &[u8], ends: &[usize]) -> Result<Option<Decoded>, BodyError> {
    let mut decoder = BodyDecoder::new(Framing::Chunked, CHUNK_LIMITS);
    let (mut data, mut used) = (Vec::new(), 0);
    for end in ends {
        loop {
            let now = &bytes[used..*end];
            match decoder.next(now)? {
                Piece::Data(range) => {
                    used += range.end;
                    data.extend_from_slice(&now[range]);
                }
                Piece::More => {
                    used += now.len();
                    break;
                }
                Piece::End(len) => return Ok(Some((data, decoder.trailers().to_vec(), used + len))),
            }
        }
    }
    Ok(None)
}

#[test]
fn heads_dont_depend_on_how_they_are_divided() {
    property(3_000, (strategies::head(), strategies::cuts()), |(bytes, cuts)| {
        let ends = arrivals(&cuts, bytes.len());
        let shown = |result: Result<Option<(usize, RequestHead)>, HeadError>| format!("{result:?}");
        prop_assert_eq!(shown(request(&bytes, &ends)), shown(request(&bytes, &[bytes.len()])));
        let shown = |result: Result<Option<(usize, ResponseHead)>, HeadError>| format!("{result:?}");
        prop_assert_eq!(shown(response(&bytes, &ends)), shown(response(&bytes, &[bytes.len()])));
        Ok(())
    });
}

#[test]
fn chunks_dont_depend_on_how_they_are_divided() {
    property(
        3_000,
        (strategies::chunked_soup(), strategies::cuts()),
        |(bytes, cuts)| {
            let ends = arrivals(&cuts, bytes.len());
            prop_assert_eq!(
                decode(&bytes, &ends),
                decode(&bytes, &[bytes.len()]),
                "{}",
                bytes.escape_ascii()
            );
            Ok(())
        },
    );
}

/// The model knows no states: it cuts whole lines off whole bodies.
#[test]
fn chunks_are_decoded_as_by_the_model() {
    property(6_000, strategies::chunked_soup(), |bytes| {
        let model = chunk_model::decode(&bytes, CHUNK_LIMITS);
        match decode(&bytes, &[bytes.len()]) {
            Ok(Some(decoded)) => prop_assert_eq!(model, Model::Complete(decoded.0, decoded.1, decoded.2)),
            Ok(None) => prop_assert_eq!(model, Model::Incomplete, "{}", bytes.escape_ascii()),
            // The decoder refuses a line that is wrong before it ends.
            Err(_) => prop_assert!(
                matches!(model, Model::Wrong | Model::Incomplete),
                "{}",
                bytes.escape_ascii()
            ),
        }
        Ok(())
    });
}

#[test]
fn valid_chunks_are_read_back() {
    property(1_000, (strategies::chunks(), strategies::cuts()), |(chunks, cuts)| {
        let (bytes, data) = strategies::written(&chunks);
        let ends = arrivals(&cuts, bytes.len());
        let decoded = decode(&bytes, &ends).expect("valid").expect("complete");
        prop_assert_eq!(decoded, (data, Vec::new(), bytes.len()));
        Ok(())
    });
}

#[test]
fn valid_requests_are_read_back() {
    property(2_000, (strategies::request(), strategies::cuts()), |(sent, cuts)| {
        let bytes = sent.written();
        let (len, head) = request(&bytes, &arrivals(&cuts, bytes.len()))
            .expect("valid")
            .expect("complete");
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(head.method_bytes(&bytes), sent.method.as_bytes());
        prop_assert_eq!(head.method(), Method::of(sent.method.as_bytes()));
        prop_assert_eq!(head.path(&bytes), sent.path.as_bytes());
        prop_assert_eq!(head.query(&bytes), sent.query.as_ref().map(String::as_bytes));
        prop_assert_eq!(head.host(&bytes), Some(&b"h.example"[..]));
        let fields: Vec<_> = head
            .fields()
            .iter()
            .skip(1)
            .map(|field| (field.name(&bytes), field.value(&bytes)))
            .collect();
        let expected: Vec<_> = sent
            .fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), &value[..]))
            .collect();
        prop_assert_eq!(fields, expected);
        prop_assert_eq!(head.framing(), sent.length.map_or(Framing::None, Framing::Length));
        // Copied and parsed again, the fields are the same.
        let mut copy = b"GET / HTTP/1.1\r\n".to_vec();
        head.fields().copy(&bytes, &mut copy, |_| true);
        copy.extend_from_slice(b"\r\n");
        let (_, again) = request(&copy, &[copy.len()]).expect("valid").expect("complete");
        let names = |head: &RequestHead, bytes: &[u8]| -> Vec<Vec<u8>> {
            head.fields()
                .iter()
                .map(|field| [field.name(bytes), b"=", field.value(bytes)].concat())
                .collect()
        };
        prop_assert_eq!(names(&again, &copy), names(&head, &bytes));
        Ok(())
    });
}

/// One byte that is changed never makes a head reach beyond what was sent, nor a panic.
#[test]
fn any_bytes_are_survived() {
    property(
        3_000,
        (prop::collection::vec(any::<u8>(), 0..200), strategies::cuts()),
        |(bytes, cuts)| {
            let ends = arrivals(&cuts, bytes.len());
            if let Ok(Some((len, _))) = request(&bytes, &ends) {
                prop_assert!(len <= bytes.len());
            }
            if let Ok(Some((data, _, used))) = decode(&bytes, &ends) {
                prop_assert!(used <= bytes.len() && data.len() < used);
            }
            Ok(())
        },
    );
}

#[test]
fn the_soup_is_neither_all_right_nor_all_wrong() {
    let seen = std::cell::RefCell::new([0_u32; 6]);
    property(
        2_000,
        (strategies::head(), strategies::chunked_soup()),
        |(head, body)| {
            let mut seen = seen.borrow_mut();
            match request(&head, &[head.len()]) {
                Ok(Some(_)) => seen[0] += 1,
                Ok(None) => seen[1] += 1,
                Err(_) => seen[2] += 1,
            }
            match decode(&body, &[body.len()]) {
                Ok(Some(_)) => seen[3] += 1,
                Ok(None) => seen[4] += 1,
                Err(_) => seen[5] += 1,
            }
            Ok(())
        },
    );
    let [complete, begun, wrong, ..] = *seen.borrow();
    let few = (complete + begun + wrong) / 50;
    assert!(seen.borrow().iter().all(|number| *number > few), "{seen:?}");
}

/// Chunks as a value, so that a case can be shown.
#[test]
fn chunks_can_be_shown() {
    let chunk = Chunk {
        data: b"ab".to_vec(),
        zeros: 2,
        extension: ";a".into(),
    };
    assert_eq!(strategies::written(&[chunk]).0, b"002;a\r\nab\r\n0\r\n\r\n");
}
