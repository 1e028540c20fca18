//! The cost of looking an address up in the operators' network rules, on one thread: `cargo bench -p tiergate-benches --bench
//! networks`.
//!
//! Addresses come in a pseudo-random order, so that memory isn't read in the order in which it was written.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use tiergate::policy::time::UnixTime;
use tiergate::store::{NETWORKS_MAX, Networks};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Addresses in an order that a processor can't predict (xorshift).
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> Ipv4Addr {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Ipv4Addr::from_bits((self.0 >> 32) as u32)
    }
}

/// `count` blocked networks whose prefix lengths cycle through `lengths`.
fn networks(count: usize, lengths: &[u8]) -> (Networks, Vec<IpAddr>) {
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    let addresses: Vec<Ipv4Addr> = (0..count).map(|_| random.next()).collect();
    let network = |(address, bits): (&Ipv4Addr, &u8)| {
        IpNet::from(Ipv4Net::new(*address, *bits).expect("no longer than an address"))
    };
    let all = addresses.iter().zip(lengths.iter().cycle()).map(network);
    (
        Networks::new(all.collect()),
        addresses.into_iter().map(IpAddr::V4).collect(),
    )
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let every: Vec<u8> = (8..=32).collect();
    for (name, count, lengths) in [
        ("none", 0, &[32][..]),
        ("100,000 of one length", NETWORKS_MAX, &[32]),
        ("100,000 of three lengths", NETWORKS_MAX, &[32, 24, 20]),
        ("100,000 of 25 lengths", NETWORKS_MAX, &every),
    ] {
        let (networks, known) = networks(count, lengths);
        let mut random = Xorshift(7);
        group.bench_function(format!("{name}, by strangers"), |bencher| {
            bencher.iter(|| networks.find(IpAddr::V4(black_box(random.next())), NOW));
        });
        if known.is_empty() {
            continue;
        }
        let mut at = 0;
        group.bench_function(format!("{name}, by those in them"), |bencher| {
            bencher.iter(|| {
                at = (at + 40_503) % known.len();
                networks.find(black_box(known[at]), NOW)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
