//! Tests the reading of answers as channels write them, cut at every offset.

mod blame;
mod errors;
mod jobs;
mod lists;
mod pieces;
mod random;
mod words;

use super::*;

/// Reads a job from a body with the default dialect.
fn job(body: impl AsRef<[u8]>) -> Option<JobAnswer> {
    JobAnswer::read(body.as_ref(), &Dialect::default())
}

/// Reads a page in one piece, and checks that it is the same in any two pieces and byte by byte.
fn page(body: impl AsRef<[u8]>) -> Option<Page> {
    let (body, dialect) = (body.as_ref(), Dialect::default());
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ListReader::new(&dialect);
        for piece in pieces {
            reader.push(piece);
        }
        reader.finish()
    };
    let whole = read(&mut [body].into_iter());
    for cut in 0..=body.len() {
        let (head, tail) = body.split_at(cut);
        assert_eq!(read(&mut [head, tail].into_iter()), whole, "cut at {cut}");
    }
    assert_eq!(read(&mut body.chunks(1)), whole);
    whole
}
