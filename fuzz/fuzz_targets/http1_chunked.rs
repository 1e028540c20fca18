//! A chunked body: decoded in any pieces as it is whole, and as a plain model decodes it.
//!
//! The first byte says how the others arrive.

#![no_main]

#[path = "../../crates/http1/tests/properties/chunk_model.rs"]
mod chunk_model;

use chunk_model::Model;
use libfuzzer_sys::fuzz_target;
use tiergate_http1::{BodyError, ChunkLimits, ChunkedDecoder, Piece};

const LIMITS: ChunkLimits = ChunkLimits {
    extension_bytes_max: 64,
    trailer_bytes_max: 128,
    trailers_max: 3,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((step, body)) = bytes.split_first() else {
        return;
    };
    let whole = decode(body, body.len());
    assert_eq!(whole, decode(body, usize::from(*step)));
    match (whole, chunk_model::decode(body, LIMITS)) {
        (Ok(Some((data, trailers, used))), model) => assert_eq!(model, Model::Complete(data, trailers, used)),
        (Ok(None), model) => assert_eq!(model, Model::Incomplete),
        (Err(_), model) => assert!(matches!(model, Model::Wrong | Model::Incomplete), "{model:?}"),
    }
});

/// The data, the trailers and the bytes used of a complete body.
type Decoded = (Vec<u8>, Vec<u8>, usize);

fn decode(body: &[u8], step: usize) -> Result<Option<Decoded>, BodyError> {
    let mut decoder = ChunkedDecoder::new(LIMITS);
    let (mut data, mut used, mut end) = (Vec::new(), 0, 0);
    loop {
        let now = &body[used..end];
        match decoder.next(now)? {
            Piece::Data(range) => {
                used += range.end;
                data.extend_from_slice(&now[range]);
            }
            Piece::End(len) => return Ok(Some((data, decoder.trailers().to_vec(), used + len))),
            Piece::More if end == body.len() => return Ok(None),
            Piece::More => {
                used = end;
                end = (end + step.max(1)).min(body.len());
            }
        }
    }
}
