//! How fast a body with a large file runs through the multipart scanner, beside a bare
//! search for its boundary and beside a lenient parser.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyDataStream;
use hyper::body::{Body, Frame};
use memchr::memmem::Finder;
use tollgate::multipart::{Boundary, Limits, Scanner};

#[path = "support/count.rs"]
mod count;

use count::Count;

const BOUNDARY: &str = "----formdata-undici-062330248602";
const FILE_BYTES: usize = 4 << 20;
const CHUNK_BYTES: usize = 64 << 10;

fn file_last(criterion: &mut Criterion) {
    let body = body();
    let chunks: Vec<Bytes> = (0..body.len())
        .step_by(CHUNK_BYTES)
        .map(|at| body.slice(at..body.len().min(at + CHUNK_BYTES)))
        .collect();
    let mut group = criterion.benchmark_group("4 MiB file last, 64 KiB chunks");
    group.throughput(Throughput::Bytes(body.len() as u64));

    let finder = Finder::new(BOUNDARY);
    group.bench_function("memmem", |bencher| {
        bencher.iter(|| {
            chunks
                .iter()
                .map(|chunk| finder.find_iter(chunk).count())
                .sum::<usize>()
        });
    });

    let boundary =
        Boundary::from_content_type(&format!("multipart/form-data; boundary={BOUNDARY}"))
            .expect("a valid boundary");
    group.bench_function("scanner", |bencher| {
        bencher.iter(|| {
            let mut scanner = Scanner::new(boundary.clone(), Limits::default());
            let mut count = Count::default();
            for chunk in &chunks {
                scanner.push(chunk, &mut count).expect("a valid body");
                black_box(scanner.safe());
            }
            scanner.finish(&mut count).expect("a complete body");
            assert_eq!(count.fields, 5);
            count.bytes
        });
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    group.bench_function("multer", |bencher| {
        bencher.iter(|| {
            let stream = BodyDataStream::new(Chunks(chunks.clone().into()));
            runtime.block_on(async {
                let mut form = multer::Multipart::new(stream, BOUNDARY);
                let mut bytes = 0;
                while let Some(mut field) = form.next_field().await.expect("a valid body") {
                    while let Some(data) = field.chunk().await.expect("a valid field") {
                        bytes += data.len();
                    }
                }
                bytes
            })
        });
    });
    group.finish();
}

/// A form as the Python SDK orders it, with a file that looks compressed.
fn body() -> Bytes {
    let mut body = Vec::with_capacity(FILE_BYTES + 1024);
    for (name, value) in [
        ("prompt", "A calico cat playing a piano"),
        ("model", "sora-2"),
        ("seconds", "8"),
        ("size", "1280x720"),
    ] {
        body.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .as_bytes(),
        );
    }
    body.extend_from_slice(
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
             filename=\"frame.png\"\r\nContent-Type: image/png\r\n\r\n"
        )
        .as_bytes(),
    );
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    body.extend(std::iter::repeat_with(|| xorshift(&mut state)).take(FILE_BYTES));
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

fn xorshift(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.to_be_bytes()[0]
}

/// A body that has arrived already.
struct Chunks(VecDeque<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

criterion_group!(benches, file_last);
criterion_main!(benches);
