//! A connection's second request and response allocate nothing: storage is kept.

use tiergate_http1::{
    BodyDecoder, ChunkLimits, HeadLimits, Method, NameSet, Names, Piece, RequestHead, ResponseHead,
    write_content_length, write_status_line,
};

const REQUEST: &[u8] =
    b"POST http://h.example/search?url=x HTTP/1.1\r\nHost: h.example\r\nConnection: keep-alive, x-mine\r\n\
    X-Mine: 1\r\nX-Api-Key: k\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";

struct Connection {
    request: RequestHead,
    response: ResponseHead,
    out: Vec<u8>,
}

impl Connection {
    fn exchange(&mut self, names: &Names) {
        self.out.clear();
        self.request.clear();
        let len = self
            .request
            .parse(REQUEST, names, &HeadLimits::default())
            .expect("accepted")
            .expect("complete");
        self.out.extend_from_slice(self.request.method_bytes(REQUEST));
        self.request.write_target(REQUEST, &mut self.out);
        let fields = self.request.fields();
        fields.copy(REQUEST, &mut self.out, |field| {
            !NameSet::REWRITTEN.contains(field.known()) && !field.is_nominated()
        });
        let used = read(
            BodyDecoder::new(self.request.framing(), ChunkLimits::default()),
            &REQUEST[len..],
        );
        assert_eq!(len + used, REQUEST.len());

        self.response.clear();
        let len = self
            .response
            .parse(RESPONSE, names, &HeadLimits::default())
            .expect("accepted")
            .expect("complete");
        let framing = self.response.framing(Method::Post).expect("one length");
        write_status_line(&mut self.out, self.response.status());
        write_content_length(&mut self.out, framing.content_length.expect("told"));
        let used = read(BodyDecoder::new(framing.body, ChunkLimits::default()), &RESPONSE[len..]);
        assert_eq!(len + used, RESPONSE.len());
    }
}

/// How many bytes the body takes.
fn read(mut decoder: BodyDecoder, bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match decoder.next(&bytes[at..]).expect("accepted") {
            Piece::Data(range) => at += range.end,
            Piece::End(used) => return at + used,
            Piece::More => panic!("the body is there"),
        }
    }
}

#[test]
fn a_second_exchange_allocates_nothing() {
    let names = Names::new(["x-api-key"]).expect("a token");
    let mut connection = Connection {
        request: RequestHead::new(),
        response: ResponseHead::new(),
        out: Vec::new(),
    };
    let first = allocation_counter::measure(|| connection.exchange(&names));
    assert!(first.count_total > 0, "nothing is counted");
    let second = allocation_counter::measure(|| (0..10).for_each(|_| connection.exchange(&names)));
    assert_eq!(second.count_total, 0);
    // What an idle connection may keep, or leave to others.
    assert!(size_of::<RequestHead>() <= 320 && size_of::<ResponseHead>() <= 240);
    assert!(size_of::<BodyDecoder>() <= 80);
}
