//! Answers as channels write them, cut at every offset.

mod blame;
mod errors;
mod jobs;
mod lists;
mod random;
mod words;

use super::*;

/// Returns the job that a body is read as by the dialect that every channel has.
fn job(body: impl AsRef<[u8]>) -> Option<JobAnswer> {
    JobAnswer::read(body.as_ref(), &Dialect::default())
}

/// A page, read in one piece; in any other two, and byte by byte, it must be the same.
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
