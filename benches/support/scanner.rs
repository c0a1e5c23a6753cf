//! The scanner beside a bare search for the boundary, as in the benchmark `scanner`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem::Finder;
use tollgate::multipart::{Limits, Scanner};

use super::count::Count;
use super::works::{BOUNDARY, File, boundary, upload_body};

const CHUNK_BYTES: usize = 64 << 10;

/// The time that the search takes divided by the scanner's. Of each, the shortest of some
/// times counts, so that what else runs on the machine does not.
pub fn ratios(rounds: usize) -> Vec<f64> {
    let body = Bytes::from(upload_body(File::Last));
    let chunks: Vec<Bytes> = (0..body.len())
        .step_by(CHUNK_BYTES)
        .map(|at| body.slice(at..body.len().min(at + CHUNK_BYTES)))
        .collect();
    let round = |_| {
        let mut shortest = [Duration::MAX; 2];
        for _ in 0..TIMES {
            shortest[0] = shortest[0].min(search(&chunks));
            shortest[1] = shortest[1].min(scan(&chunks));
        }
        shortest[0].as_secs_f64() / shortest[1].as_secs_f64()
    };
    (0..rounds).map(round).collect()
}

const TIMES: u32 = 100;

fn search(chunks: &[Bytes]) -> Duration {
    let finder = Finder::new(BOUNDARY);
    let started = Instant::now();
    let found = chunks.iter().map(|chunk| finder.find_iter(chunk).count());
    assert_eq!(black_box(found.sum::<usize>()), 6);
    started.elapsed()
}

fn scan(chunks: &[Bytes]) -> Duration {
    let boundary = boundary();
    let started = Instant::now();
    let mut scanner = Scanner::new(boundary, Limits::default());
    let mut count = Count::default();
    for chunk in chunks {
        scanner.push(chunk, &mut count).expect("a valid body");
        black_box(scanner.safe());
    }
    scanner.finish(&mut count).expect("a complete body");
    assert_eq!(count.fields, 5);
    started.elapsed()
}
